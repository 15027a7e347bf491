"""Runs the contenders of a benchmark alternately in processes of their own, and prints medians and their ratio."""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MISSING = float("nan")
FAIR = {  # environment of every contender
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # compilation is timed, so no caches
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "OMP_WAIT_POLICY": "passive",  # spinning, PyTorch's default, is up to ten times slower on shared cores
}


FORMATS = ("float32", "tensorfloat32", "bfloat16")  # "float32" is full precision in every contender, also on a GPU


@dataclass(frozen=True)
class Contender:
    """An implementation to time: `module` has a function named as the benchmark, f(size, compute, count) -> figures."""

    name: str
    module: str
    needs: tuple[str, ...] = ()  # packages besides our own


@dataclass(frozen=True)
class Benchmark:
    """What the command `python -m benchmarks.{name}` times."""

    name: str
    about: str
    sizes: Mapping[str, Any]  # the sizes to choose from; each has a `batch`
    size: str  # the default size
    count: int  # default number of timed steps
    peer: Contender
    option: str = "size"  # name of the size on the command line
    timed: str = "step"
    equal: tuple[str, ...] = ()  # figures that must be the same for both contenders
    formats: tuple[str, ...] = FORMATS


OURS = Contender("diffjax", "benchmarks.ours")


def main(benchmark: Benchmark) -> None:
    """Parses the command line of a benchmark and runs it."""
    arguments = parse(benchmark)
    contenders = {"ours": OURS, "peer": benchmark.peer}
    if arguments.only:
        print(json.dumps(figures(benchmark, contenders[arguments.only], arguments)))
        return
    if absent := [package for package in benchmark.peer.needs if not importlib.util.find_spec(package)]:
        print(
            f"{' and '.join(absent)} not installed; pip install 'diffjax[parity]' to time {benchmark.peer.name} too\n"
        )
        del contenders["peer"]

    size, machine = benchmark.sizes[arguments.size], platform.processor() or platform.machine()
    print(f"{benchmark.name}, {arguments.size}: {size}, {arguments.compute}")
    print(f"{machine}, {os.cpu_count()} cores, {os.getloadavg()[0]:.1f} runnable processes before this one")
    runs = {name: [] for name in contenders}
    for _ in range(arguments.repeats):  # alternately, so that a drift of the machine's speed affects both
        for name in contenders:
            runs[name].append(in_own_process(benchmark, name, arguments))
    show(benchmark, size.batch, {contenders[name].name: results for name, results in runs.items()})


def parse(benchmark: Benchmark) -> argparse.Namespace:
    size, count = benchmark.size, benchmark.count
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark.name}", description=benchmark.about)
    parser.add_argument(
        f"--{benchmark.option}",
        dest="size",
        choices=benchmark.sizes,
        default=size,
        help=f"networks and batch (default: {size})",
    )
    parser.add_argument(
        "--compute",
        choices=benchmark.formats,
        default="float32",
        help="precision of the networks; tensorfloat32 matters on a GPU only (default: float32)",
    )
    parser.add_argument("--count", type=int, default=count, help=f"steps to time (default: {count})")
    parser.add_argument("--repeats", type=int, default=3, help="processes per contender (default: 3)")
    parser.add_argument("--only", choices=("ours", "peer"), help="time this contender alone, in this process")
    return parser.parse_args()


def figures(benchmark: Benchmark, contender: Contender, arguments: argparse.Namespace) -> dict[str, float]:
    """Runs a contender in this process; `peak` is the process's memory unless the contender reports the device's."""
    run = getattr(importlib.import_module(contender.module), benchmark.name)
    result = run(benchmark.sizes[arguments.size], arguments.compute, arguments.count)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit} | result


def in_own_process(benchmark: Benchmark, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    options = {"only": name, benchmark.option: arguments.size, "compute": arguments.compute, "count": arguments.count}
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *(f"--{k}={v}" for k, v in options.items())]
    out = subprocess.run(command, capture_output=True, text=True, env=os.environ | FAIR)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def share(r: Mapping[str, float], batch: int) -> float:
    """Model FLOPs utilisation: FLOP/s as a fraction of those of a large matrix product on this device."""
    return r["flops"] * batch / r["seconds"] / r["ceiling"] if r.get("ceiling") else MISSING


def show(benchmark: Benchmark, batch: int, runs: dict[str, list[dict[str, float]]]) -> None:
    """Prints the table. Exits with an error if figures differ that must be equal: the contenders did different work."""
    rows = {
        "images/s": lambda r: batch / r["seconds"],
        f"seconds per {benchmark.timed}": lambda r: r["seconds"],
        "compile seconds": lambda r: r["compile"],
        "peak memory, MB": lambda r: r["peak"] / 1e6,
        "FLOPs per image": lambda r: r.get("flops", MISSING),
        "TFLOP/s": lambda r: r.get("flops", MISSING) * batch / r["seconds"] / 1e12,
        "share of the ceiling": lambda r: share(r, batch),
        "parameters": lambda r: r.get("parameters", MISSING),
    }
    print(f"{'':20}" + "".join(f"{name:>16}" for name in runs))
    mismatches = []
    for row, read in rows.items():
        medians = [statistics.median(read(r) for r in results) for results in runs.values()]
        known = [median for median in medians if median == median]
        if not known:
            continue
        line = f"{row:20}" + "".join(f"{m:16,.4g}" if m == m else f"{'-':>16}" for m in medians)
        print(line + (f"   ratio {known[0] / known[1]:.2f}" if len(known) == 2 and known[1] else ""))
        if row in benchmark.equal and len(set(known)) > 1:
            mismatches.append(f"{row}: {' and '.join(f'{value:,.0f}' for value in known)}; these must be equal")
    if mismatches:
        sys.exit("\n".join(mismatches))
