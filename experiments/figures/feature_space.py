"""People as points in the space of their features, and what a diffusion model makes of the places between them.

Two axes, height and weight: near the mean people are plausible, far from it they are not; the density that the model
has learned (by its probability-flow ODE) and its score, the way to more plausible people, stand beside the true ones. A
third axis, wing span, and a second cloud elsewhere: winged beings. What lies between is shown in two ways, by the
density on the straight line from cloud to cloud, and by the samples that latents between two latents become.
People and winged beings are invented; diffjax/data/gaussians.py has their numbers.
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data.gaussians import AXES
from diffjax.densities import log_prob
from diffjax.drawing.films import spread_at
from experiments.figures import style
from experiments.figures.command import Picture, config_of, main, trained

SHARES = (0.999, 0.99, 0.9, 0.5)  # of people, inside the contours
CELLS, ARROWS, FEWER = 45, 13, 9  # a side, of the densities' grid and of the scores', in the film fewer
HALF = 3.8  # of the view, in standard deviations
NOISE = 0.1  # sigma / alpha at which scores are compared, in standard deviations
SAMPLES, DRAWN, IN_FILM = 10_000, 600, 250  # counted, in the still picture, in the film
LATENTS, PAIRS, WEIGHTS = 400, 60, 81  # drawn; interpolated; places on the way
LAST = 0.01  # the time after which nothing is seen to move
POINTS = 81  # on the straight line
BETWEEN = (60.0, 300.0)  # cm of wing span: ten deviations from people, and 4.5 from winged beings
WINGED = 200.0  # cm of wing span from which on one is winged
LABEL = {"facecolor": style.paper, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}  # behind words among points
MARKED = ((171.0, 74.0), (196.0, 60.0), (150.0, 112.0))  # people whose plausibility is said


class Field(NamedTuple):
    """A density and a score over the view: [CELLS, CELLS] nats in stored units, [ARROWS, ARROWS, 2] in model units."""

    log_p: np.ndarray
    score: np.ndarray


class Way(NamedTuple):
    """Between the two clouds."""

    log_p: np.ndarray  # [POINTS] on the straight line, as learned
    exact: np.ndarray  # [POINTS]
    x: np.ndarray  # [WEIGHTS, pairs, 3] samples of interpolated latents

    @property
    def middle(self) -> int:
        """The pair that becomes winged nearest to half way."""
        return int(np.abs(np.mean(self.x[:, :, 2] > WINGED, axis=0) - 0.5).argmin())


# ---------------------------------------------------------------------------------------------------------- measuring


def places(space, count: int) -> np.ndarray:
    """Stored units [count, count, 2], over the view."""
    axis = np.linspace(-HALF, HALF, count)
    return np.asarray(space.from_model(np.stack(np.meshgrid(axis, axis), -1).astype(np.float32)), np.float64)


def learned_log_p(run, x: np.ndarray) -> np.ndarray:
    """log p by the model's ODE, nats and stored units, of x [..., d]."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float32)
    found, _ = log_prob(run.experiment, run.ema, {"x": flat, "label": np.zeros(len(flat), np.int32)})
    return found.reshape(x.shape[:-1])


def arrows(run, y: np.ndarray, t: float) -> np.ndarray:
    """sigma^2 score of x_t / spread at places y [..., d] of it: how far to the mean of what may be under the noise."""
    t, spread = jnp.float32(t), spread_at(run, t)
    x_t = jnp.asarray(spread * y.reshape(-1, y.shape[-1]), jnp.float32)
    move = run.process.alpha(t) * run.denoiser(x_t, t).x0 - x_t
    return np.asarray(move / spread).reshape(y.shape)


def fields(run) -> tuple[Field, Field]:
    """The true one, and the learned one. The scores are those of x_t / alpha where the noise is NOISE."""
    source, space, process = run.experiment.source, run.experiment.method.space, run.process
    grid, y = places(space, CELLS), np.asarray(space.to_model(places(space, ARROWS).astype(np.float32)), np.float64)
    t = process.time_of(jnp.float32(-2 * np.log(NOISE)))
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    x_t = alpha * y.reshape(-1, 2)
    exact = source.model_mixture.noised(alpha, sigma).score(x_t)
    ours = -process.eps(run.denoiser(jnp.asarray(x_t, jnp.float32), t).x0, jnp.asarray(x_t, jnp.float32), t) / sigma
    true = Field(source.log_density(grid.reshape(-1, 2)).reshape(CELLS, CELLS), exact.reshape(y.shape))
    return true, Field(learned_log_p(run, grid), np.asarray(ours).reshape(y.shape))


def plausibility(source, log_p: np.ndarray) -> np.ndarray:
    """The share of people who are less likely than this: 1 at the mode, 0 for what is rarer than all of them."""
    people = np.sort(source.log_density(source.split("heldout").arrays()["x"]))
    return np.searchsorted(people, log_p) / len(people)


def flow(run):
    """The sampler as a map from latents [n, d], standard normal, to samples in stored units."""
    spec, process = run.experiment.sampler, run.process
    grid = spec.grid(process, spec.steps)

    @jax.jit
    def to_x0(variables, z):
        denoise = run.experiment.method.denoiser(variables, spec)
        return run.experiment.method.space.from_model(
            spec(process, denoise, process.sigma(grid[0]) * z, grid, jax.random.key(0)).x0
        )

    return lambda z: np.asarray(to_x0(run.ema, jnp.asarray(z, jnp.float32)))


def way(run, seed: int) -> Way:
    """The straight line from people to winged beings; and latents from those of the one to those of the other.

    cos(w pi / 2) z_a + sin(w pi / 2) z_b of two independent standard normals is standard normal: no latent is odd.
    """
    source = run.experiment.source
    mixture, share = source.mixture, np.linspace(0, 1, POINTS)[:, None]
    people = mixture.weights[:2] @ mixture.means[:2] / mixture.weights[:2].sum()
    line = (1 - share) * people + share * mixture.means[2]

    to_x0, generator = flow(run), np.random.RandomState(seed)
    z = generator.standard_normal((LATENTS, 3))
    winged = to_x0(z)[:, 2] > WINGED
    pairs = min(PAIRS, winged.sum(), (~winged).sum())
    a, b, weight = z[~winged][:pairs], z[winged][:pairs], np.linspace(0, np.pi / 2, WEIGHTS)[:, None, None]
    mixed = np.cos(weight) * a + np.sin(weight) * b
    x = to_x0(mixed.reshape(-1, 3)).reshape(mixed.shape)
    return Way(learned_log_p(run, line), source.log_density(line), x)


def between(x: np.ndarray) -> float:
    """The share of samples [..., 3] that are neither people nor winged beings, by their wing span."""
    return float(np.mean((x[..., 2] > BETWEEN[0]) & (x[..., 2] < BETWEEN[1])))


# ------------------------------------------------------------------------------------------------------------ drawing


def plane(axes, space) -> None:
    corners = places(space, 2)
    axes.set(xlim=corners[0, :, 0], ylim=corners[:, 0, 1], xlabel=AXES[0], ylabel=AXES[1])


def draw_field(axes, space, levels, field: Field, colour: str) -> None:
    grid, roots = places(space, CELLS), places(space, ARROWS)
    plane(axes, space)
    colours = style.shades(colour)(np.linspace(0.15, 0.6, len(levels)))
    top = max(field.log_p.max(), levels[-1]) + 1
    axes.contourf(grid[..., 0], grid[..., 1], field.log_p, [*levels, top], colors=colours)
    axes.quiver(roots[..., 0], roots[..., 1], field.score[..., 0], field.score[..., 1], color=style.ink, scale=110,
                width=0.005)  # fmt: skip


def draw_samples(axes, source, x: np.ndarray) -> None:
    plane(axes, source.space)
    share = plausibility(source, source.log_density(x))
    axes.scatter(*x.T, c=share, s=7, cmap=style.shades(style.blue), vmin=-0.25, vmax=1, linewidths=0)
    for person in MARKED:
        found = plausibility(source, source.log_density(np.array([person])))[0]
        axes.plot(*person, "D", color=style.orange, markersize=5)
        said = f"{100 * found:.2g} %"
        axes.annotate(said, person, (6, 5), textcoords="offset points", bbox=LABEL)


def draw_clouds(axes, source, x: np.ndarray, turn: float) -> None:
    """Samples in space: people in blue, winged beings in green, what is neither in orange."""
    wings = x[:, 2]
    odd = (wings > BETWEEN[0]) & (wings < BETWEEN[1])
    for which, colour in (((wings <= WINGED) & ~odd, style.blue), ((wings > WINGED) & ~odd, style.green),
                          (odd, style.orange)):  # fmt: skip
        axes.scatter(*x[which].T, s=5, color=colour, alpha=0.6, linewidths=0, depthshade=False)
    middle, spread = source.mixture.mean[:2], np.sqrt(np.diag(source.mixture.covariance))[:2]
    low, high = middle - HALF * spread, middle + HALF * spread
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(-100, 650))
    axes.set(xlabel=AXES[0], ylabel=AXES[1], xticks=[150, 170, 190], yticks=[50, 100], zticks=[0, 200, 400, 600])
    axes.view_init(elev=14, azim=turn)
    axes.set_box_aspect((1, 1, 1.05), zoom=0.9)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(style.paper)
    axes.tick_params(pad=-1)


def still(people, winged, true: Field, learned: Field, levels, x2, x3, between_them: Way) -> np.ndarray:
    source, space = people.experiment.source, people.experiment.method.space
    figure = style.figure(height=6.2)
    above, below = figure.subfigures(2, 1)
    left, middle, right = above.subplots(1, 3, sharey=True)
    draw_samples(left, source, x2)
    left.set_title("sampled people; share of all\nwho are less plausible")
    draw_field(middle, space, levels, true, style.grey)
    draw_field(right, space, levels, learned, style.blue)
    middle.set_title("true density (50, 90, 99,\n99.9 % of people) and score")
    right.set_title("learned density (same\nlevels) and score")
    for axes in (middle, right):
        axes.set_ylabel("")

    grid = below.add_gridspec(1, 3, width_ratios=[1.15, 1, 1])
    clouds = below.add_subplot(grid[0], projection="3d")
    draw_clouds(clouds, winged.experiment.source, x3, -60)
    clouds.set_title("samples with a third axis,\nwing span (cm)")
    line, latents = below.add_subplot(grid[1]), below.add_subplot(grid[2])
    share = np.linspace(0, 1, POINTS)
    top = between_them.exact.max()
    line.plot(share, (between_them.exact - top) / np.log(10), color=style.grey, label="true")
    line.plot(share, (between_them.log_p - top) / np.log(10), "--", color=style.blue, label="learned")
    line.set(xlabel="people (0) to winged (1)", ylabel="log$_{10}$ density, from its top", xlim=(0, 1))
    line.set_title("density on the straight line\nbetween the two clouds")
    line.legend(loc="lower right")
    draw_latents(latents, between_them.x)
    latents.plot(np.linspace(0, 1, WEIGHTS), between_them.x[:, between_them.middle, 2], color=style.ink)
    latents.set_title("what latents between\ntwo latents become")
    return style.pixels(figure, style.STILL)


def draw_latents(axes, x: np.ndarray) -> None:
    weight = np.linspace(0, 1, len(x))
    axes.axhspan(*BETWEEN, color=style.orange, alpha=0.15, linewidth=0)
    axes.plot(weight, x[:, :, 2], color=style.blue, linewidth=0.6, alpha=0.5)
    axes.text(0.04, np.mean(BETWEEN), "neither", va="center", bbox=LABEL)
    axes.set(xlim=(0, 1), ylim=(-60, 650), xlabel="a person (0) to winged (1)", ylabel=AXES[2])


def film(people, winged, levels, true: Field, seed: int, between_them: Way) -> list[np.ndarray]:
    """Noise becoming people along the score, with two axes and with three; then latents between two latents."""
    space, source = people.experiment.method.space, winged.experiment.source
    spec, shown = people.experiment.sampler, []
    drawn = [run.sample(IN_FILM, seed, trajectory=True, batch_size=IN_FILM) for run in (people, winged)]
    grid, roots = (np.moveaxis(places(space, count), -1, 0) for count in (CELLS, FEWER))
    y = np.stack(np.meshgrid(*[np.linspace(-HALF, HALF, FEWER)] * 2), -1)

    def frame(turn: float, x3: np.ndarray, titles: tuple[str, str]):
        figure = style.figure(height=3.6)
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
        draw_clouds(right, source, x3, turn)
        left.set_title(titles[0])
        right.set_title(titles[1])
        return figure, left, right

    times = np.asarray(spec.grid(people.process, spec.steps))
    for i in np.flatnonzero(times[:-1] >= LAST):
        t = times[i]
        x2, x3 = (
            np.asarray(run.experiment.method.space.from_model(found.x_t[i] / spread_at(run, t)))
            for run, found in zip((people, winged), drawn, strict=True)
        )
        figure, left, _ = frame(i - 60, x3, (f"t = {t:.2f}: noise follows the score", "and with wing span (cm)"))
        plane(left, space)
        left.contour(*grid, true.log_p, levels, colors=style.grey, linewidths=0.8, linestyles="-")
        left.quiver(*roots, *np.moveaxis(arrows(people, y, t), -1, 0), color=style.grey, scale=40, width=0.004)
        left.scatter(*x2.T, s=5, color=style.blue, alpha=0.7, linewidths=0)
        shown.append(style.pixels(figure, style.FILM))

    path, turn = between_them.x[:, between_them.middle], len(times) - 60
    weight = np.linspace(0, 1, len(path))
    for i in range(0, len(path), 4):
        figure, left, right = frame(turn + i / 4, drawn[1].x, ("latents between two latents", "and what they become"))
        draw_latents(left, between_them.x)
        left.plot(weight[: i + 1], path[: i + 1, 2], color=style.ink)
        left.plot(weight[i], path[i, 2], "o", color=style.ink)
        right.plot(*path[: i + 1].T, color=style.ink, linewidth=1.2)
        right.scatter(*path[i], s=40, color=style.ink, depthshade=False)
        shown.append(style.pixels(figure, style.FILM))
    return shown


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
        f"winged beings: {np.mean(x3[:, 2] > WINGED):.1%} of {SAMPLES:,} samples (25 % of the data); neither,"
        f" {BETWEEN[0]:.0f} to {BETWEEN[1]:.0f} cm of wings: {between(x3):.2%}",
        f"the straight line's valley: 10^{deepest:.1f} of its top; learned"
        f" 10^{(between_them.log_p.min() - between_them.exact.max()) / np.log(10):.1f}",
        f"latents between those of {between_them.x.shape[1]} people and as many winged beings:"
        f" {between(between_them.x):.1%} of what they become is neither",
    ]
    picture = still(people, winged, true, learned, levels, x2, x3[:DRAWN], between_them)
    return Picture(picture, film(people, winged, levels, true, arguments.seed, between_them), 9.0, facts)


if __name__ == "__main__":
    sys.exit(main("feature_space", __doc__, draw, sys.argv[1:]))
