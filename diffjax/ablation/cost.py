"""What training a run cost: scores that a budget may name beside those that were measured of it."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any


def cost_of(workdir: Path) -> dict[str, dict[str, Any]]:
    """`training_seconds` and `images_per_second` of a run, each a score as measurements have them; {} if it has none.

    Of training steps alone, by the speeds that were logged: without compilation, pictures and checkpoints. They are
    compared on equal hardware only, which is their protocol.
    """
    log, about = workdir / "metrics.jsonl", workdir / "config.json"
    if not (log.is_file() and about.is_file()):
        return {}
    lines = [line for line in map(json.loads, log.read_text().splitlines()) if line.get("images_per_second")]
    counts = [0, *(line["images"] for line in lines)]
    seconds = sum((b - a) / line["images_per_second"] for (a, b), line in zip(pairwise(counts), lines, strict=True))
    if not seconds:
        return {}
    hardware = {name: json.loads(about.read_text()).get(name) for name in ("device", "cores")}
    meaning = "training steps alone, without compilation, pictures and checkpoints"
    return {
        name: {"name": name, "value": value, "meaning": meaning, "protocol": hardware}
        for name, value in (("training_seconds", seconds), ("images_per_second", counts[-1] / seconds))
    }
