"""What training a run cost: scores that a budget may name beside those that were measured of it."""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from diffjax.errors import UserError
from diffjax.writer import read_json, read_lines

QUIET = 1.25  # threads for each core: trainings that have a core each, and nothing beside them, show up to 1.2


def cost_of(workdir: Path) -> dict[str, dict[str, Any]]:
    """`training_seconds` and `images_per_second` of a run, each a score as measurements have them; {} if it has none.

    Of training steps alone, by the speeds that were logged: without compilation, pictures and checkpoints. They are
    compared on equal hardware only, which is their protocol; so is, on cores, how crowded they were. Hardware that
    changed in between is "mixed", with the steps at which it did.

    Raises UserError for a log that ends before its run did, as one that was copied in part.
    """
    log, about = workdir / "metrics.jsonl", workdir / "config.json"
    if not (log.is_file() and about.is_file()):
        return {}
    lines = [line for line in read_lines(log) if line.get("images_per_second")]
    counts = [0, *(line["images"] for line in lines)]
    seconds = sum((b - a) / line["images_per_second"] for (a, b), line in zip(pairwise(counts), lines, strict=True))
    if not seconds:
        return {}
    whole = read_json(workdir / "result.json", workdir).get("images") if (workdir / "result.json").is_file() else None
    if whole and counts[-1] != whole:
        raise UserError(f"{log}: ends after {counts[-1]:,} of {whole:,} images; copy it again, or remove {workdir}")
    hardware = {name: read_json(about, workdir).get(name) for name in ("device", "processor", "cores")}
    if str(hardware["device"]).endswith("cpu"):
        hardware["load"] = crowding([line["load"] for line in lines if line.get("load") is not None])
    meaning = "training steps alone, without compilation, pictures and checkpoints"
    return {
        name: {"name": name, "value": value, "meaning": meaning, "protocol": hardware}
        for name, value in (("training_seconds", seconds), ("images_per_second", counts[-1] / seconds))
    }


def crowding(loads: Sequence[float]) -> str:
    """How many threads wanted each core of the machine while it trained: of no account where they all found one."""
    if not loads:
        return "not known"
    usual = statistics.median(loads)
    return "no more than there are cores" if usual <= QUIET else f"{usual:.1f} for each core"
