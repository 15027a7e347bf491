"""A drop of ink spreads until nobody can tell what drop it was; a diffusion model trained on it brings it back.

Forward, particles perform Brownian motion in a bowl: the variance-preserving process of the model itself, whose end is
N(0, I) whatever the drop. The density at each time is known exactly, and so are its entropy, which rises to that of
N(0, I), log2(2 pi e) bits, and the total variation distance between different drops, which falls to 0. Backward, the
trained model runs the same motion from noise: the entropy of its samples falls, and the drop returns, at each time
hardly to be told from the drop as it was then. Another drop: --config.data.name=gaussians:pair
--workdir=runs/figures/pair.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from diffjax.data.gaussians import DROPS, Gaussians
from diffjax.errors import UserError
from experiments.figures import style
from experiments.figures.command import Picture, config_of, trained
from experiments.figures.entropy import entropy, plane, total_variation
from experiments.figures.ink_drop.drawing import still
from experiments.figures.ink_drop.film import Cloud, Scene, frames
from experiments.figures.ink_drop.motion import (
    MAXIMUM,
    SAMPLES,
    TIMES,
    backward,
    brownian,
    from_drop,
    moments,
    of_samples,
    spread,
)

LOST = 0.01  # a total variation below which two drops cannot be told apart any more


def draw(arguments, overrides) -> Picture:
    config = config_of("configs/gaussians.py", overrides)
    name = config.data.name.removeprefix("gaussians:")
    if name not in DROPS:
        raise UserError(f"data.name: {config.data.name!r} is no drop; it is gaussians:{', gaussians:'.join(DROPS)}")
    run = trained(config, arguments.workdir / name)
    process, area = run.process, plane()[1]

    other = "pair" if name != "pair" else "streak"
    densities = {drop: spread(Gaussians(drop).mixture, process) for drop in DROPS}
    bits, other_bits = (np.array([entropy(p, area) for p in densities[drop]]) for drop in (name, other))
    distances = {
        pair: [total_variation(p, q, area) for p, q in zip(*(densities[drop] for drop in pair), strict=True)]
        for pair in combinations(DROPS, 2)
    }
    forth = brownian(Gaussians(name).mixture, process, arguments.seed)
    # By noise of its own: under the same noise the particles themselves would meet, and not only their densities.
    other_forth = brownian(Gaussians(other).mixture, process, (arguments.seed, 1))
    back = backward(run, arguments.seed)
    ours, particles = (
        [of_samples(x, moments(process, t)[1]) for x, t in zip(motion.x, TIMES, strict=True)]
        for motion in (back, forth)
    )
    ours_apart, by_chance = (from_drop(p, Gaussians(name).mixture, process) for p in (ours, particles))
    facts = [
        f"entropy of the drop {bits[0]:.3f} bits, at t = 1 {bits[-1]:.4f}; of N(0, I) {MAXIMUM:.4f}",
        f"estimates from {SAMPLES:,} particles are off by {np.abs(forth.bits - bits).max():.3f} bits at most",
        f"the model's samples: {back.bits[-1]:.3f} bits at t = 1, {back.bits[0]:.3f} at t = 0 (off by at most"
        f" {np.abs(back.bits - bits).max():.3f} on the way)",
        f"cross entropy of its samples with the true drop"
        f" {-np.mean(Gaussians(name).log_density(back.x[0])) / np.log(2):.3f} bits",
    ]
    facts.append(
        f"total variation of its samples' density from the drop's, both blurred: {ours_apart[0]:.3f} at t = 0, at most"
        f" {ours_apart.max():.3f}; of {SAMPLES:,} particles' {by_chance[0]:.3f} and {by_chance.max():.3f}"
    )
    half = int(np.abs(TIMES - 0.5).argmin())
    for pair, values in distances.items():
        facts.append(
            f"total variation of {' and '.join(pair)}: {values[0]:.3f} at t = 0, {values[half]:.3f} at"
            f" t = {TIMES[half]:.2g}, {when_lost(values)}"
        )
    drop = Cloud(f"the {name} spreads", style.blue, forth, densities[name])
    another = Cloud(f"the {other} spreads", style.green, other_forth, densities[other])
    model = Cloud("the model runs it backwards", style.orange, back, ours)
    apart = next(np.array(values) for pair, values in distances.items() if {name, other} == set(pair))
    return Picture(
        still=still(name, forth, back, densities, bits, distances),
        frames=frames(
            Scene([drop, another], [bits, other_bits], "the two drops", apart),
            Scene([model, drop._replace(name=f"the {name} as it was at t")], [bits], "the two", ours_apart, by_chance),
        ),
        seconds=10.0,
        facts=facts,
    )


def when_lost(distances: Sequence[float]) -> str:
    """From when on two drops, so far apart at TIMES, cannot be told apart any more; or that they still can at t = 1."""
    below = np.flatnonzero(np.array(distances) < LOST)
    return f"below {LOST} from t = {TIMES[below[0]]:.3g}" if len(below) else f"not below {LOST} at any t"
