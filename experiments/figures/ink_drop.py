"""A drop of ink spreads until nobody can tell what drop it was; a diffusion model trained on it brings it back.

Forward, particles perform Brownian motion in a bowl: the variance-preserving process of the model itself, whose end is
N(0, I) whatever the drop. The density at each time is known exactly, and so are its entropy, which rises to that of
N(0, I), log2(2 pi e) bits, and the total variation distance between different drops, which falls to 0. Backward, the
trained model runs the same motion from noise: the entropy of its samples falls, and the drop returns. Another drop:
--config.data.name=gaussians:pair --workdir=runs/figures/pair.
"""

import sys
from itertools import combinations
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from diffjax.data.gaussians import DROPS, Gaussians, Mixture
from diffjax.errors import UserError
from experiments.figures import style
from experiments.figures.command import Picture, config_of, main, trained
from experiments.figures.entropy import density, entropy, entropy_of_points, plane, total_variation

TIMES = np.linspace(0, 1, 41)  # of the film, either way
SHOWN = np.array([0, 6, 12, 20, 40])  # of TIMES, in the still picture
PARTICLES, TRAILS, TAIL = 400, 3, 6  # drawn; with a tail; the moments of a tail
SAMPLES = 10_000  # that entropies are estimated from, forward and backward
VIEW = (-2.7, 2.7, -2.7, 2.7)
LEVELS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)  # of densities, ink for an area of 1
MAXIMUM = float(np.log2(2 * np.pi * np.e))  # bits, of N(0, I) in the plane


class Motion(NamedTuple):
    """Particles at TIMES: where they are, and the entropy of all of them, estimated."""

    x: np.ndarray  # [times, SAMPLES, 2]
    bits: np.ndarray  # [times]


class Cloud(NamedTuple):
    """Ink in the film: what it is called, its colour, its particles, and its density at TIMES."""

    name: str
    colour: str
    motion: Motion
    p: list[np.ndarray]


def moments(process, t: float) -> tuple[float, float]:
    """alpha and sigma at t."""
    return float(process.alpha(jnp.float32(t))), float(process.sigma(jnp.float32(t)))


def spread(mixture: Mixture, process) -> list[np.ndarray]:
    """The exact density of x_t on `plane()`, at TIMES."""
    points, _ = plane()
    return [density(mixture.noised(*moments(process, t)), points) for t in TIMES]


def brownian(mixture: Mixture, process, seed: int | tuple[int, ...]) -> Motion:
    """One path for each particle, from each time to the next by the exact transition."""
    generator = np.random.RandomState(seed)
    x = [mixture.sample(generator, SAMPLES)]
    for s, t in zip(TIMES[:-1], TIMES[1:], strict=True):
        factor, variance = (float(a) for a in process.transition(jnp.float32(s), jnp.float32(t)))
        x.append(factor * x[-1] + max(variance, 0.0) ** 0.5 * generator.standard_normal(x[-1].shape))
    return measured(np.stack(x))


def backward(run, seed: int) -> Motion:
    """The model's samples on their way from noise to the drop, at the moments nearest to TIMES."""
    spec = run.experiment.sampler
    drawn = run.sample(SAMPLES, seed, trajectory=True)
    if drawn.x_t is None:
        raise UserError(f"sampler.name: {run.experiment.config.sampler.name!r} goes no way that could be shown")
    times = np.asarray(spec.grid(run.process, spec.steps))
    x_t = np.concatenate([drawn.x_t, drawn.x[None]])
    return measured(x_t[[np.abs(times - t).argmin() for t in TIMES]])


def measured(x: np.ndarray) -> Motion:
    return Motion(x, np.array([entropy_of_points(x_t) for x_t in x]))


def of_samples(x: np.ndarray, sigma: float, count: int = 180) -> np.ndarray:
    """The density of samples of x_t on `plane(count=count)`: their histogram, blurred by a fifth of sigma_t.

    At least by 0.05: 10,000 samples then make a smooth picture.
    """
    points, area = plane(count=count)
    half = points[0, 1, 0] - points[0, 0, 0]
    edges = np.append(points[0, :, 0], points[0, -1, 0] + half) - half / 2
    counts = np.histogram2d(x[:, 1], x[:, 0], bins=[edges, edges])[0]
    return gaussian_filter(counts / (len(x) * area), np.hypot(0.05, 0.2 * sigma) / half)


# ------------------------------------------------------------------------------------------------------------ drawing


def draw_particles(axes, x: np.ndarray, colour: str, tails: np.ndarray | None = None) -> None:
    """Particles [n, 2], and of the first ones where they came from: tails [moments, n, 2]."""
    style.bare(axes, VIEW)
    axes.scatter(*x[TRAILS:PARTICLES].T, s=4, color=colour, alpha=0.6, linewidths=0)
    if tails is not None:
        for i in range(TRAILS):
            axes.plot(*tails[:, i].T, color=style.ink, linewidth=1)
            axes.scatter(*x[i], s=14, color=style.ink, linewidths=0, zorder=3)


def draw_density(axes, p: np.ndarray, colour: str) -> None:
    style.bare(axes, VIEW)
    points, _ = plane(count=len(p))
    colours = style.shades(colour)(np.linspace(0.1, 1, len(LEVELS)))
    axes.contourf(points[..., 0], points[..., 1], p, LEVELS, colors=colours, extend="max")


def draw_entropy(axes, *exact: np.ndarray) -> None:
    """The entropies of drops at TIMES, below that of N(0, I)."""
    axes.axhline(MAXIMUM, color=style.grey, linewidth=1, linestyle="--")
    axes.text(1, MAXIMUM + 0.06, f"N(0, I): {MAXIMUM:.2f} bits", ha="right", va="bottom")
    for bits in exact:
        axes.plot(TIMES, bits, color=style.grey)
    lowest = min(bits[0] for bits in exact)
    axes.set(xlim=(0, 1), ylim=(min(0, lowest), MAXIMUM + 0.6), yticks=range(5), ylabel="entropy (bits)")
    axes.set_xlabel("time t")


def draw_distance(axes) -> None:
    """An empty plot for how far drops are apart."""
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="time t", ylabel="total variation distance")


def still(forth: Motion, back: Motion, densities: list[list[np.ndarray]], bits: np.ndarray, distances) -> np.ndarray:
    """`densities`: of the drop, and of another one."""
    figure = style.figure(height=8.9)
    rows = figure.subfigures(2, 1, height_ratios=[2.8, 1])
    axes = rows[0].subplots(4, len(SHOWN))
    for column, i in enumerate(SHOWN):
        draw_particles(axes[0, column], forth.x[i], style.blue)
        draw_density(axes[1, column], densities[0][i], style.blue)
        draw_density(axes[2, column], densities[1][i], style.green)
        draw_particles(axes[3, column], back.x[i], style.orange)
        axes[0, column].set_title(f"t = {TIMES[i]:.2g}")
    for row, name in enumerate(("ink spreads →", "its density →", "another drop →", "← the model")):
        axes[row, 0].set_ylabel(name)

    left, right = rows[1].subplots(1, 2)
    draw_entropy(left, bits)
    left.plot(TIMES[::2], forth.bits[::2], "o", color=style.blue, markersize=5, label="particles, forward")
    left.plot(TIMES[::2], back.bits[::2], "x", color=style.orange, markersize=5, label="samples, backward")
    left.lines[1].set_label("exact")
    left.legend(loc="lower right")
    for (names, values), colour, dash in zip(
        distances.items(), (style.blue, style.orange, style.green), ("-", "--", ":"), strict=True
    ):
        right.plot(TIMES, values, dash, color=colour, label=" and ".join(names))
    draw_distance(right)
    right.legend(title="drops told apart")
    return style.pixels(figure, style.STILL)


def frames(there: list[Cloud], back: list[Cloud], bits: list[np.ndarray], apart: np.ndarray) -> list[np.ndarray]:
    """Two drops become alike, and one comes back, each time two clouds side by side.

    `bits` and `apart` are the drops' entropies and the distance between them, exact, at TIMES.
    """
    moments = list(range(len(TIMES)))
    spreads = [frame(there, bits, apart, moments[: i + 1]) for i in moments]
    return spreads + [frame(back, bits[:1], apart, moments[: -i - 2 : -1]) for i in moments]


def frame(clouds: list[Cloud], bits: list[np.ndarray], apart: np.ndarray, past: list[int]) -> np.ndarray:
    """The last of the `past` moments, of TIMES, and the curves up to there."""
    now = past[-1]
    figure = style.figure(height=5.2)
    axes = figure.subplots(2, 3, width_ratios=[1, 1, 0.95])
    draw_entropy(axes[0, 2], *bits)
    for column, (name, colour, motion, p) in enumerate(clouds):
        draw_particles(axes[0, column], motion.x[now], colour, motion.x[past[-TAIL - 1 :]])
        draw_density(axes[1, column], p[now], colour)
        axes[0, column].set_title(name)
        axes[0, 2].plot(TIMES[past], motion.bits[past], color=colour, zorder=4 - column)  # the first above the second
        axes[0, 2].plot(TIMES[now], motion.bits[now], "o", color=colour, zorder=4 - column)
    said = " and ".join(f"{cloud.motion.bits[now]:.1f}" for cloud in clouds)
    axes[0, 2].set(title=f"t = {TIMES[now]:.2f}: {said} bits", xlabel="")  # the plot below says it
    axes[0, 0].set_ylabel("particles")
    axes[1, 0].set_ylabel("density")

    draw_distance(axes[1, 2])
    axes[1, 2].plot(TIMES, apart, color=style.grey)
    axes[1, 2].plot(TIMES[now], apart[now], "o", color=style.ink)
    axes[1, 2].set_title(f"the two drops told apart: {apart[now]:.2f}")
    return style.pixels(figure, style.FILM)


def draw(arguments, overrides) -> Picture:
    config = config_of("configs/gaussians.py", overrides)
    if config.data.name.removeprefix("gaussians:") not in DROPS:
        raise UserError(f"data.name: {config.data.name!r} is no drop; it is gaussians:{', gaussians:'.join(DROPS)}")
    run = trained(config, arguments.workdir / config.data.name.removeprefix("gaussians:"))
    name, process, area = config.data.name.removeprefix("gaussians:"), run.process, plane()[1]

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
    facts = [
        f"entropy of the drop {bits[0]:.3f} bits, at t = 1 {bits[-1]:.4f}; of N(0, I) {MAXIMUM:.4f}",
        f"estimates from {SAMPLES:,} particles are off by {np.abs(forth.bits - bits).max():.3f} bits at most",
        f"the model's samples: {back.bits[-1]:.3f} bits at t = 1, {back.bits[0]:.3f} at t = 0 (off by at most"
        f" {np.abs(back.bits - bits).max():.3f} on the way)",
        f"cross entropy of its samples with the true drop"
        f" {-np.mean(Gaussians(name).log_density(back.x[0])) / np.log(2):.3f} bits",
    ]
    for pair, values in distances.items():
        half, lost = len(TIMES) // 2, TIMES[np.argmax(np.array(values) < 0.01)]
        facts.append(
            f"total variation of {' and '.join(pair)}: {values[0]:.3f} at t = 0, {values[half]:.3f} at"
            f" t = {TIMES[half]:.2g}, below 0.01 from t = {lost:.3g}"
        )
    there = [
        Cloud(f"a drop ({name}) spreads", style.blue, forth, densities[name]),
        Cloud(f"another one ({other})", style.green, other_forth, densities[other]),
    ]
    ours = [of_samples(x, moments(process, t)[1]) for x, t in zip(back.x, TIMES, strict=True)]
    returns = [
        Cloud("the model runs it backwards", style.orange, back, ours),
        Cloud("the drop as it was at t", style.blue, forth, densities[name]),
    ]
    apart = next(np.array(values) for pair, values in distances.items() if {name, other} == set(pair))
    return Picture(
        still=still(forth, back, [densities[name], densities[other]], bits, distances),
        frames=frames(there, returns, [bits, other_bits], apart),
        seconds=10.0,
        facts=facts,
    )


if __name__ == "__main__":
    sys.exit(main("ink_drop", __doc__, draw, sys.argv[1:]))
