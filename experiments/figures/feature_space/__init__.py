"""People as points in the space of their features, and what a diffusion model makes of the places between them.

Two axes, height and weight: near the mean people are plausible, far from it they are not; the density that the model
has learned (by its probability-flow ODE) and its score, the way to more plausible people, stand beside the true ones. A
third axis, wing span, and a second cloud elsewhere: winged beings. What lies between is shown in two ways, by the
density on the straight line from cloud to cloud, and by the samples that latents between two latents become.
People and winged beings are invented; diffjax/data/gaussians.py has their numbers.
"""

import numpy as np

from experiments.figures.command import Picture, config_of, trained
from experiments.figures.feature_space.drawing import MARKED, still
from experiments.figures.feature_space.film import frames
from experiments.figures.feature_space.measures import BETWEEN, fields, is_neither, is_winged, plausibility, way

SHARES = (0.999, 0.99, 0.9, 0.5)  # of people, inside the contours
SAMPLES, DRAWN = 10_000, 600  # counted, and drawn in the picture


def draw(arguments, overrides) -> Picture:
    people, winged = (
        trained(config_of(f"configs/gaussians.py:{kind}", overrides), arguments.workdir / kind)
        for kind in ("people", "winged")
    )
    source = people.experiment.source
    true, learned = fields(people)
    heldout = source.split("heldout").arrays()["x"]
    levels = np.quantile(source.log_density(heldout), [1 - share for share in SHARES])
    x2, x3 = people.sample(DRAWN, arguments.seed).x, winged.sample(SAMPLES, arguments.seed).x
    between_them = way(winged, arguments.seed)

    common = true.log_p > levels[0]
    inside = np.mean(np.abs(learned.log_p - true.log_p)[common])
    outside = np.mean((learned.log_p - true.log_p)[~common])
    marked = [f"{h:.0f} cm, {w:.0f} kg: {plausibility(source, source.log_density(np.array([(h, w)])))[0]:.2%}"
              for h, w in MARKED]  # fmt: skip
    deepest = (between_them.exact.min() - between_them.exact.max()) / np.log(10)
    facts = [
        "less plausible than these, of people: " + "; ".join(marked),
        f"learned log density less the true one, where 99.9 % of people are: {inside:.3f} nats on average, in absolute"
        f" value; elsewhere in the view {outside:+.2f}",
        f"winged beings: {np.mean(is_winged(x3)):.1%} of {SAMPLES:,} samples (25 % of the data); neither,"
        f" {BETWEEN[0]:.0f} to {BETWEEN[1]:.0f} cm of wings: {np.mean(is_neither(x3)):.2%}",
        f"the straight line's valley: 10^{deepest:.1f} of its top; learned"
        f" 10^{(between_them.log_p.min() - between_them.exact.max()) / np.log(10):.1f}",
        f"latents between those of {between_them.x.shape[1]} people and as many winged beings:"
        f" {np.mean(is_neither(between_them.x)):.1%} of what they become is neither",
    ]
    picture = still(people, winged, true, learned, levels, x2, x3[:DRAWN], between_them)
    return Picture(picture, frames(people, winged, levels, true, arguments.seed, between_them), 9.0, facts)
