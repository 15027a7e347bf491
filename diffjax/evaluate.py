"""Watching a run: a flat list of (name, every, function), looks at the state just reached; and the record of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax import metrics as m
from diffjax import parallel, pictures
from diffjax.config import flatten
from diffjax.errors import UserError
from diffjax.measures import Evidence, Score, find, judge_of
from diffjax.run import Experiment
from diffjax.sampling import Drawn
from diffjax.state import TrainState
from diffjax.workdir import surroundings
from diffjax.writer import Writer, write_json

SHOWN = {"images": 64, "points": 2_000, "categories": 48}  # samples in a picture


class Watch(NamedTuple):
    """Something looked at every so many steps, and at the end: `function(state, step) -> values to log`."""

    name: str
    every: int
    function: Callable[[TrainState, int], dict[str, float]]


def evaluations(experiment: Experiment, workdir: Path, writer: Writer) -> list[Watch]:
    """What the loop looks at. Everything that could be missing is looked up now, not after hours of training."""
    config, watches = experiment.config, []
    if experiment.method.generates:

        def draw(state: TrainState, step: int) -> dict[str, float]:
            num = min(SHOWN[experiment.method.space.kind], config.eval.num)
            drawn = experiment.own_generator.draw(state.averaged, num, seed=config.seed)
            if parallel.is_main():
                image = picture(experiment, drawn)
                pictures.save_png(workdir / "samples" / f"{step:08}.png", image)
                writer.picture(step, image)
            return {}

        watches.append(Watch("samples", config.train.sample_every, draw))
    if config.eval.metrics:
        chosen = find(config.eval.metrics, experiment)
        judge = judge_of(experiment, chosen)

        def measure(state: TrainState, step: int) -> dict[str, float]:
            evidence = Evidence(experiment, state, config.eval.num, config.seed, judge)
            scores = evaluate(evidence, chosen, workdir, step)
            writer.say(table(scores))
            return {f"eval/{score.name}": score.value for score in scores}

        watches.append(Watch("metrics", config.eval.every, measure))
    return watches


def evaluate(evidence: Evidence, chosen: dict[str, Callable], workdir: Path, step: int) -> list[Score]:
    """Computes the chosen metrics and writes them, with protocol and provenance, to `evals/ID.json`."""
    experiment, scores = evidence.experiment, []
    for name, metric in chosen.items():
        try:
            scores += metric(evidence)
        except UserError as error:  # samples that cannot be measured say something of the run, and do not end it
            scores.append(Score(name, float("nan"), None, f"not measured: {error}", {}))
    if experiment.method.generates and evidence.drawn.not_finite:
        scores.append(Score("not_finite", evidence.drawn.not_finite, 0, "samples that are no numbers", {}))
    provenance = {
        "step": step,
        "seed": evidence.seed,
        "weights": evidence.weights,
        "sampler": flatten(experiment.config.sampler),
        "nfe": evidence.drawn.nfe if experiment.method.generates else 0,
        "labels": "i modulo the number of classes" if experiment.own_generator.labelled else "none",
    }
    record = [m.Metric(score.name, score.value, score.protocol, provenance) for score in scores]
    identity = m.fingerprint([[metric.name, metric.protocol, metric.provenance] for metric in record])
    if parallel.is_main():
        content = {
            "id": identity,
            "metrics": [
                {
                    "name": s.name,
                    "value": s.value,
                    "reference": s.reference,
                    "meaning": s.meaning,
                    "protocol": s.protocol,
                }
                for s in scores
            ],
            "provenance": provenance | surroundings(),
        }
        write_json(workdir / "evals" / f"{identity}.json", content)
    return scores


def table(scores: list[Score]) -> str:
    """Scores as a table for a person: the value, beside what it would be at best, and why."""
    rows = [("metric", "this run", "at best", "which is")]
    for score in scores:
        reference = "" if score.reference is None else f"{score.reference:.4g}"
        rows.append((score.name, f"{score.value:.4g}", reference, score.meaning))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def picture(experiment: Experiment, drawn: Drawn) -> np.ndarray:
    """Samples as a person wants to see them: a grid of images, rows of categories, or points over the real ones."""
    space = experiment.method.space
    if space.kind == "images":
        return pictures.grid(drawn.x)
    if space.kind == "categories":
        return pictures.rows(drawn.x.reshape(len(drawn.x), -1), space.values)
    return pictures.scatter(drawn.x, experiment.source.split("heldout").arrays()["x"][:2000])
