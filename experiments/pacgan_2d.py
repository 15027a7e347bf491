"""PacGAN on mixtures of Gaussians: modes and quality by how many samples are judged as one (Lin et al. 2018).

The ring has 8 modes (radius 1, sigma 0.01), the grid 25 ({-4, -2, 0, 2, 4}^2, sigma 0.05). A sample has high quality
within 3 sigma of the nearest mean, and one such sample finds a mode. "oracle" draws as many samples from the
mixture itself: its high quality is 1 - exp(-4.5) = 0.9889, and a higher value would mean that the variance has
collapsed. "r1" is ours: the R1 penalty and averaged weights. It has six seeds at `hour`, not three like the others:
three were added when the first three had found every mode, because as many seeds that agree decide nothing. So the
p-value of its exact test is smaller than it ought to be: the first three seeds chose how many there are.
"""

import numpy as np

from diffjax.ablation import (
    All,
    Axis,
    Budget,
    Claim,
    Less,
    Marked,
    Printed,
    Quantity,
    Table,
    Within,
    computed,
    trained,
    vary,
)
from diffjax.data.toy2d import Toy2D
from diffjax.metrics import mode_report

GAMES = ("GAN", "PacGAN2", "PacGAN3", "PacGAN4", "ALI", "r1", "oracle")
MIXTURES = ("ring", "grid")

PAPER = Table(
    source="Lin et al. 2018, arXiv 1712.04086, 10 trials of 400 epochs",
    rows=Axis("game", GAMES),
    columns=Axis("mixture", MIXTURES),
    quantities=(
        Quantity(
            "modes",
            "A",
            (((6.3, 0.5), 17.3), (7.9, 23.8), (7.8, 24.6), (7.8, 24.8), (6.6, 24.1), (None, None),
             (Marked(8, "D"), Marked(25, "D"))),
            better="more",
        ),
        Quantity(
            "high quality",
            "A",
            ((0.982, 0.948), (0.956, 0.913), (0.977, 0.942), (0.959, 0.936), (0.976, 0.957), (None, None),
             (Marked(0.9889, "D"), Marked(0.9889, "D"))),
            better="more",
            unit="share of samples",
        ),
        Quantity(
            "reverse KL",
            "A",
            ((0.45, Printed("0.70")), (0.07, 0.13), (Printed("0.10"), 0.06), (0.07, 0.04), (0.36, 0.14), (None, None),
             (None, None)),
            unit="nats",
        ),
    ),
)  # fmt: skip


def packing_helps(quantity, sign, game="PacGAN2"):
    """`game`, which judges several samples as one, against judging one, on both mixtures."""
    places = [({"game": "GAN", "mixture": m}, {"game": game, "mixture": m}) for m in MIXTURES]
    return All(tuple(Less(quantity, *(pair if sign > 0 else reversed(pair))) for pair in places))


SEEN = "after the cells of hour were seen"
CLAIMS = (
    Claim("Packing two samples finds more modes", packing_helps("modes", 1)),
    Claim("Packing two samples makes the modes more even: the reverse KL is lower", packing_helps("reverse KL", -1)),
    Claim("Packing three samples finds more modes", packing_helps("modes", 1, "PacGAN3"), added=SEEN),
    Claim("Packing four samples finds more modes", packing_helps("modes", 1, "PacGAN4"), added=SEEN),
    Claim("Packing two samples finds at least 7.5 of the ring's 8 modes",
          Within("modes", {"game": "PacGAN2", "mixture": "ring"}, low=7.5)),
    Claim("R1 finds at least 7.5 of the ring's 8 modes and 24.5 of the grid's 25 (ours; at hour, three of its six seeds"
          " were added when the first three had found all modes)",
          All((Within("modes", {"game": "r1", "mixture": "ring"}, low=7.5),
               Within("modes", {"game": "r1", "mixture": "grid"}, low=24.5)))),
)  # fmt: skip


def perfect(seed, mixture, num):
    """`num` exact samples."""
    source, rng = Toy2D(mixture), np.random.default_rng(seed)
    means = source.modes[rng.integers(len(source.modes), size=num)]
    return mode_report(means + source.sigma * rng.normal(size=means.shape), source.modes, source.sigma)


def grid(variants, seeds, **keys):
    """`variants` are {row: variant of configs/gan_ring.py and gan_grid.py}; the oracle is added.

    r1 has at least ENOUGH seeds: if all of them find every mode, fewer decide nothing. At `hour` that was seen first.
    """
    rows = {
        game: vary("mixture", {
            m: trained(f"configs/gan_{m}.py:{variant}", max(seeds, ENOUGH) if variant == "r1" else seeds, **keys)
            for m in MIXTURES
        })
        for game, variant in variants.items()
    }  # fmt: skip
    num = keys.get("eval__num", 2_500)
    oracle = vary("mixture", {m: {"mixture": m, "num": num} for m in MIXTURES})
    return vary("game", rows) + computed(perfect, seeds) * vary("game", {"oracle": {}}) * oracle


ENOUGH = 6
PACKED = {"GAN": "pac1", "PacGAN2": "pac2", "PacGAN3": "pac3", "PacGAN4": "pac4"}
PAPERS = {game: f"paper_{variant}" for game, variant in PACKED.items()}
MEASURES = {"modes": "modes", "high quality": "high_quality", "reverse KL": "reverse_kl"}
BUDGETS = {
    "minute": Budget(
        "smoke test: 200 steps",
        grid({"GAN": "pac1", "PacGAN2": "pac2"}, 1, train__steps=200, eval__metrics=("modes",)),
        MEASURES,
        hours=0.1,
    ),
    "hour": Budget(
        "PacGAN's protocol for 20 of its 400 epochs (r1: 20,000 steps of 256), 2,500 samples",
        grid({**PACKED, "r1": "r1"}, 3, eval__metrics=("modes",)),
        MEASURES,
        hours=1,
    ),
    "day": Budget(
        "PacGAN's protocol for 100 epochs (r1: as many steps), 2,500 samples",
        grid({**PACKED, "r1": "r1"}, 3, train__steps=100_000, eval__metrics=("modes",)),
        MEASURES,
        hours=6,
    ),
    "paper": Budget(
        "the paper's sizes: 400 epochs, 10 trials, 2,500 samples (r1: 20,000 steps)",
        grid({**PAPERS, "r1": "r1"}, 10, eval__metrics=("modes",)),
        MEASURES,
        hours=24,
    ),
}
