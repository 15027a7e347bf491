"""Watching a run: a flat list of (name, every, function), looks at the state just reached."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diffjax import parallel, pictures
from diffjax.config import flatten
from diffjax.drawing.sheets import by_class, first, picture, pictured
from diffjax.errors import Diverged, UserError
from diffjax.measures import Choice, Evidence, Score, choose
from diffjax.measures.beware import with_warning
from diffjax.measures.report import NOT_FINITE, check_measured, measure, record, table
from diffjax.metrics.better import better
from diffjax.run import Experiment
from diffjax.state import TrainState
from diffjax.writer import Writer, read_json, strict


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
            space = experiment.method.space
            num = min(pictured(space), config.eval.num)
            drawn = experiment.own_generator.draw(state.averaged, num, seed=config.seed)
            if parallel.is_main():
                image = picture(experiment, drawn)
                pictures.save_png(workdir / "samples" / f"{step:08}.png", image)
                writer.picture(step, image)
            return {}

        watches.append(Watch("samples", config.train.sample_every, draw))
    choice = chosen(experiment)
    if choice.metrics:

        def numbers(state: TrainState, step: int) -> dict[str, float]:
            evidence = Evidence(experiment, state, config.eval.num, config.seed, choice, say=writer.say)
            scores = evaluate(evidence, workdir, step)
            for name, image in evidence.pictures.items():
                writer.picture(step, image, name)
            writer.say(table(scores))
            return {f"eval/{score.name}": score.value for score in scores}

        watches.append(Watch("metrics", config.eval.every, numbers))
    return watches


def chosen(experiment: Experiment, load_networks: bool = True) -> Choice:
    """The metrics that a config asks for; `load_networks` as in `measures.choose`.

    Raises UserError unless they can be had, and choose the best as it says.
    """
    evaluation = experiment.config.eval
    choice = choose(evaluation.metrics, experiment, load_networks=load_networks) if evaluation.metrics else Choice()
    _check_best(evaluation.best, choice)
    return choice


def _check_best(best: str, choice: Choice) -> None:
    """Raises UserError if no metric can ever give the value that the best checkpoint is to be chosen by."""
    given = [f"eval/{name}" for name in choice.names]
    if best and best not in given:
        raise UserError(f"eval.best: no metric gives {best!r}; there are {', '.join(given) or 'no eval.metrics'}")
    if best and not better(best.removeprefix("eval/")):
        fitting = ", ".join(name for name in given if better(name.removeprefix("eval/")))
        raise UserError(f"eval.best: {best!r} says nothing of how good a run is; choose among {fitting}")


def evaluate(
    evidence: Evidence, workdir: Path, step: int, place: Path | None = None, whole: bool = False, **provenance: Any
) -> list[Score]:
    """Computes the chosen metrics and writes them, with protocol and provenance, to `evals/ID.json`; pictures beside.

    `place` is another folder for that, or the .json file itself; further `provenance` is written down beside ours.

    What a metric cannot measure is NaN, and does not end a run. If the evaluation is to be `whole`, raises UserError
    before anything is written where the reason is another than samples that are no numbers: it says nothing of the run.
    """
    experiment = evidence.experiment
    scores = [_warned(score, evidence) for score in measure(evidence, evidence.choice.metrics)]
    if evidence.has_drawn:
        evidence.pictures["samples"] = picture(experiment, first(evidence.unchecked, experiment.method.space))
    if evidence.has_drawn and experiment.own_generator.labelled and experiment.method.space.kind == "images":
        evidence.pictures["classes"] = by_class(evidence.unchecked, experiment.method.space)
    if evidence.has_drawn and evidence.unchecked.not_finite:
        scores.append(Score(NOT_FINITE, float(evidence.unchecked.not_finite), 0.0, "samples that are no numbers", {}))
    if whole:
        with contextlib.suppress(Diverged):
            check_measured(scores)
    provenance |= {
        "step": step,
        "seed": evidence.seed,
        "weights": evidence.weights,
        "sampler": flatten(experiment.config.sampler),
        "data": flatten(experiment.config.data),
        "reference": experiment.config.eval.reference,
        "nfe": float(evidence.unchecked.nfe.mean()) if evidence.has_drawn else 0.0,
    }
    if parallel.is_main():
        written = record(scores, provenance, place or workdir / "evals")
        for name, image in evidence.pictures.items():
            pictures.save_png(written.with_name(f"{written.stem}-{name}.png"), image)
    return scores


def measured_by(workdir: Path, values: dict[str, Any], step: int) -> dict[str, str]:
    """{"evaluation": ID} of the file in `evals/` that says how values were measured; {} where none of them was.

    Where several files have these values it is that of the last step, up to `step`.
    """
    asked = strict({name.removeprefix("eval/"): value for name, value in values.items() if name.startswith("eval/")})
    ids: dict[int, str] = {}
    for content in map(read_json, (workdir / "evals").glob("*.json") if asked else ()):
        at = content["provenance"].get("step", step + 1)  # others' images are of no step
        if at <= step and asked.items() <= {score["name"]: score["value"] for score in content["metrics"]}.items():
            ids[at] = content["id"]
    return {"evaluation": ids[max(ids)]} if ids else {}


def _warned(score: Score, evidence: Evidence) -> Score:
    """A score of samples also warns of few, and of classes that have none."""
    return with_warning(score, evidence.lack_of_classes if "labels" in score.protocol else "")
