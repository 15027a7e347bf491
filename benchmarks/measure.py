"""Runs each contender in a process of its own, in turn, several times; prints medians side by side and their ratio."""

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
FAIR = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # compiled, not remembered
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "OMP_WAIT_POLICY": "passive",  # PyTorch's threads wait spinning: where cores are shared, up to ten times as long
}


@dataclass(frozen=True)
class Contender:
    """Who is timed: the function with the benchmark's name in `module`, f(size, compute, count) -> figures."""

    name: str
    module: str
    needs: tuple[str, ...] = ()  # packages beside our own


@dataclass(frozen=True)
class Benchmark:
    """What one command times: `python -m benchmarks.{name}`."""

    name: str
    about: str
    sizes: Mapping[str, Any]  # what it can be timed on; each has a `batch`
    size: str  # the one that is timed unless another is asked for
    count: int  # so many times, likewise
    peer: Contender
    option: str = "size"  # what the command line calls a size
    timed: str = "step"
    equal: tuple[str, ...] = ()  # figures that must be the same for both contenders


OURS = Contender("diffjax", "benchmarks.ours")
FORMATS = ("float32", "tensorfloat32", "bfloat16")  # "float32" is exact in every contender, on a GPU too


def main(benchmark: Benchmark) -> None:
    """The command line of a benchmark."""
    arguments = parse(benchmark)
    contenders = {"ours": OURS, "peer": benchmark.peer}
    if arguments.only:
        print(json.dumps(figures(benchmark, contenders[arguments.only], arguments)))
        return
    if absent := [package for package in benchmark.peer.needs if not importlib.util.find_spec(package)]:
        print(f"{' and '.join(absent)} not here; pip install 'diffjax[parity]' times {benchmark.peer.name} beside us\n")
        del contenders["peer"]

    size, machine = benchmark.sizes[arguments.size], platform.processor() or platform.machine()
    print(f"{benchmark.name}, {arguments.size}: {size}, {arguments.compute}")
    print(f"{machine}, {os.cpu_count()} cores, {os.getloadavg()[0]:.1f} processes at work before this one")
    runs = {name: [] for name in contenders}
    for _ in range(arguments.repeats):  # in turn, so that a machine whose speed drifts is as unfair to both
        for name in contenders:
            runs[name].append(in_own_process(benchmark, name, arguments))
    show(benchmark, size.batch, {contenders[name].name: results for name, results in runs.items()})


def parse(benchmark: Benchmark) -> argparse.Namespace:
    size, count = benchmark.size, benchmark.count
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark.name}", description=benchmark.about)
    parser.add_argument(
        f"--{benchmark.option}", dest="size", choices=benchmark.sizes, default=size, help=f"networks and batch ({size})"
    )
    parser.add_argument(
        "--compute", choices=FORMATS, default="float32", help="tensorfloat32 is of a GPU's products alone (float32)"
    )
    parser.add_argument("--count", type=int, default=count, help=f"steps timed ({count})")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contender (3)")
    parser.add_argument("--only", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


def figures(benchmark: Benchmark, contender: Contender, arguments: argparse.Namespace) -> dict[str, float]:
    """What a contender measures, in this process; its peak memory is the process's unless it knows the device's."""
    run = getattr(importlib.import_module(contender.module), benchmark.name)
    result = run(benchmark.sizes[arguments.size], arguments.compute, arguments.count)
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024} | result


def in_own_process(benchmark: Benchmark, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    options = {"only": name, benchmark.option: arguments.size, "compute": arguments.compute, "count": arguments.count}
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *(f"--{k}={v}" for k, v in options.items())]
    out = subprocess.run(command, capture_output=True, text=True, env=os.environ | FAIR)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def share(r: Mapping[str, float], batch: int) -> float:
    """Model FLOPs utilisation: how much of the FLOP/s that a large matrix product reaches on this device."""
    return r["flops"] * batch / r["seconds"] / r["ceiling"] if r.get("ceiling") else MISSING


def show(benchmark: Benchmark, batch: int, runs: dict[str, list[dict[str, float]]]) -> None:
    """The table. Ends the program if the contenders differ in what must be equal: they were not given the same work."""
    rows = {
        "images/s": lambda r: batch / r["seconds"],
        f"seconds a {benchmark.timed}": lambda r: r["seconds"],
        "compile seconds": lambda r: r["compile"],
        "peak memory, MB": lambda r: r["peak"] / 1e6,
        "FLOPs an image": lambda r: r.get("flops", MISSING),
        "TFLOP/s": lambda r: r.get("flops", MISSING) * batch / r["seconds"] / 1e12,
        "share of the ceiling": lambda r: share(r, batch),
        "parameters": lambda r: r.get("parameters", MISSING),
    }
    print(f"{'':20}" + "".join(f"{name:>16}" for name in runs))
    different = []
    for row, read in rows.items():
        medians = [statistics.median(read(r) for r in results) for results in runs.values()]
        known = [median for median in medians if median == median]
        if not known:
            continue
        line = f"{row:20}" + "".join(f"{m:16,.4g}" if m == m else f"{'-':>16}" for m in medians)
        print(line + (f"   ratio {known[0] / known[1]:.2f}" if len(known) == 2 and known[1] else ""))
        if row in benchmark.equal and len(set(known)) > 1:
            different.append(f"{row}: {' and '.join(f'{value:,.0f}' for value in known)}; these must be equal")
    if different:
        sys.exit("\n".join(different))
