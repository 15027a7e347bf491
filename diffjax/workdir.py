"""A run directory: made, described, held by one process at a time, and its config read again."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from diffjax.config import differences, fingerprint, from_json
from diffjax.errors import Taken, UserError
from diffjax.writer import read_json, write_json

NO_CODE = (":(top,exclude)*.md", ":(top,exclude)docs", ":(top,exclude)experiments/results")
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
# Keys of `eval` that older runs lack.
LATER = {"features": "inception", "precision": "highest", "weights": "", "reference": "heldout"}
AGAIN = 0.05  # seconds between two tries at a directory that another process has
PLACE = ("commit", "device", "processor", "cores")  # of the surroundings those that a run is trained by and on


class Hold:
    """Keeps a directory to one live process, through a file lock that the kernel drops when the process dies.

    Raises Taken where another one still has it after `patience` seconds, and UserError where files cannot be locked.
    """

    def __init__(self, workdir: Path, patience: float = 0.0):
        self.workdir, self.patience = workdir, patience

    def __enter__(self) -> "Hold":
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
            self.file = (self.workdir / ".lock").open("a+")
        except OSError as error:
            raise UserError(f"--workdir: cannot write to {self.workdir} ({error.strerror})") from error
        deadline = time.monotonic() + self.patience
        while not self._locked():
            if time.monotonic() >= deadline:
                self.file.seek(0)
                holder = self.file.read().strip() or "unknown"
                self.file.close()
                raise Taken(f"--workdir: {self.workdir} is in use by a live process (pid {holder})")
            time.sleep(AGAIN)
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()
        return self

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self.file.close()
            raise UserError(
                f"--workdir: {self.workdir} is on a file system that locks no files ({error.strerror}), so that two "
                "processes could train there at once; take one that does"
            ) from error
        return True

    def __exit__(self, *_):
        self.file.close()


def is_held(workdir: Path) -> bool:
    """Whether a live process has a directory in hand now."""
    try:
        with Hold(workdir):
            return False
    except Taken:
        return True


def enter(workdir: Path, config: ConfigDict, done: int) -> None:
    """Writes `config.json`, after making sure that `config` may continue the `done` steps that are there already.

    What it says of the place is of where the steps are made: of several places it is "mixed", in as many words.
    """
    path = workdir / "config.json"
    if done > config.train.steps:
        raise UserError(
            f"train.steps: {config.train.steps} lies before the checkpoint at step {done}; give {done} or more"
        )
    if done and not path.is_file():
        raise UserError(f"--workdir: {workdir} has checkpoints but no config.json; take another directory")
    if done:
        changed = differences(read_config(workdir), config)
        if changed:
            raise UserError(
                f"--workdir: {workdir} holds a run of another config ({'; '.join(changed)}); take another directory, "
                "or change back (train.steps may change, and what changes no number: the *every keys, parallel.*, "
                "eval.batch_size, data.data_dir)"
            )
    if done < config.train.steps:
        (workdir / "result.json").unlink(missing_ok=True)  # it was of a shorter run
    here = surroundings()
    places = _places(path, done, config.train.steps, here)
    said = {"config": config.to_dict(), "fingerprint": fingerprint(config)}
    write_json(path, said | here | _in_all(places) | {"places": places})


def _places(path: Path, done: int, steps: int, here: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By which commit and on what the steps of a run are made: each place with the number of steps before its first.

    Of older runs only the last place is known.
    """
    before = read_json(path) if done else {}
    made = before.get("places", [{"after": 0} | {name: before.get(name, "unknown") for name in PLACE}])
    made = [place for place in made if place["after"] < done]  # the steps of others were lost, and are made again
    if done == steps:
        return made
    place = {"after": done} | {name: here[name] for name in PLACE}
    return made if made and made[-1] | {"after": done} == place else [*made, place]


def _in_all(places: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What holds of all places alike; what does not as in "mixed: 2, 8 after step 700", which is no machine's."""
    found = {}
    for name in PLACE:
        parts = [(value, next(of)["after"]) for value, of in groupby(places, key=lambda place: place[name])]
        (first, _), *more = parts
        found[name] = first
        if more:
            found[name] = f"mixed: {first}" + "".join(f", {value} after step {step}" for value, step in more)
    return found


def read_config(workdir: Path) -> ConfigDict:
    """The config that a run directory was made with."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"--workdir: {workdir} holds no run (no config.json)")
    try:
        config = from_json(json.loads(path.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--workdir: {path} is no config of a run of ours ({type(error).__name__}: {error})") from error
    config.eval = ConfigDict(LATER | config.eval.to_dict())
    return config


def elsewhere(config: ConfigDict) -> ConfigDict:
    """The config of a run that is only looked at: on the devices there are here, not those it was trained on."""
    here = ConfigDict(config.to_dict())
    fitting = config.parallel.devices if config.parallel.devices <= jax.device_count() else 0
    here.parallel.update(mode="jit", devices=fitting, fsdp=1)
    return here


def surroundings() -> dict[str, Any]:
    """Versions, devices and commit: what a number made here depends on besides its config."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processor": processor(),
        "cores": cores(),
        "commit": commit(),
        "command": shlex.join(sys.argv),
    }


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """What the processor is called, on which speeds depend; its architecture where nothing better is known."""
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
    """The commit this code stands at, "+" if it was changed since; "unknown" outside a git checkout.

    Neither words nor the ledger are code: what an ablation writes down of itself changes nothing of what it runs next.
    """
    git = ["git", "-C", str(at)]
    try:
        stands = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", ":/", *NO_CODE], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return stands + ("+" if changed.strip() else "")
