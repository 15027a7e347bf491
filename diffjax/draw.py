"""The command `sample`: a trained run drawn from, to a picture, a film, an archive or a folder."""

import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax import attention as attentive
from diffjax import parallel, pictures
from diffjax.data.text import decode
from diffjax.diffusion import normal
from diffjax.edits import Request, plan
from diffjax.errors import UserError
from diffjax.evaluate import picture
from diffjax.run import Experiment, Run
from diffjax.sampling import Drawn
from diffjax.words import Words

FILM_SECONDS = 4.0
EDITS_AT_ONCE = 16  # they are few, and may cost hundreds of network calls: no waiting for a larger batch's padding


def draw(
    run: Run,
    out: str,
    num: int,
    seed: int,
    label: int | None,
    guidance: float | None,
    batch: int,
    request: Request = Request(),  # noqa: B008  (frozen, and empty)
    words: Words = Words(),  # noqa: B008
    attention: bool = False,
) -> None:
    """Draws `num` samples and writes them to `out`, whose ending says how. Raises UserError for what cannot be.

    Where they edit a photo, pictures and films show it first, as the model sees it; archives and folders do not. Of
    prompts, a picture or film has a row for each; with `attention` the film shows where each word is attended to.
    """
    experiment, method = run.experiment, run.experiment.method
    path = Path(out)
    kind = path.suffix if path.suffix in (".png", ".gif", ".npz") else "/"
    if num < 1:
        raise UserError(f"--num: {num} is not a number of samples; at least 1")
    if batch < 0:
        raise UserError(f"--batch: {batch} is not a number of samples; at least 1, or 0 for eval.batch_size")
    if kind == "/" and path.suffix and not out.endswith("/"):
        raise UserError(f"--out: {out!r} ends in {path.suffix}; use .png, .gif, .npz, or a folder with a / at its end")
    if not method.generates:
        raise UserError(f"sample: a {experiment.config.method.name} draws nothing; give a diffusion model or a GAN")
    spec, shown = experiment.sampler, None
    if label is not None and not method.draws_by_label(spec):
        raise UserError(f"--label: {label} given, but this model was trained without labels (method.conditional=false)")
    if label is not None and not 0 <= label < method.space.num_classes:
        raise UserError(f"--label: {label} is out of range; 0 to {method.space.num_classes - 1}")
    if guidance is not None:
        if not hasattr(method, "with_guidance"):
            raise UserError(f"--guidance: a {experiment.config.method.name} has no guidance")
        spec = method.with_guidance(spec, guidance)
    if words.given:
        spec = words.checked(method, spec)
    asked = method.asked(spec, label, words.prompt)
    if attention:
        attentive.check(run, out)
    if request.image is not None:
        spec, shown, said = plan(request, run, spec)
        batch = batch or min(EDITS_AT_ONCE, experiment.config.eval.batch_size)
        if parallel.is_main():
            print("\n".join(said))
    show = partial(rows_of, words.prompt, experiment) if words.prompt else partial(picture, experiment)
    generator = experiment.generator(spec, batch_size=batch, trajectory=kind == ".gif")

    if not parallel.is_main():  # every process draws; one writes
        list(generator.batches(run.ema, num, seed, asked))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "/":
        if method.space.kind != "images":
            raise UserError("--out: a folder is for images; other data go to .npz, or to a picture as .png")
        path.mkdir(exist_ok=True)
        done = 0
        for part, _ in generator.batches(run.ema, num, seed, asked):
            for image, name in zip(part.x, range(done, num), strict=False):
                pictures.save_png(path / f"{name:06}.png", image)
            done += len(part.x)
            print(f"{done:,}/{num:,}", flush=True)
        print(f"wrote {num} images to {path}/")
        return
    drawn = generator.draw(run.ema, num, seed, asked)
    if kind == ".npz":
        beside = {"caption": np.array(decode(drawn.label))} if method.reads else {"label": drawn.label}
        np.savez(path, x=drawn.x, **beside)
    elif attention:
        pictures.save_gif(path, attentive.film(run, spec, drawn), FILM_SECONDS)
    elif kind == ".png":
        pictures.save_png(path, show(after(shown, drawn)))
    else:
        pictures.save_gif(path, film(run, spec, drawn, shown, show), FILM_SECONDS)
    if drawn.not_finite:
        print(f"{drawn.not_finite} of them are not finite: this model, or this sampler, is broken")
    print(f"wrote {num} samples ({drawn.nfe} network calls each) to {path}")


def after(shown: np.ndarray | None, drawn: Drawn) -> Drawn:
    """The samples, with the pictures that are `shown` before them."""
    return drawn if shown is None else replace(drawn, x=np.concatenate([shown, drawn.x]))


def rows_of(prompts: tuple[str, ...], experiment: Experiment, drawn: Drawn) -> np.ndarray:
    """A row of samples for each prompt, the prompt at its left; what is shown before them is a row of its own."""
    before, k = len(drawn.x) - len(drawn.label), len(prompts)
    columns = max(before, -(-len(drawn.label) // k))
    groups = [drawn.x[:before]] * bool(before) + [drawn.x[before + i :: k] for i in range(k)]
    tiles = np.full((len(groups), columns, *drawn.x.shape[1:]), 255, np.uint8)
    for row, images in zip(tiles, groups, strict=True):
        row[: len(images)] = images
    names = ["given"] * bool(before) + [textwrap.fill(prompt, 28) for prompt in prompts]
    return pictures.grid(tiles.reshape(-1, *drawn.x.shape[1:]), columns=columns, rows=names)


def film(
    run: Run, spec: Any, drawn: Drawn, shown: np.ndarray | None = None, show: Callable | None = None
) -> list[np.ndarray]:
    """Noise becoming data: x_t at every step, brought to the data's own spread, and last the samples themselves."""
    if drawn.x_t is None:
        raise UserError("--out: a film needs a sampler that goes step by step; this one draws at once (use .png)")
    experiment = run.experiment
    space = experiment.method.space
    if space.kind == "categories":
        frames = drawn.x_t
    else:
        times = spec.grid(run.process, spec.steps)[:-1]
        frames = [x_t / spread_at(run, t) for x_t, t in zip(drawn.x_t, times, strict=True)]
    stored = [replace(drawn, x=np.asarray(space.from_model(frame))) for frame in frames] + [drawn]
    show = show or partial(picture, experiment)
    return [show(after(shown, each)) for each in stored]


def spread_at(run: Run, t: float) -> float:
    """By how much wider x_t is than the data, about: divided by it, x_t can be shown as they are."""
    t = jnp.asarray(t, jnp.result_type(float))
    std = 0.5 if run.experiment.method.space.kind == "images" else 1.0  # of the data, about
    return float(jnp.hypot(run.process.alpha(t), run.process.sigma(t) / std))


class Noised(NamedTuple):
    """x_t = alpha x0 + sigma eps and both its parts, in stored units [n, ...], brought to the spread of the data.

    The third is the sum of the other two about their middle, grey of images, but for rounding and clipping.
    """

    image: np.ndarray
    noise: np.ndarray
    x_t: np.ndarray


def noised(run: Run, x0: np.ndarray, eps: np.ndarray, t: float) -> Noised:
    """Examples x0 [n, ...] at t in (0, 1], under noise eps, both in model units."""
    t = jnp.asarray(t, jnp.result_type(float))
    parts = (run.process.alpha(t) * x0, run.process.sigma(t) * eps)
    space, spread = run.experiment.method.space, spread_at(run, t)
    return Noised(*(np.asarray(space.from_model(part / spread)) for part in (*parts, parts[0] + parts[1])))


def times_of(run: Run, count: int) -> list[tuple[int, int]]:
    """`count` steps k, or as many as there are, and all steps T: the times k / T of a forward film, from 1 / T to 1."""
    steps = run.process.steps or 1000
    return [(int(k), steps) for k in sorted({round(k) for k in np.linspace(1, steps, count)})]


def forward(run: Run, num: int, count: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """How `num` held-out examples are destroyed: frames by time (k, T), what is left of them, the noise, and x_t."""
    space = run.experiment.method.space
    data = run.experiment.source.split("heldout").take(np.arange(num))
    x0 = jnp.asarray(space.to_model(data["x"]))
    eps, shown = normal(jax.random.key(seed), x0), {}
    for k, steps in times_of(run, count):
        parts = [Drawn(part, data["label"], 0) for part in noised(run, x0, eps, k / steps)]
        shown[k, steps] = np.concatenate([picture(run.experiment, part) for part in parts], axis=1)
    return shown


def beside(run: Run, drawn: Drawn) -> list[np.ndarray]:
    """The frames of a film, and at the right of each what the denoiser takes x0 to be there."""
    space = run.experiment.method.space
    hats = [replace(drawn, x=np.asarray(space.from_model(x0_hat))) for x0_hat in drawn.x0_hat]
    at_right = [picture(run.experiment, hat) for hat in hats]
    return [
        np.concatenate(pair, axis=1) for pair in zip(film(run, run.experiment.sampler, drawn), at_right, strict=False)
    ]
