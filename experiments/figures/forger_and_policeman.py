"""A GAN on points in the plane: a forger learns to imitate the data from a policeman who learns to spot forgeries.

The picture shows the generator's current weights, not their average; the discriminator's verdict sigmoid(D) over the
plane, from 0 (forged) through 1/2 (cannot tell) to 1 (real), in shades that are finest near 1/2; and both losses up to
each moment. If nothing can be told apart any more, the losses are 2 log 2 and log 2 (Goodfellow et al. 2014). For two
moons instead of the ring: --config.data.name=toy2d:moons --workdir=runs/figures/moons.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from diffjax.data.toy2d import KINDS, Toy2D
from diffjax.errors import UserError
from diffjax.host.json_files import read_lines
from experiments.figures import style
from experiments.figures.command import Picture, config_of, main, trained

STEPS, MOMENTS = 4_000, 50  # training steps; moments in the film
# Wider modes and a tenth of the penalty of configs/gan_ring.py, so that the discriminator's verdicts can be seen.
OWN = {"train__steps": STEPS, "train__keep": 2 * MOMENTS, "train__sample_every": 0, "method__penalty__gamma": 0.1}
NOISE = 0.05  # standard deviation of the data's modes, in stored units; the ring's radius is 1
SHOWN = (0.0, 0.06, 0.12, 0.36, 1.0)  # moments of the still picture, as shares of the film
SAMPLES, DATA = 500, 1_000  # points shown
COUNTED = 2_500  # samples in which modes are counted
CELLS = 81  # per side of the discriminator's map
# The map's levels are symmetric about 1/2, and finest there, where all verdicts of a good game lie.
LEVELS = (0.0, 0.3, 0.4, 0.45, 0.48, 0.49, 0.51, 0.52, 0.55, 0.6, 0.7, 1.0)
EVEN = {"d_loss": 2 * np.log(2), "g_loss": np.log(2)}  # if sigmoid(D) is 1/2 everywhere
NAMES = {"d_loss": "policeman", "g_loss": "forger"}
COLOURS = {"d_loss": style.blue, "g_loss": style.orange}
DASHES = {"d_loss": "-", "g_loss": "--"}


class Moment(NamedTuple):
    """The state of the game after a step."""

    step: int
    samples: np.ndarray  # [COUNTED, 2], stored units
    verdict: np.ndarray  # [CELLS, CELLS] sigmoid(D), over the view


class Game(NamedTuple):
    """What all frames of a game share."""

    data: np.ndarray  # [DATA, 2]
    view: tuple[float, float, float, float]
    losses: dict[str, np.ndarray]  # by name, and "step"
    even: bool  # whether EVEN are the losses when nothing can be told apart


def moments(run, view, seed: int) -> list[Moment]:
    """The game before its first step and at every kept checkpoint."""
    from diffjax.workdir.checkpoint import Checkpoints

    experiment = run.experiment
    method, generator = experiment.method, experiment.generator(batch_size=COUNTED)
    axes = (np.linspace(*view[2 * i : 2 * i + 2], CELLS) for i in (0, 1))
    points = method.space.to_model(np.stack(np.meshgrid(*axes), -1).reshape(-1, 2).astype(np.float32))
    judge = jax.jit(lambda variables: jax.nn.sigmoid(method.critic().apply(variables, points)))

    shapes = experiment.layout.place(jax.eval_shape(experiment.init, jax.random.key(0)))

    def moment(step: int, networks) -> Moment:
        verdict = np.asarray(judge(networks["discriminator"])).reshape(CELLS, CELLS)
        return Moment(step, generator.draw(networks, COUNTED, seed).x, verdict)

    game_moments = [moment(0, experiment.initial_state(shapes).params)]
    with Checkpoints(run.workdir / "checkpoints", read_only=True) as checkpoints:
        for step in checkpoints.steps():
            game_moments.append(moment(step, checkpoints.restore(step, state=shapes)["state"].params))
    return game_moments


def losses(path: Path) -> dict[str, np.ndarray]:
    """The logged losses, each the mean since the line before."""
    lines = [line for line in read_lines(path) if "d_loss" in line]
    return {name: np.array([line[name] for line in lines]) for name in ("step", *EVEN)}


# ------------------------------------------------------------------------------------------------------------ drawing


def draw_samples(axes, game: Game, moment: Moment) -> None:
    style.bare(axes, game.view)
    axes.scatter(
        *game.data.T, s=16, color=style.blue, alpha=0.3, linewidths=0
    )  # large and pale, so that forgeries on top stay visible
    axes.scatter(*moment.samples[:SAMPLES].T, s=3, color=style.orange, linewidths=0)


def draw_verdict(axes, game: Game, moment: Moment):
    from matplotlib.colors import BoundaryNorm

    style.bare(axes, game.view)
    colours = style.two_sides(style.orange, style.blue)
    norm = BoundaryNorm(LEVELS, colours.N)  # equal steps of colour between levels
    x, y = (np.linspace(*game.view[2 * i : 2 * i + 2], CELLS) for i in (0, 1))
    return axes.contourf(x, y, moment.verdict, LEVELS, cmap=colours, norm=norm)


def key_of_points(axes) -> None:
    """A legend of the points, below the axes."""
    for name, colour in (("data", style.blue), ("forgeries", style.orange)):
        axes.scatter([], [], s=24, color=colour, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, handletextpad=0)


def key_of_verdict(figure, verdict, named: tuple[float, ...], **where) -> None:
    """A colour bar of the verdict, with ticks at the LEVELS `named` and at both ends."""
    bar = figure.colorbar(verdict, spacing="uniform", ticks=[0, *named, 1], **where)
    bar.set_ticklabels(["forged", *(f"{level:g}" for level in named), "real"])
    bar.outline.set(color=style.rule)


def draw_losses(axes, game: Game, until: int) -> None:
    """The losses, bold up to the step `until` and pale after it."""
    past = game.losses["step"] <= until
    for name in EVEN:
        if game.even:
            axes.axhline(EVEN[name], color=COLOURS[name], linewidth=0.8, linestyle=":")
        axes.plot(game.losses["step"], game.losses[name], color=COLOURS[name], alpha=0.2)
        axes.plot(game.losses["step"][past], game.losses[name][past], DASHES[name], color=COLOURS[name])
    lowest, highest = (bound(bound(game.losses[name]) for name in EVEN) for bound in (min, max))
    bottom = min(1.08 * lowest, 0)  # only some losses, such as Wasserstein's, fall below 0
    unit = " (nats)" if game.even else ""
    axes.set(xlim=(0, game.losses["step"][-1]), ylim=(bottom, 1.08 * highest), xlabel="step", ylabel=f"loss{unit}")
    for name, label in NAMES.items():
        height = EVEN[name] if game.even else game.losses[name][-1]
        axes.annotate(label, (game.losses["step"][-1], height), (-2, -5), textcoords="offset points", ha="right",
                      va="top", color=COLOURS[name])  # fmt: skip


def still(game: Game, all_moments: list[Moment]) -> np.ndarray:
    shown = [all_moments[round(share * (len(all_moments) - 1))] for share in SHOWN]
    figure = style.figure(height=5.5)
    above, below = figure.subfigures(2, 1, height_ratios=[1.6, 1])
    axes = above.subplots(2, len(shown))
    for column, moment in enumerate(shown):
        draw_samples(axes[0, column], game, moment)
        verdict = draw_verdict(axes[1, column], game, moment)
        axes[0, column].set_title(f"step {moment.step:,}")
    axes[0, 0].set_ylabel("data (blue),\nforgeries (orange)")
    axes[1, 0].set_ylabel("the policeman's\nmap, sigmoid(D)")
    key_of_verdict(above, verdict, LEVELS[1:-1], ax=axes[1], aspect=10)

    curves = below.subplots()
    draw_losses(curves, game, shown[-1].step)
    for moment in shown:
        curves.axvline(moment.step, color=style.rule, linewidth=1, zorder=0)
    return style.pixels(figure, style.STILL)


def frame(game: Game, moment: Moment) -> np.ndarray:
    figure = style.figure(height=3.1)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 0.95])
    draw_samples(left, game, moment)
    key_of_points(left)
    below = middle.inset_axes([0.1, -0.1, 0.8, 0.05])
    verdict = draw_verdict(middle, game, moment)
    key_of_verdict(figure, verdict, (0.4, 0.48, 0.52, 0.6), cax=below, orientation="horizontal")
    right.axvline(moment.step, color=style.rule, linewidth=1, zorder=0)
    draw_losses(right, game, moment.step)
    left.set_title(f"step {moment.step:,}")
    middle.set_title("the policeman's map, sigmoid(D)")
    right.set_title("losses")
    return style.pixels(figure, style.FILM)


def around(data: np.ndarray) -> tuple[float, float, float, float]:
    """A square view of the data with a margin for forgeries: (left, right, bottom, top)."""
    centre, half_width = (data.max(0) + data.min(0)) / 2, 0.75 * np.ptp(data, axis=0).max()
    return (centre[0] - half_width, centre[0] + half_width, centre[1] - half_width, centre[1] + half_width)


def draw(arguments, overrides) -> Picture:
    path = "configs/gan_ring.py"
    every = max(1, config_of(path, overrides, **OWN).train.steps // MOMENTS)
    overrides = [("data.noise", str(NOISE)), *overrides]
    config = config_of(path, overrides, **OWN, train__checkpoint_every=every, train__log_every=every)
    if not config.data.name.startswith("toy2d:") or config.method.name != "gan" or config.method.packing > 1:
        raise UserError(
            "--config: must be a GAN on points of toy2d: method.name=gan, data.name=toy2d:..., method.packing=1"
        )
    run = trained(config, arguments.workdir / config.data.name.removeprefix("toy2d:"))
    data = run.experiment.source.split("heldout").arrays()["x"][:DATA]
    even = config.method.loss.name == "non_saturating"
    game = Game(data, around(data), losses(run.workdir / "metrics.jsonl"), even)
    all_moments = moments(run, game.view, arguments.seed)
    frames = [frame(game, moment) for moment in all_moments]
    return Picture(still(game, all_moments), frames, 8.0, facts(run, game, all_moments))


def facts(run, game: Game, all_moments: list[Moment]) -> list[str]:
    source, lines = run.experiment.source, []
    for share in SHOWN:
        moment = all_moments[round(share * (len(all_moments) - 1))]
        line = f"step {moment.step:,}: sigmoid(D) from {moment.verdict.min():.2f} to {moment.verdict.max():.2f}"
        if isinstance(source, Toy2D) and KINDS[source.kind].modes:
            from diffjax.metrics import mode_report

            report = mode_report(moment.samples, source.modes, source.sigma)
            line += f"; {report['modes']:.0f} of {len(source.modes)} modes, {report['high_quality']:.1%} within 3 sigma"
        lines.append(line)
    even = {"d_loss": " (2 log 2 = 1.386)", "g_loss": " (log 2 = 0.693)"} if game.even else dict.fromkeys(EVEN, "")
    losses = (f"{name[0].upper()} {game.losses[name][-1]:.3f}{even[name]}" for name in EVEN)
    lines.append(f"last losses: {', '.join(losses)}")
    return lines


if __name__ == "__main__":
    sys.exit(main("forger_and_policeman", __doc__, draw, sys.argv[1:]))
