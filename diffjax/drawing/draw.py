"""The command `sample`: draws from a trained run to a picture, a film, an archive or a folder."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import parallel
from diffjax.data.folder import SUFFIXES, TEXT_FILES
from diffjax.data.text import decode
from diffjax.drawing import attention as attention_film
from diffjax.drawing import pictures
from diffjax.drawing.edits import Plan, Request, plan
from diffjax.drawing.films import film
from diffjax.drawing.sheets import by_prompt, picture
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.host.atomic import atomic_write
from diffjax.host.progress import to_stderr
from diffjax.inference.conditioning import conditioned
from diffjax.inference.labels import labels_of, read_note, write_note
from diffjax.inference.sampling import Drawn, batch_for, joined
from diffjax.metrics import fingerprint
from diffjax.run import Run

FOLDER, FILES = "/", (".png", ".gif", ".npz")  # the kinds of output
FILM_SECONDS = 4.0
EDITS_AT_ONCE = 16  # edits are few and may cost hundreds of network calls each: a larger batch would be mostly padding


def draw(
    run: Run,
    out: str,
    num: int,
    seed: int = 0,
    label: int | None = None,
    prompts: Sequence[str] = (),
    negative: str | None = None,
    guidance: float | None = None,
    batch: int = 0,
    request: Request = Request(),  # noqa: B008  (frozen, and empty)
    attention: bool = False,
) -> None:
    """Draws `num` samples and writes them to `out` in the format of its suffix. Raises UserError for invalid requests.

    `label`, `prompts`, `negative` and `guidance` are those of `conditioned`; `batch` samples are drawn at once (0: a
    number that suits `num`).

    Pictures and films of an edited photo show it first, as the model sees it; archives and folders do not. Pictures and
    films of prompts have rows for each. With `attention` the film shows where the model attends to each word, for the
    first few samples, and only those are drawn.
    """
    experiment, method, path, kind = run.experiment, run.experiment.method, Path(out), _kind(out)
    _check(experiment, kind, num, batch, len(prompts))
    spec, requested = conditioned(method, experiment.sampler, label, prompts, negative, guidance)
    if attention:
        attention_film.check(run, out)
        num = _number_with_attention(num)
    edit = None if request.image is None else plan(request, run, spec)
    usual = batch_for(num, experiment.config.eval.batch_size)
    batch = batch or (min(EDITS_AT_ONCE, usual) if edit else usual)
    if edit:
        spec = edit.spec
        if parallel.is_main():
            print("\n".join(edit.notes))
    generator = experiment.generator(spec, batch_size=batch, trajectory=kind == ".gif")
    parts = (part for part, _ in generator.batches(run.ema, num, seed, requested))

    if not parallel.is_main():  # every process draws; one writes
        list(parts)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = _labels(labels_of(requested, method.reads_captions), edit)
    if kind == FOLDER:
        _make_room(path)
        write_note(path, num, labels, incomplete=True)
        not_finite = _save_folder(path, num, parts, method.reads_captions)
        options = {
            "prompts": decode(requested) if method.reads_captions else None, "guidance": guidance,
            "negative": negative, "edit": edit and {**request.given, "done": edit.notes},
            "not_finite": not_finite or None,
        }  # fmt: skip
        _note(path, num, labels, run, seed, **options)
        _warn(not_finite)
        print(f"wrote {num} images to {path}/")
        return
    drawn, photos = joined(num, parts), edit.shown if edit else None
    show = partial(by_prompt, len(prompts)) if prompts else partial(picture, experiment)
    if kind == ".npz":
        _save_archive(path, drawn, method.reads_captions, labels)
    elif kind == ".png":
        pictures.save_png(path, show(drawn, photos))
    elif attention:
        pictures.save_gif(path, attention_film.film(run, spec, drawn, photos), FILM_SECONDS)
    else:
        pictures.save_gif(path, film(run, spec, drawn, photos, show), FILM_SECONDS)
    _warn(drawn.not_finite)
    print(f"wrote {num} samples ({_calls(drawn.nfe)}) to {path}")


# ---------------------------------------------------------------------------------------------- checks of the arguments


def _kind(out: str) -> str:
    """The kind of output: the suffix of a file, or FOLDER."""
    suffix = Path(out).suffix
    if suffix in FILES:
        return suffix
    if suffix and not out.endswith("/"):
        raise UserError(f"`out`: {out!r} ends in {suffix}; must end in .png, .gif, .npz, or in / for a folder")
    return FOLDER


def _check(experiment: Experiment, kind: str, num: int, batch: int, prompts: int) -> None:
    """Raises UserError unless the model can draw this many samples for this kind of output."""
    method = experiment.method
    if num < 1:
        raise UserError(f"`num`: {num} must be at least 1")
    if num < prompts:
        raise UserError(f"`num`: {num} is too few for {prompts} prompts; must be at least {prompts}")
    if batch < 0:
        raise UserError(f"`batch`: {batch} must be at least 1, or 0 for the default")
    if not method.generates:
        raise UserError(
            f"`workdir`: a {experiment.config.method.name} cannot draw; must be a run of a diffusion model or a GAN"
        )
    if kind == FOLDER and method.space.kind != "images":
        raise UserError(
            f"`out`: {method.space.kind} cannot be written to a folder, which is for images; use .npz or .png"
        )


def _number_with_attention(num: int) -> int:
    """The number of samples in a film of attention, at most `num`; prints a line if it is smaller."""
    if num > attention_film.SHOWN and parallel.is_main():
        print(f"attention: the film shows {attention_film.SHOWN} samples: only the first of the {num} are drawn")
    return min(num, attention_film.SHOWN)


def _labels(labels: str, edit: Plan | None) -> str:
    """How samples were conditioned, for the protocol of metrics: the labels, and the photo of edits."""
    if edit is None:
        return labels
    of_photo = f"edits of {fingerprint(edit.shown.tolist())}"
    return f"{labels}, {of_photo}" if labels else of_photo


# -------------------------------------------------------------------------------------------------------------- output


def _warn(not_finite: int) -> None:
    if not_finite:
        print(f"{not_finite} samples are not finite: the model or the sampler diverged")


def _make_room(path: Path) -> None:
    """Creates the folder, or removes from it the images, and their captions, that its note says `sample` drew there.

    So a call that is cut short leaves no image of an earlier one. Raises UserError, and removes nothing, if the folder
    has other images: together they would pass for the samples of one model.
    """
    path.mkdir(exist_ok=True)
    num = read_note(path, "`out`").get("images", 0)

    def is_noted(file: Path) -> bool:
        return file.parent == path and bool(re.fullmatch(r"\d{6,}\.png", file.name)) and int(file.stem) < num

    images = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if others := [file for file in images if not is_noted(file)]:
        raise UserError(f"`out`: {path} has other images, such as {others[0].name}; choose another folder")
    if images:
        to_stderr(f"{path}: removed {len(images)} images of an earlier call, such as {images[0].name}")
    for file in images:
        file.unlink()
        file.with_suffix(TEXT_FILES).unlink(missing_ok=True)


def _save_folder(path: Path, num: int, parts: Iterable[Drawn], reads_captions: bool) -> int:
    """Writes one PNG per image as soon as it is drawn, and each caption to a text file beside its image.

    Returns the number of samples that are not finite.
    """
    done = not_finite = 0
    for part in parts:
        texts = decode(part.label) if reads_captions else [None] * len(part.x)
        for number, image, text in zip(range(done, num), part.x, texts, strict=False):
            file = path / f"{number:06}.png"
            pictures.save_png(file, image)
            if text is not None:
                file.with_suffix(TEXT_FILES).write_text(text, "utf-8")
        done, not_finite = done + len(part.x), not_finite + part.not_finite
        print(f"{done:,}/{num:,}", flush=True)
    return not_finite


def _note(path: Path, num: int, labels: str, run: Run, seed: int, **options: Any) -> None:
    """Records beside the images of a folder how they were drawn, with the options that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    write_note(path, num, labels, run=str(run.workdir), step=run.step, weights=run.weights, seed=seed, **given)


def _save_archive(path: Path, drawn: Drawn, reads_captions: bool, labels: str) -> None:
    condition = {"caption": np.array(decode(drawn.label))} if reads_captions else {"label": drawn.label}
    condition |= {"not_finite": np.array(drawn.not_finite)} if drawn.not_finite else {}
    with atomic_write(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, x=drawn.x, asked=np.array(labels), **condition)


def _calls(nfe: np.ndarray) -> str:
    constant = nfe.min() == nfe.max()
    return f"{nfe[0]} network calls each" if constant else f"{nfe.mean():.1f} network calls each, on average"
