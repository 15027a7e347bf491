"""What a result depends on besides its config: versions, hardware, commit and command; and how busy the machine is."""

import contextlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax

# Git pathspecs of files whose changes do not mark the commit with "+".
NO_CODE = (":(top,exclude)*.md", ":(top,exclude)docs", ":(top,exclude)experiments/results")
READ = (":(top)diffjax/**.py", ":(top)configs/**.py", ":(top)experiments/**.py")
PACKAGES = (
    "diffjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "ml-collections",
    "numpy",
)


def surroundings() -> dict[str, Any]:
    """Versions, hardware, commit and command line: what a result depends on besides its config."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processor": processor(),
        "cores": cores(),
        "commit": commit(),
        "command": shlex.join(sys.argv),
    }


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that this process may use, found without starting JAX.

    Those that CUDA_VISIBLE_DEVICES shows, by number or name; all of the machine, by number, if it is not set.
    """
    if "CUDA_VISIBLE_DEVICES" not in environment:
        if shutil.which("nvidia-smi") is None:
            return []
        output = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
        return [str(i) for i, line in enumerate(output.splitlines()) if line.startswith("GPU")]
    names = environment["CUDA_VISIBLE_DEVICES"].replace(" ", "").split(",")
    return list(takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA: -1 hides all that follow


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The model name of the processor, or its architecture if the system does not report one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit(at: Path = Path(__file__).parent) -> str:
    """The commit of this code, with "+" if it has changed since; "unknown" outside a git checkout.

    New files count too where code, configs and experiments are read from (READ); scripts elsewhere do not.
    Changes of documents and of the ledger do not count (NO_CODE), so results that an ablation writes do not mark its
    next runs.
    """
    git = ["git", "-C", str(at)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = [
            subprocess.run([*git, *words, *NO_CODE], capture_output=True, text=True, check=True).stdout.strip()
            for words in (
                ("status", "--porcelain", "-uno", "--", ":/"),
                ("ls-files", "--others", "--exclude-standard", "--", *READ),
            )
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if any(changes) else "")


def machine_load() -> float | None:
    """Runnable threads per core over the last minute (load average); None if the system does not report it."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None
