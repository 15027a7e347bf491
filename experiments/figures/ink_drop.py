"""A drop of ink spreads until nobody can tell what drop it was; a diffusion model trained on it brings it back.

Forward, particles perform Brownian motion in a bowl: the variance-preserving process of the model itself, whose end is
N(0, I) whatever the drop. The density at each time is known exactly, and so are its entropy, which rises to that of
N(0, I), log2(2 pi e) bits, and the total variation distance between different drops, which falls to 0. Backward, the
trained model runs the same motion from noise: the entropy of its samples falls, and the drop returns, at each time
hardly to be told from the drop as it was then. Another drop: --config.data.name=gaussians:pair
--workdir=runs/figures/pair.
"""

import sys
from itertools import combinations, product
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from diffjax.data.gaussians import DROPS, Gaussians, Mixture
from diffjax.errors import UserError
from experiments.figures import style
from experiments.figures.command import Picture, config_of, main, trained
from experiments.figures.entropy import density, entropy, entropy_of_points, plane, total_variation

TIMES = np.linspace(0, 1, 41) ** 2  # of the film, either way: denser where a drop still has a shape
SHOWN = np.array([0, 7, 10, 16, 40])  # of TIMES, in the still picture: t = 0, 0.03, 0.06, 0.16, 1
PARTICLES, TRAILS, TAIL = 400, 3, 6  # drawn; with a tail; the moments of a tail
SAMPLES = 10_000  # that entropies are estimated from, forward and backward
VIEW = (-2.7, 2.7, -2.7, 2.7)
LEVELS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)  # of densities, ink for an area of 1
NAMED = (0.01, 0.08, 0.64)  # of LEVELS, in the keys
FINE = 180  # cells a side, in which samples are counted
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


class Scene(NamedTuple):
    """Half of the film: two clouds side by side, and how far they are apart."""

    clouds: list[Cloud]
    bits: list[np.ndarray]  # entropies of drops at TIMES, exact
    name: str  # of what is told apart
    apart: np.ndarray  # total variation at TIMES
    by_chance: np.ndarray | None = None  # what samples of one and the same drop would have


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


def blur(sigma: float) -> float:
    """By how much samples of x_t are blurred: a fifth of sigma_t, at least 0.05. 10,000 then make a smooth picture."""
    return float(np.hypot(0.05, 0.2 * sigma))


def of_samples(x: np.ndarray, sigma: float) -> np.ndarray:
    """The density of samples of x_t on `plane(count=FINE)`: their histogram, blurred."""
    points, area = plane(count=FINE)
    width = area**0.5
    edges = np.append(points[0, :, 0] - width / 2, points[0, -1, 0] + width / 2)
    counts = np.histogram2d(x[:, 1], x[:, 0], bins=[edges, edges])[0]
    return gaussian_filter(counts / (len(x) * area), blur(sigma) / width)


def from_drop(estimates: list[np.ndarray], mixture: Mixture, process) -> np.ndarray:
    """The total variation distance, at TIMES, of densities of samples from that of the drop, as blurred as they are."""
    points, area = plane(count=FINE)
    found = []
    for p, t in zip(estimates, TIMES, strict=True):
        alpha, sigma = moments(process, t)
        exact = density(mixture.noised(alpha, np.hypot(sigma, blur(sigma))), points)
        found.append(total_variation(p, exact, area))
    return np.array(found)


# ------------------------------------------------------------------------------------------------------------ drawing


def draw_particles(axes, x: np.ndarray, colour: str, tails: np.ndarray | None = None) -> None:
    """Particles [n, 2], and of the first ones where they came from: tails [moments, n, 2]."""
    style.bare(axes, VIEW)
    axes.scatter(*x[TRAILS:PARTICLES].T, s=4, color=colour, alpha=0.6, linewidths=0)
    if tails is not None:
        for i in range(TRAILS):
            axes.plot(*tails[:, i].T, color=style.ink, linewidth=1)
            axes.scatter(*x[i], s=14, color=style.ink, linewidths=0, zorder=3)


def draw_density(axes, p: np.ndarray, colour: str):
    style.bare(axes, VIEW)
    points, _ = plane(count=len(p))
    colours = style.shades(colour)(np.linspace(0.1, 1, len(LEVELS)))
    return axes.contourf(points[..., 0], points[..., 1], p, LEVELS, colors=colours, extend="max")


def key_of_density(figure, shades, **where):
    """Which shade is which density."""
    bar = figure.colorbar(shades, ticks=NAMED, **where)
    bar.outline.set_visible(False)
    return bar


def draw_entropy(axes, *exact: np.ndarray) -> None:
    """The entropies of drops at TIMES, below that of N(0, I)."""
    axes.axhline(MAXIMUM, color=style.grey, linewidth=1, linestyle="--")
    axes.text(1, MAXIMUM + 0.06, f"N(0, I): {MAXIMUM:.2f} bits", ha="right", va="bottom")
    for bits in exact:
        axes.plot(TIMES, bits, color=style.grey, label="exact")
    lowest = min(bits[0] for bits in exact)
    axes.set(xlim=(0, 1), ylim=(min(0, lowest), MAXIMUM + 0.6), yticks=range(5), ylabel="entropy (bits)")
    axes.set_xlabel("time t")


def draw_distance(axes) -> None:
    """An empty plot for how far drops are apart."""
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="time t", ylabel="total variation distance")


def still(forth: Motion, back: Motion, densities: list[list[np.ndarray]], bits: np.ndarray, distances) -> np.ndarray:
    """`densities`: of the drop, and of another one."""
    figure = style.figure(height=8.9)
    above, below = figure.subfigures(2, 1, height_ratios=[2.8, 1])
    axes = above.subplots(4, len(SHOWN))
    for column, i in enumerate(SHOWN):
        draw_particles(axes[0, column], forth.x[i], style.blue)
        one = draw_density(axes[1, column], densities[0][i], style.blue)
        other = draw_density(axes[2, column], densities[1][i], style.green)
        draw_particles(axes[3, column], back.x[i], style.orange)
        axes[0, column].set_title(f"t = {TIMES[i]:.2g}")
    for row, name in enumerate(("a drop spreads,\nleft to right", "its density", "another drop's\ndensity",
                                "the model, backward,\nright to left")):  # fmt: skip
        axes[row, 0].set_ylabel(name)
    for row, shades in ((1, one), (2, other)):
        key_of_density(above, shades, ax=axes[row], aspect=14, pad=0.01).set_label("ink per unit of area")

    left, right = below.subplots(1, 2)
    draw_entropy(left, bits)
    left.plot(TIMES[::2], forth.bits[::2], "o", color=style.blue, markersize=5, label="particles, forward")
    left.plot(TIMES[::2], back.bits[::2], "x", color=style.orange, markersize=5, label="samples, backward")
    left.legend(loc="lower right")
    looks = product((style.ink, style.grey), ("-", "--", ":", "-."))  # enough for eight pairs
    for (names, values), (colour, dash) in zip(distances.items(), looks, strict=False):
        right.plot(TIMES, values, dash, color=colour, label=" and ".join(names))
    draw_distance(right)
    right.legend(title="drops told apart")
    return style.pixels(figure, style.STILL)


def frames(there: Scene, back: Scene) -> list[np.ndarray]:
    """Two drops become alike, and one comes back."""
    moments = list(range(len(TIMES)))
    spreads = [frame(there, moments[: i + 1]) for i in moments]
    return spreads + [frame(back, moments[: -i - 2 : -1]) for i in moments]


def frame(scene: Scene, past: list[int]) -> np.ndarray:
    """The last of the `past` moments, of TIMES, and the curves up to there."""
    now = past[-1]
    figure = style.figure(height=5.4)
    axes = figure.subplots(2, 3, width_ratios=[1, 1, 0.95])
    draw_entropy(axes[0, 2], *scene.bits)
    for column, (name, colour, motion, p) in enumerate(scene.clouds):
        draw_particles(axes[0, column], motion.x[now], colour, motion.x[past[-TAIL - 1 :]])
        shades = draw_density(axes[1, column], p[now], colour)
        below = axes[1, column].inset_axes([0.1, -0.09, 0.8, 0.04])
        key_of_density(figure, shades, cax=below, orientation="horizontal")
        axes[0, column].set_title(name)
        axes[0, 2].plot(TIMES[past], motion.bits[past], color=colour, zorder=4 - column)  # the first above the second
        axes[0, 2].plot(TIMES[now], motion.bits[now], "o", color=colour, zorder=4 - column)
    said = " and ".join(f"{cloud.motion.bits[now]:.1f}" for cloud in scene.clouds)
    axes[0, 2].set(title=f"t = {TIMES[now]:.2f}: {said} bits", xlabel="")  # the plot below says it
    axes[0, 0].set_ylabel("particles")
    axes[1, 0].set_ylabel("density (ink per unit of area)")

    draw_distance(axes[1, 2])
    axes[1, 2].plot(TIMES, scene.apart, color=style.ink, linewidth=1)
    axes[1, 2].plot(TIMES[now], scene.apart[now], "o", color=style.ink)
    if scene.by_chance is not None:
        axes[1, 2].plot(TIMES, scene.by_chance, "--", color=style.grey, label=f"by chance, of {SAMPLES:,} particles")
        axes[1, 2].legend(loc="upper left")
    axes[1, 2].set_title(f"{scene.name} told apart: {scene.apart[now]:.2f}")
    return style.pixels(figure, style.FILM)


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
        lost = TIMES[np.argmax(np.array(values) < 0.01)]
        facts.append(
            f"total variation of {' and '.join(pair)}: {values[0]:.3f} at t = 0, {values[half]:.3f} at"
            f" t = {TIMES[half]:.2g}, below 0.01 from t = {lost:.3g}"
        )
    drop = Cloud(f"a drop ({name}) spreads", style.blue, forth, densities[name])
    another = Cloud(f"another one ({other})", style.green, other_forth, densities[other])
    model = Cloud("the model runs it backwards", style.orange, back, ours)
    apart = next(np.array(values) for pair, values in distances.items() if {name, other} == set(pair))
    return Picture(
        still=still(forth, back, [densities[name], densities[other]], bits, distances),
        frames=frames(
            Scene([drop, another], [bits, other_bits], "the two drops", apart),
            Scene([model, drop._replace(name="the drop as it was at t")], [bits], "the two", ours_apart, by_chance),
        ),
        seconds=10.0,
        facts=facts,
    )


if __name__ == "__main__":
    sys.exit(main("ink_drop", __doc__, draw, sys.argv[1:]))
