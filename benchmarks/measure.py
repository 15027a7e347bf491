"""Runs each contender in a process of its own, in turn, several times; prints medians side by side and their ratio."""

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import subprocess
import sys

from benchmarks.sizes import SIZES


def main(what: str, about: str, default_count: int) -> None:
    """The command line of one benchmark: `what` is the function of ours.py and peer.py that it times."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{what}", description=about)
    parser.add_argument("--size", choices=SIZES, default="mnist", help="the UNet and its batch (mnist)")
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32", help="number format (float32)")
    parser.add_argument("--count", type=int, default=default_count, help=f"steps timed ({default_count})")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contender (3)")
    parser.add_argument("--only", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        module = importlib.import_module(f"benchmarks.{arguments.only}")
        result = getattr(module, what)(SIZES[arguments.size], arguments.compute, arguments.count)
        result.setdefault("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        print(json.dumps(result))
        return

    contenders = ["ours"]
    if importlib.util.find_spec("diffusers") and importlib.util.find_spec("torch"):
        contenders.append("peer")
    else:
        print("diffusers is not here; pip install 'diffjax[parity]' times it beside ours\n")
    runs = {name: [] for name in contenders}
    for _ in range(arguments.repeats):  # in turn, so that a machine whose speed drifts is as unfair to both
        for name in contenders:
            command = [sys.executable, "-m", f"benchmarks.{what}", f"--only={name}", f"--size={arguments.size}"]
            command += [f"--compute={arguments.compute}", f"--count={arguments.count}"]
            out = subprocess.run(command, capture_output=True, text=True)
            if out.returncode:
                sys.exit(out.stderr)
            runs[name].append(json.loads(out.stdout.splitlines()[-1]))

    size = SIZES[arguments.size]
    print(f"{what}, {arguments.size}: {size}, {arguments.compute}, {platform.processor() or platform.machine()}")
    rows = {
        "images/s": lambda r: size.batch / r["seconds"],
        "seconds a step" if what == "train_step" else "seconds a batch": lambda r: r["seconds"],
        "compile seconds": lambda r: r["compile"],
        "peak memory, MB": lambda r: r["peak"] / 1e6,
        "FLOPs an image": lambda r: r.get("flops", float("nan")),
        "parameters": lambda r: r.get("parameters", float("nan")),
    }
    print(f"{'':18}" + "".join(f"{name:>14}" for name in ("diffjax", "diffusers")[: len(contenders)]))
    for row, read in rows.items():
        medians = [statistics.median(read(r) for r in runs[name]) for name in contenders]
        if all(m != m for m in medians):
            continue
        ratio = f"   ratio {medians[0] / medians[1]:.2f}" if len(medians) == 2 and medians[1] > 0 else ""
        print(f"{row:18}" + "".join(f"{m:14,.4g}" for m in medians) + ratio)
