"""The command `sample`: a trained run drawn from, to a picture, a film, an archive or a folder."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import parallel, pictures
from diffjax.data.folder import TEXT_FILES
from diffjax.data.text import decode
from diffjax.drawing import attention as attentive
from diffjax.drawing.edits import Plan, Request, plan
from diffjax.drawing.films import film
from diffjax.drawing.prompts import Words
from diffjax.drawing.sheets import GIVEN, picture
from diffjax.errors import UserError
from diffjax.measures.labels import NOTE, labels_of, write_note
from diffjax.methods.method import Method
from diffjax.metrics import fingerprint
from diffjax.run import Experiment, Run
from diffjax.sampling import Drawn, joined
from diffjax.whole import written_whole

FOLDER, FILES = "/", (".png", ".gif", ".npz")  # the kinds of output
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
    prompts, a picture or film has a row for each. With `attention` the film shows where each word is attended to, of
    the first few samples, and no more of them are drawn.
    """
    experiment, method, path, kind = run.experiment, run.experiment.method, Path(out), _kind(out)
    _check(experiment, kind, num, batch, len(words.prompt))
    spec = _sampler(run, label, guidance, words)
    requested = method.requested(spec, label, words.prompt)
    if attention:
        attentive.check(run, out)
        num = _few(num)
    edit = None if request.image is None else plan(request, run, spec)
    if edit:
        spec, batch = edit.spec, batch or min(EDITS_AT_ONCE, experiment.config.eval.batch_size)
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
        (path / NOTE).unlink(missing_ok=True)
        _save_folder(path, num, parts, method.reads_captions)
        how = {
            "prompts": decode(requested) if method.reads_captions else None, "guidance": guidance,
            "negative": words.negative, "edit": edit and {**request.given, "done": edit.notes},
        }  # fmt: skip
        _note(path, num, labels, run, seed, **how)
        print(f"wrote {num} images to {path}/")
        return
    drawn, given = joined(num, parts), edit.shown if edit else None
    show = partial(rows_of, len(words.prompt)) if words.prompt else partial(picture, experiment)
    if kind == ".npz":
        _save_archive(path, drawn, method.reads_captions, labels)
    elif kind == ".png":
        pictures.save_png(path, show(drawn, given))
    elif attention:
        pictures.save_gif(path, attentive.film(run, spec, drawn, given), FILM_SECONDS)
    else:
        pictures.save_gif(path, film(run, spec, drawn, given, show), FILM_SECONDS)
    if drawn.not_finite:
        print(f"{drawn.not_finite} of them are not finite: this model, or this sampler, is broken")
    print(f"wrote {num} samples ({_calls(drawn.nfe)}) to {path}")


# ---------------------------------------------------------------------------------------------------- what is asked for


def _kind(out: str) -> str:
    """The ending of a file, or that of a folder."""
    suffix = Path(out).suffix
    if suffix in FILES:
        return suffix
    if suffix and not out.endswith("/"):
        raise UserError(f"--out: {out!r} ends in {suffix}; use .png, .gif, .npz, or a folder with a / at its end")
    return FOLDER


def _check(experiment: Experiment, kind: str, num: int, batch: int, prompts: int) -> None:
    """Raises UserError unless so many samples of this kind can be drawn from such a model."""
    method = experiment.method
    if num < 1:
        raise UserError(f"--num: {num} is not a number of samples; at least 1")
    if num < prompts:
        raise UserError(f"--num: {num} is too few for {prompts} prompts, which are drawn in turn; at least {prompts}")
    if batch < 0:
        raise UserError(f"--batch: {batch} is not a number of samples; at least 1, or 0 for eval.batch_size")
    if not method.generates:
        raise UserError(f"sample: a {experiment.config.method.name} draws nothing; give a diffusion model or a GAN")
    if kind == FOLDER and method.space.kind != "images":
        raise UserError(f"--out: a folder is for images, and these are {method.space.kind}; use .npz, or .png")


def _sampler(run: Run, label: int | None, guidance: float | None, words: Words) -> Any:
    """The run's sampler, guided as the flags say. Raises UserError for what this model cannot be asked."""
    method, spec = run.experiment.method, run.experiment.sampler
    if label is not None:
        _check_label(method, spec, label)
    if guidance is not None:
        if not hasattr(method, "with_guidance"):
            raise UserError(f"--guidance: a {run.experiment.config.method.name} has no guidance")
        try:
            spec = method.with_guidance(spec, guidance)
            method.denoiser(run.ema, spec)  # where a guidance checks its own fields, which are the config's
        except UserError as error:
            raise error.about("sampler.guidance.scale", "--guidance") from None
    return words.checked(method, spec) if words.given else spec


def _check_label(method: Method, spec: Any, label: int) -> None:
    if method.reads_captions:
        raise UserError(f"--label: {label} given, but this model is asked by captions; say it with --prompt")
    if not method.draws_by_label(spec):
        raise UserError(f"--label: {label} given, but this model was trained without labels (method.conditional=false)")
    if not 0 <= label < method.space.num_classes:
        raise UserError(f"--label: {label} is out of range; 0 to {method.space.num_classes - 1}")


def _few(num: int) -> int:
    """As many samples as a film of attention shows; says that they are fewer than were asked for."""
    if num > attentive.SHOWN and parallel.is_main():
        print(f"--attention: its film shows {attentive.SHOWN} samples: of {num} the first {attentive.SHOWN} are drawn")
    return min(num, attentive.SHOWN)


def _labels(labels: str, edit: Plan | None) -> str:
    """By what samples were drawn, for whoever compares them: edits are of their photo too."""
    if edit is None:
        return labels
    of_photo = f"edits of {fingerprint(edit.shown.tolist())}"
    return f"{labels}, {of_photo}" if labels else of_photo


# ------------------------------------------------------------------------------------------------------ what is written


def _save_folder(path: Path, num: int, parts: Iterable[Drawn], reads_captions: bool) -> None:
    """One PNG for each of `num` images, as they are drawn: none is kept. A caption is in a file beside its image."""
    path.mkdir(exist_ok=True)
    done = 0
    for part in parts:
        texts = decode(part.label) if reads_captions else [None] * len(part.x)
        for number, image, text in zip(range(done, num), part.x, texts, strict=False):
            file = path / f"{number:06}.png"
            pictures.save_png(file, image)
            if text is None:
                file.with_suffix(TEXT_FILES).unlink(missing_ok=True)  # of an image that was here before
            else:
                file.with_suffix(TEXT_FILES).write_text(text, "utf-8")
        done += len(part.x)
        print(f"{done:,}/{num:,}", flush=True)


def _note(path: Path, num: int, labels: str, run: Run, seed: int, **how: Any) -> None:
    """Beside the images of a folder: what drew them, and of `how` what was asked for."""
    given = {name: value for name, value in how.items() if value is not None}
    write_note(path, num, labels, run=str(run.workdir), step=run.step, weights=run.weights, seed=seed, **given)


def _save_archive(path: Path, drawn: Drawn, reads_captions: bool, labels: str) -> None:
    beside = {"caption": np.array(decode(drawn.label))} if reads_captions else {"label": drawn.label}
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, x=drawn.x, asked=np.array(labels), **beside)


def _calls(nfe: np.ndarray) -> str:
    same = nfe.min() == nfe.max()
    return f"{nfe[0]} network calls each" if same else f"{nfe.mean():.1f} network calls each, on average"


def rows_of(prompts: int, drawn: Drawn, given: np.ndarray | None = None) -> np.ndarray:
    """A row of samples for each of so many prompts, and at its left what of it was read; a row of what was `given`."""
    rows = [drawn.x[i::prompts] for i in range(prompts)]
    names = [pictures.wrapped(text, 28) for text in decode(drawn.label[:prompts])]
    if given is not None:
        rows, names = [given, *rows], [GIVEN, *names]
    return pictures.table(rows, rows=names)
