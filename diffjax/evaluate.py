"""Evaluates a run: during training by a list of `PeriodicEvaluation`s, and on request (`evaluate_run`)."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from diffjax import parallel, pictures
from diffjax.config import flatten, override
from diffjax.drawing.sheets import by_class, first, picture, sheet_size
from diffjax.errors import Diverged, UserError
from diffjax.measures import Choice, Evidence, Score, choose
from diffjax.measures.beware import with_warning
from diffjax.measures.choice import check_features
from diffjax.measures.report import NOT_FINITE, check_measured, check_place, measure, record, table
from diffjax.metrics.better import better
from diffjax.progress import to_stderr
from diffjax.run import Experiment, Run
from diffjax.state import TrainState
from diffjax.writer import Writer, read_json, strict


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
            scores = evaluate(evidence, workdir, step)
            for name, image in evidence.pictures.items():
                writer.picture(step, image, name)
            writer.say(table(scores))
            return {f"eval/{score.name}": score.value for score in scores}

        periodic.append(PeriodicEvaluation("metrics", config.eval.every, compute_metrics))
    return periodic


def chosen(experiment: Experiment, load_networks: bool = True) -> Choice:
    """The metrics of a config's `eval.metrics`; `load_networks` as in `measures.choose`.

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


def evaluate(
    evidence: Evidence, workdir: Path, step: int, place: Path | None = None, whole: bool = False, **provenance: Any
) -> list[Score]:
    """Computes the chosen metrics and writes them, with protocol, provenance and pictures, to `evals/ID.json`.

    `place` replaces `evals` by another folder, or by the .json file itself. `provenance` is recorded in addition to
    what this function records.

    A score that cannot be measured is NaN and does not end a run. With `whole`, such a score raises UserError before
    anything is written, unless the samples are not finite: that is a result of the run, other reasons are not.
    """
    experiment = evidence.experiment
    scores = [_with_warnings(score, evidence) for score in measure(evidence, evidence.choice.metrics)]
    if evidence.has_drawn:
        evidence.pictures["samples"] = picture(experiment, first(evidence.unchecked, experiment.method.space))
    if evidence.has_drawn and experiment.generator().labelled and experiment.method.space.kind == "images":
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
        path = record(scores, provenance, place or workdir / "evals")
        for name, image in evidence.pictures.items():
            pictures.save_png(path.with_name(f"{path.stem}-{name}.png"), image)
    return scores


def evaluate_run(
    run: Run,
    metrics: str | Sequence[str] = (),
    num: int | None = None,
    seed: int | None = None,
    features: str = "",
    out: Path | None = None,
) -> list[Score]:
    """Measures a trained run and records the scores in `evals/` of the run, or in the .json file `out`.

    `metrics` such as "kid" or "kid:pixels" use the network `features` if they name none. Defaults are the config's
    (eval.metrics, eval.num, seed, eval.features). A score that cannot be measured is NaN, and its meaning says why.
    Raises UserError, before anything is drawn, for what cannot be measured at all.
    """
    if out is not None:
        check_place(Path(out), "`out`", ".json")
    experiment = run.experiment
    if features:
        experiment = replace(experiment, config=override(experiment.config, {"eval.features": features}))
    config = experiment.config
    names = (metrics,) if isinstance(metrics, str) else metrics or config.eval.metrics
    if not names:
        raise UserError(
            "`metrics`: missing, and eval.metrics of this run is empty; give some, such as `metrics=frechet_pixels`"
        )
    num = config.eval.num if num is None else num
    if num < 2:
        raise UserError(f"`num`: {num} samples cannot be measured; must be at least 2")
    choice = choose(names, experiment, num)
    check_features(features, choice.metrics)
    seed = config.seed if seed is None else seed
    evidence = Evidence(experiment, run.state, num, seed, choice, run.weights, say=to_stderr)
    return evaluate(evidence, run.workdir, run.step, out and Path(out))


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


def _with_warnings(score: Score, evidence: Evidence) -> Score:
    """The score with warnings about few samples and, if labels matter to it, about classes without samples."""
    return with_warning(score, evidence.lack_of_classes if "labels" in score.protocol else "")
