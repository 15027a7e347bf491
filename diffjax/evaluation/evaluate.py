"""Computes the chosen metrics of a run and records their scores, with protocol, provenance and pictures."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffjax import parallel
from diffjax.config import flatten, override
from diffjax.drawing import pictures
from diffjax.drawing.sheets import by_class, first, picture
from diffjax.errors import Diverged, UserError
from diffjax.evaluation.choice import check_features, choose
from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence
from diffjax.evaluation.report import NOT_FINITE, check_measured, check_place, measure, record, table
from diffjax.evaluation.warnings import with_warning
from diffjax.host.progress import to_stderr
from diffjax.run import Run


def evaluate(
    evidence: Evidence,
    workdir: Path,
    step: int,
    place: Path | None = None,
    whole: bool = False,
    show: Callable[[str], None] = lambda text: None,
    **provenance: Any,
) -> list[Score]:
    """Computes the chosen metrics and writes them, with protocol, provenance and pictures, to `evals/ID.json`.

    `place` replaces `evals` by another folder, or by the .json file itself. `show` receives the table of the scores
    before they are written, so that a full disk costs no number. `provenance` is recorded in addition to what this
    function records.

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
        show(table(scores))
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
    show: Callable[[str], None] = lambda text: None,
) -> list[Score]:
    """Measures a trained run and records the scores in `evals/` of the run, or in the .json file `out`.

    `metrics` such as "kid" or "kid:pixels" use the network `features` if they name none. Defaults are the config's
    (eval.metrics, eval.num, seed, eval.features). `show` receives the table of the scores before they are recorded. A
    score that cannot be measured is NaN, and its meaning says why.
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
    if out is None:  # someone else's run may be read-only
        check_place(run.workdir / "evals" / "ID.json", "`out`", ".json")
    seed = config.seed if seed is None else seed
    evidence = Evidence(experiment, run.state, num, seed, choice, run.weights, say=to_stderr)
    return evaluate(evidence, run.workdir, run.step, out and Path(out), show=show)


def _with_warnings(score: Score, evidence: Evidence) -> Score:
    """The score with warnings about few samples and, if it is of samples, about classes without any."""
    return with_warning(score, evidence.lack_of_classes if "generated" in score.protocol else "")
