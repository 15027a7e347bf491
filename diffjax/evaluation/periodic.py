"""The evaluations of a run while it trains: a flat list of (name, every, function)."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diffjax import parallel
from diffjax.drawing import pictures
from diffjax.drawing.sheets import picture, sheet_size
from diffjax.errors import UserError
from diffjax.evaluation.choice import choose
from diffjax.evaluation.contract import Choice
from diffjax.evaluation.evaluate import evaluate
from diffjax.evaluation.evidence import Evidence
from diffjax.experiment import Experiment
from diffjax.host.json_files import read_json, strict
from diffjax.metrics.better import better
from diffjax.optim.state import TrainState
from diffjax.workdir.writer import Writer


class PeriodicEvaluation(NamedTuple):
    """An evaluation at every `every` steps and at the end: `function(state, step) -> values to log`."""

    name: str
    every: int
    function: Callable[[TrainState, int], dict[str, float]]


def periodic_evaluations(experiment: Experiment, workdir: Path, writer: Writer) -> list[PeriodicEvaluation]:
    """The evaluations of a training run. Raises UserError now, rather than after hours, if one cannot be computed."""
    config, periodic = experiment.config, []
    if experiment.method.generates:

        def draw(state: TrainState, step: int) -> dict[str, float]:
            space = experiment.method.space
            num = min(sheet_size(space), config.eval.num)
            samples = experiment.generator().draw(state.averaged, num, seed=config.seed)
            if parallel.is_main():
                image = picture(experiment, samples)
                pictures.save_png(workdir / "samples" / f"{step:08}.png", image)
                writer.picture(step, image)
            return {}

        periodic.append(PeriodicEvaluation("samples", config.train.sample_every, draw))
    choice = chosen(experiment)
    if choice.metrics:

        def compute_metrics(state: TrainState, step: int) -> dict[str, float]:
            evidence = Evidence(experiment, state, config.eval.num, config.seed, choice, say=writer.say)
            scores = evaluate(evidence, workdir, step, show=writer.say)
            for name, image in evidence.pictures.items():
                writer.picture(step, image, name)
            values = {f"eval/{score.name}": score.value for score in scores}
            if (best := config.eval.best) and not math.isfinite(values.get(best, math.nan)):
                writer.say(f"eval.best: {best} was not measured at step {step}, which therefore cannot be the best")
            return values

        periodic.append(PeriodicEvaluation("metrics", config.eval.every, compute_metrics))
    return periodic


def chosen(experiment: Experiment, load_networks: bool = True) -> Choice:
    """The metrics of a config's `eval.metrics`; `load_networks` as in `evaluation.choose`.

    Raises UserError if one cannot be computed, or if none gives the value of `eval.best`.
    """
    evaluation = experiment.config.eval
    choice = choose(evaluation.metrics, experiment, load_networks=load_networks) if evaluation.metrics else Choice()
    _check_best(evaluation.best, choice)
    return choice


def _check_best(best: str, choice: Choice) -> None:
    """Raises UserError unless some metric gives the value that the best checkpoint is chosen by, and ranks runs."""
    names = [f"eval/{name}" for name in choice.names]
    if best and best not in names:
        remedy = f"must be one of {', '.join(names)}" if names else "eval.metrics is empty"
        raise UserError(f"eval.best: no metric gives {best!r}; {remedy}")
    if best and not better(best.removeprefix("eval/")):
        ranking = ", ".join(name for name in names if better(name.removeprefix("eval/")))
        raise UserError(f"eval.best: {best!r} does not say how good a run is; must be one of {ranking}")


def measured_by(workdir: Path, values: dict[str, Any], step: int) -> dict[str, str]:
    """{"evaluation": ID} of the file in `evals/` that holds the `eval/` values among `values`; {} if there is none.

    Of several such files, the one with the latest step up to `step`.
    """
    evaluated = strict({name.removeprefix("eval/"): v for name, v in values.items() if name.startswith("eval/")})
    ids: dict[int, str] = {}
    for content in map(read_json, (workdir / "evals").glob("*.json") if evaluated else ()):
        evaluated_at = content["provenance"].get("step", step + 1)  # evaluations of other images have no step
        scores = {score["name"]: score["value"] for score in content["metrics"]}
        if evaluated_at <= step and evaluated.items() <= scores.items():
            ids[evaluated_at] = content["id"]
    return {"evaluation": ids[max(ids)]} if ids else {}
