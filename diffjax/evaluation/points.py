"""Metrics of generated points: coverage of known modes, and energy distance."""

from diffjax import metrics as m
from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence


def modes(e: Evidence) -> list[Score]:
    """Modes covered, high-quality share and reverse KL, for mixtures whose modes are known (PacGAN's protocol).

    The reference is the mixture itself, so the number and the seed of the training points are provenance.
    """
    source = e.experiment.source
    report = m.mode_report(e.drawn.x, source.modes, source.sigma)
    ideal = m.oracle_row(len(source.modes), e.num)
    protocol = e.sample_protocol | {"mixture": e.experiment.config.data.name, "sigma": source.sigma}
    protocol, warning = protocol | {"radius": "3 sigma", "counted": "high_quality"}, ""
    if e.drawn.not_finite:
        warning = f"{e.drawn.not_finite} of {e.num} samples are not finite: they lie nowhere, near no mode"
    return [Score(name, value, ideal[name], "a perfect sampler", protocol, warning) for name, value in report.items()]


def energy(e: Evidence) -> list[Score]:
    """Energy distance between samples and held-out points, in stored units; `at_best`: training points instead."""
    heldout, train = (split["x"][: e.num] for split in (e.heldout, e.train))
    protocol = e.drawn_protocol | {"reference": len(heldout), "split": "heldout", "statistic": "U"}
    floor = m.energy_distance(train, heldout)
    return [
        Score(
            "energy_distance", m.energy_distance(e.drawn.x, heldout), floor, f"{len(train)} training points", protocol
        )
    ]
