"""The cost of training a run: scores that a budget may name beside its measured ones."""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from diffjax.errors import UserError
from diffjax.host.json_files import read_json, read_lines

COSTS = ("training_seconds", "images_per_second")
QUIET = 1.25  # threads per core on an uncrowded machine: trainings with a core each and nothing else show up to 1.2


def cost_of(workdir: Path) -> dict[str, dict[str, Any]]:
    """The scores `training_seconds` and `images_per_second` of a run, as JSON; {} if its log has no speeds.

    They count training steps alone, by the logged speeds, without compilation, pictures and checkpoints. Their protocol
    is the hardware, on CPUs with how crowded it was, so that they are compared on equal hardware only. Hardware that
    changed during training is "mixed", with the steps at which it changed.

    Raises UserError for a log that ends before its run did, for example because it was copied in part.
    """
    log, config = workdir / "metrics.jsonl", workdir / "config.json"
    if not (log.is_file() and config.is_file()):
        return {}
    logged = read_lines(log)
    lines = [line for line in logged if line.get("images_per_second")]
    counts = [0, *(line["images"] for line in lines)]
    seconds = sum((b - a) / line["images_per_second"] for (a, b), line in zip(pairwise(counts), lines, strict=True))
    if not seconds:
        return {}
    images, result = logged[-1]["images"], workdir / "result.json"
    total = read_json(result, workdir).get("images") if result.is_file() else None
    if total and images != total:
        raise UserError(f"{log}: ends after {images:,} of {total:,} images; copy it again, or remove {workdir}")
    seconds *= images / counts[-1]  # a run that continues with its last step has no speed there
    hardware = {name: read_json(config, workdir).get(name) for name in ("device", "processor", "cores")}
    if str(hardware["device"]).endswith("cpu"):
        hardware["load"] = crowding([line["load"] for line in lines if line.get("load") is not None])
    meaning = "training steps alone, without compilation, pictures and checkpoints"
    return {
        name: {"name": name, "value": value, "meaning": meaning, "protocol": hardware}
        for name, value in zip(COSTS, (seconds, images / seconds), strict=True)
    }


def crowding(loads: Sequence[float]) -> str:
    """How many threads wanted each core during training, as text for a protocol; not counted if all found one."""
    if not loads:
        return "not known"
    median = statistics.median(loads)
    return "no more than there are cores" if median <= QUIET else f"{median:.1f} for each core"
