"""An image drowns in noise, and a trained model brings another one back, step by step.

Forward, t = 1 .. 1000 of 1000: the scaled image alpha x0 and the added noise sigma eps sum to x_t. Backward: x_t on its
way from noise to a sample, beside the x0 that the model predicts at that time. Everything at one t is drawn at the same
contrast, that of the data, so that the parts add up. Times between the first and the last are evenly spaced in log-SNR,
because at most t the image has already drowned. --workdir=DIR shows any finished diffusion run on images;
--config=FILE.py trains one.
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.drawing import pictures
from diffjax.drawing.films import Noised, noised, times_of
from diffjax.errors import UserError
from experiments.figures import style
from experiments.figures.command import Picture, config_of, main, trained

CONFIG = "configs/mnist.py:ddpm"
# v determines x0 at every t. eps does not: where nothing is left of the image, x0 computed from eps is wild. A narrow
# network, no labels and 3,000 batches of 64 are enough for digits.
OWN = {
    "method__target__name": "v", "method__conditional": False, "method__network__channels": 16,
    "method__network__dropout": 0.0, "train__steps": 3_000, "train__batch_size": 64, "train__sample_every": 0,
    "train__checkpoint_every": 100, "train__log_every": 20, "optim__learning_rate": 2e-3, "optim__warmup": 6_400.0,
    "optim__decay": "cosine", "ema__images": 6_400.0, "eval__metrics": (), "eval__num": 16,
}  # fmt: skip
SHOWN, FRAMES = 7, 12  # times in each direction of the still picture and of the film, if there are as many
IMAGES = 4  # in the film
AVERAGED = 1_000  # held-out images in the mean image, at most


class Step(NamedTuple):
    """A reverse step, in stored units [n, ...]: the predicted x0, and the noise, the rest of x_t."""

    t: float
    x0: np.ndarray
    noise: np.ndarray
    x_t: np.ndarray


def forward(run, times, seed: int) -> list[Noised]:
    """Held-out images with the same noise at `times`."""
    space = run.experiment.method.space
    x0 = jnp.asarray(space.to_model(run.experiment.source.split("heldout").take(np.arange(IMAGES))["x"]))
    eps = jax.random.normal(jax.random.key(seed), x0.shape, x0.dtype)
    return [noised(run, x0, eps, t) for t in times]


def backward(run, seed: int) -> tuple[list[Step], np.ndarray]:
    """The reverse steps, and the samples [n, ...] in which they end."""
    spec, space = run.experiment.sampler, run.experiment.method.space
    samples = run.sample(IMAGES, seed, trajectory=True, batch_size=IMAGES)
    if samples.x_t is None or samples.x0_hat is None:
        raise UserError(
            f"sampler.name: {run.experiment.config.sampler.name!r} must be a sampler with steps that can be shown"
        )
    steps = []
    for t, x_t, x0 in zip(np.asarray(spec.grid(run.process, spec.steps)), samples.x_t, samples.x0_hat, strict=False):
        eps = run.process.eps(jnp.asarray(x0), jnp.asarray(x_t), jnp.asarray(t))
        parts = noised(run, x0, np.asarray(eps), t)
        steps.append(Step(float(t), np.asarray(space.from_model(x0)), parts.noise, parts.x_t))
    return steps, samples.x


def nearest(steps: list[Step], times: list[float]) -> list[Step]:
    """The step nearest to each of `times`, each step once, without the first time, after which comes the sample."""
    step_times = np.array([step.t for step in steps])
    return [steps[i] for i in sorted({int(np.abs(step_times - t).argmin()) for t in times[1:]}, reverse=True)]


def mean_image(run) -> np.ndarray:
    """The mean of held-out images, which a denoiser should predict where x_t has no information."""
    heldout = run.experiment.source.split("heldout")
    return heldout.take(np.arange(min(AVERAGED, len(heldout))))["x"].mean(axis=0)


# ------------------------------------------------------------------------------------------------------------ drawing


def draw_images(axes, images: np.ndarray) -> None:
    """A square sheet of images [n, h, w, c]."""
    gap = max(1, images.shape[1] // 8) if len(images) > 1 else 0
    axes.imshow(pictures.grid(images, padding=gap, upscale=1), interpolation="nearest")
    style.bare(axes)
    for spine in axes.spines.values():
        spine.set(visible=False)


def named(run, t: float, whole: bool = True) -> str:
    """t in timesteps, of the process or of 1000: "250", or with `whole` "250 of 1000"."""
    steps = run.process.steps or 1000
    number = f"{t * steps:.0f}" if t * steps >= 0.5 else f"{t * steps:.1g}"
    return f"{number} of {steps}" if whole else number


def coefficients(run, t: float) -> str:
    t = jnp.float32(t)
    return f"{float(run.process.alpha(t)):.2f} x₀ + {float(run.process.sigma(t)):.2f} ε"


def still(run, times, shown: list[Noised], steps: list[Step], samples: np.ndarray) -> np.ndarray:
    figure = style.figure(height=6.4)
    above, below = figure.subfigures(2, 1, height_ratios=[3.2, 2.2], hspace=0.04)
    rows = above.subplots(3, len(times))
    for column, (t, parts) in enumerate(zip(times, shown, strict=True)):
        for row, part in enumerate((parts.image, parts.noise, parts.x_t)):
            draw_images(rows[row, column], part[:1])
        rows[0, column].set_title(f"t = {named(run, t, column == 0)}", loc="center")
        rows[2, column].set_xlabel(coefficients(run, t), fontsize=7)
    for row, name in enumerate(("what is left\nof the image", "+ the noise\nadded", "= x$_t$,\nthe image at t")):
        rows[row, 0].set_ylabel(name)
    above.suptitle("Forward: the image drowns →", x=0.01, ha="left", fontsize=11, color=style.ink)

    rows = below.subplots(2, 1 + len(steps))
    draw_images(rows[0, 0], samples[:1])
    rows[0, 0].set_title("t = 0: a sample", loc="center")
    draw_images(rows[1, 0], samples[:1])
    for column, step in enumerate(steps, 1):
        draw_images(rows[0, column], step.x_t[:1])
        draw_images(rows[1, column], step.x0[:1])
        rows[0, column].set_title(f"t = {named(run, step.t, False)}", loc="center")
    rows[0, 0].set_ylabel("x$_t$,\nthe image at t")
    rows[1, 0].set_ylabel("the x₀ that\nis predicted")
    below.suptitle("← Backward: the learned reverse brings one up", x=0.01, ha="left", fontsize=11, color=style.ink)
    return style.pixels(figure, style.STILL)


def frame(heading: str, sheets: dict[str, np.ndarray]) -> np.ndarray:
    figure = style.figure(height=3.2)
    columns = figure.subplots(1, 3)
    for axes, (title, images) in zip(columns, sheets.items(), strict=True):
        draw_images(axes, images)
        axes.set_title(title, loc="center")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11, color=style.ink)
    return style.pixels(figure, style.FILM)


def film(run, steps: list[Step], samples: np.ndarray, seed: int) -> list[np.ndarray]:
    """The frames of the film: first forward, then backward."""
    frames, times = [], [k / T for k, T in times_of(run, FRAMES)]
    for t, parts in zip(times, forward(run, times, seed), strict=True):
        names = ("what is left of the images", "+ noise added", "= x$_t$")
        heading = f"Forward, t = {named(run, t)}: x$_t$ = {coefficients(run, t)}"
        frames.append(frame(heading, dict(zip(names, parts, strict=True))))
    for step in reversed(nearest(steps, times)):
        sheets = {"predicted x₀": step.x0, "predicted noise": step.noise, "x$_t$": step.x_t}
        frames.append(frame(f"Backward, t = {named(run, step.t)}: the learned reverse", sheets))
    blank = np.asarray(run.experiment.method.space.from_model(np.zeros(samples.shape, np.float32)))
    last = {"predicted x₀": samples, "predicted noise": blank, "x₀: samples": samples}
    return [*frames, frame("Backward, t = 0", last)]


def opened(arguments, overrides):
    """A finished run, perhaps with another sampler; or a run that is trained now. Raises UserError for a failed run."""
    import diffjax
    from diffjax.host.json_files import read_json

    if arguments.config:
        return trained(config_of(arguments.config, overrides), arguments.workdir)
    if not (arguments.workdir / "result.json").is_file():
        return trained(config_of(CONFIG, overrides, **OWN), arguments.workdir)
    result = read_json(arguments.workdir / "result.json", arguments.workdir, needs=("status",))
    if result["status"] == "failed":
        reason = result.get("reason", "no reason was written down")
        raise UserError(f"--workdir: the run in {arguments.workdir} failed ({reason}); take another directory")
    for path, _ in overrides:
        if not path.startswith("sampler."):
            raise UserError(f"--config.{path}: {arguments.workdir} is trained; only sampler.* can be changed now")
    return diffjax.load(arguments.workdir, overrides)


def draw(arguments, overrides) -> Picture:
    from diffjax.methods import Diffusion

    run = opened(arguments, overrides)
    method = run.experiment.method
    if not isinstance(method, Diffusion) or method.space.kind != "images":
        raise UserError(f"--workdir: {arguments.workdir} must be a diffusion model of images, not a"
                        f" {run.experiment.config.method.name} of {method.space.kind}")  # fmt: skip
    times = [k / T for k, T in times_of(run, SHOWN)]
    steps, samples = backward(run, arguments.seed)
    shown, mean = nearest(steps, times), mean_image(run)
    facts = [f"forward, t = {named(run, t)}: x_t = {coefficients(run, t)}" for t in times]
    for step in shown:
        from_sample, from_mean = (np.mean(np.abs(step.x0.astype(float) - other)) for other in (samples, mean))
        facts.append(
            f"backward, t = {named(run, step.t)}: the predicted x0 is on average {from_sample:.1f} greys of 255 from"
            f" the sample, and {from_mean:.1f} from the mean image"
        )
    facts.append(f"the samples are {np.mean(np.abs(samples - mean)):.1f} greys from the mean image")
    picture = still(run, times, forward(run, times, arguments.seed), shown, samples)
    return Picture(picture, film(run, steps, samples, arguments.seed), seconds=6.0, facts=facts)


def more(parser) -> None:
    about = f"what to train if --workdir has no finished run (a smaller {CONFIG} with target v)"
    parser.add_argument("--config", default="", metavar="FILE.py[:VARIANT]", help=about)


if __name__ == "__main__":
    sys.exit(main("forward_reverse", __doc__, draw, sys.argv[1:], more))
