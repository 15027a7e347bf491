"""The command `sample`: a trained run drawn from, to a picture, a film, an archive or a folder."""

import textwrap
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from diffjax import attention as attentive
from diffjax import parallel, pictures
from diffjax.data.text import decode
from diffjax.edits import Request, plan
from diffjax.errors import UserError
from diffjax.evaluate import picture
from diffjax.films import after, film
from diffjax.measures.labels import NOTE, labels_of, write_note
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
    if kind == "/" and method.space.kind != "images":
        raise UserError(f"--out: a folder is for images, and these are {method.space.kind}; use .npz, or .png")
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
    labels = labels_of(asked, method.reads)
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
        (path / NOTE).unlink(missing_ok=True)
        _folder(path, num, (part for part, _ in generator.batches(run.ema, num, seed, asked)))
        if shown is None:
            write_note(path, num, labels, run=str(run.workdir), step=run.step, weights=run.weights, seed=seed)
        print(f"wrote {num} images to {path}/")
        return
    drawn = generator.draw(run.ema, num, seed, asked)
    if kind == ".npz":
        beside = {"caption": np.array(decode(drawn.label))} if method.reads else {"label": drawn.label}
        np.savez(path, x=drawn.x, **beside, **({"asked": np.array(labels)} if shown is None else {}))
    elif attention:
        pictures.save_gif(path, attentive.film(run, spec, drawn), FILM_SECONDS)
    elif kind == ".png":
        pictures.save_png(path, show(after(shown, drawn)))
    else:
        pictures.save_gif(path, film(run, spec, drawn, shown, show), FILM_SECONDS)
    if drawn.not_finite:
        print(f"{drawn.not_finite} of them are not finite: this model, or this sampler, is broken")
    print(f"wrote {num} samples ({_calls(drawn.nfe)}) to {path}")


def _folder(path: Path, num: int, parts: Iterable[Drawn]) -> None:
    """One PNG for each of `num` images, as they are drawn: none is kept."""
    path.mkdir(exist_ok=True)
    done = 0
    for part in parts:
        for image, name in zip(part.x, range(done, num), strict=False):
            pictures.save_png(path / f"{name:06}.png", image)
        done += len(part.x)
        print(f"{done:,}/{num:,}", flush=True)


def _calls(nfe: np.ndarray) -> str:
    same = nfe.min() == nfe.max()
    return f"{nfe[0]} network calls each" if same else f"{nfe.mean():.1f} network calls each, on average"


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
