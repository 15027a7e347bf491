"""A film of a sampler's way with what each word is attended to: where in the image, at every step."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from diffjax import pictures
from diffjax.data.text import decode
from diffjax.drawing.films import frames
from diffjax.drawing.sheets import GIVEN
from diffjax.errors import UserError
from diffjax.methods import Diffusion
from diffjax.run import Run
from diffjax.sampling import Drawn

Tokens = slice | np.ndarray  # their places
Words = list[tuple[str, Tokens]]  # of a caption
SHOWN = 4  # samples in a film
FAINT = 1e-6  # attention that nobody pays a word is not enlarged


def check(run: Run, out: str) -> None:
    """Raises UserError where there is nothing to attend to, or no film is asked for."""
    method = run.experiment.method
    if not out.endswith(".gif"):
        raise UserError(f"--attention: is a film, and {out!r} none; give --out=FILE.gif")
    name = run.experiment.config.method.name
    if not method.reads_captions:
        raise UserError(f"--attention: needs a diffusion model that reads captions; this is a {name} without")
    if not isinstance(method, Diffusion):
        raise UserError(f"--attention: needs a diffusion model; a {name} is told what is pooled of a caption, and "
                        "attends to no word of it")  # fmt: skip
    if run.experiment.config.method.network.text.get("conditioning") == "pooled":
        raise UserError("--attention: this model is told what is pooled of a caption, and attends to no word of it")


def film(run: Run, spec: Any, drawn: Drawn, given: np.ndarray | None = None) -> list[np.ndarray]:
    """The frames: a row for each of the first samples, x_t and the words of its caption, lighter where it is read.

    A word's map is the share of attention that its bytes get, or its tokens where a frozen encoder reads, from none in
    black to the most that they get in the film in white: that share stands under the word. Last come the samples
    themselves, beside the last step's maps. Images that were `given` to be edited are a row before them. Raises
    UserError for a sampler that takes no steps.
    """
    seen = [x_t[:SHOWN] for x_t in frames(run, spec, drawn)]
    if not seen:
        raise UserError("--attention: this sampler takes no step here, and nothing is attended to (--strength above 0)")
    words, maps = _maps(run, spec, drawn)
    most = [np.maximum(np.max([at_t[i] for at_t in maps], axis=(0, 2, 3)), FAINT) for i in range(len(words))]
    captions = [
        ["", *(f"{pictures.wrapped(word, 18)}\n{100 * share:.0f} %" for (word, _), share in zip(*of, strict=True))]
        for of in zip(words, most, strict=True)
    ]
    times = spec.grid(run.process, spec.steps)
    titles = [f"step {k} of {len(seen)}, t = {t:.2f}" for k, t in enumerate(times[:-1], start=1)]
    shown = [
        _frame(x, [heat(*of) for of in zip(at_t, most, strict=True)], captions, given, title)
        for x, at_t, title in zip(
            [*seen, drawn.x[:SHOWN]], [*maps, maps[-1]], [*titles, f"finished, t = {times[-1]:.2f}"], strict=True
        )
    ]
    return pictures.same_size(shown)  # a title is as wide as its numbers


def _maps(run: Run, spec: Any, drawn: Drawn) -> tuple[list[Words], list[list[np.ndarray]]]:
    """The words of each of the first samples; and for each step, of each sample, the share that each word gets."""
    method, captions = run.experiment.method, drawn.label[:SHOWN]
    compiled, cond = jax.jit(method.attention), method.cond_for(captions)
    spans = [cond.spans(i) if method.space.encoder else None for i in range(len(captions))]
    words = [words_of(*of) for of in zip(captions, spans, strict=True)]
    times = spec.grid(run.process, spec.steps)[:-1]
    return words, [
        by_word(np.asarray(compiled(run.ema, x_t[:SHOWN], t, cond[:])), words)
        for x_t, t in zip(drawn.x_t, times, strict=True)
    ]


def heat(shares: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Shares of attention [words, h, w] as greys [words, h, w, 3], white where a word gets the most it ever gets."""
    greys = (255 * shares / most[:, None, None]).round().astype(np.uint8)
    return np.repeat(greys[..., None], 3, axis=-1)


def _frame(
    x: np.ndarray, heats: Sequence[np.ndarray], captions: list[list[str]], given: np.ndarray | None, title: str
) -> np.ndarray:
    """A row for each sample: what there is of it, and the map of each word above that word."""
    colours = np.broadcast_to(x, (*x.shape[:3], 3))
    rows = [np.concatenate([image[None], maps]) for image, maps in zip(colours, heats, strict=True)]
    if given is not None:
        rows, captions = [given, *rows], [[GIVEN] * len(given), *captions]
    return pictures.table(rows, captions, title=title)


def words_of(caption: np.ndarray, spans: np.ndarray | None = None) -> Words:
    """The words of a caption, uint8 [n], and the tokens that are their bytes; the first token is none.

    Or those that have some of the word's characters, by the characters that each stands for: `spans` [tokens, 2].
    """
    (text,), words, place = decode(caption[None]), [], 0
    for word in text.split(" "):
        length = len(word.encode() if spans is None else word)
        if word and spans is None:
            words.append((word, slice(1 + place, 1 + place + length)))
        elif word:
            first, last = np.maximum(spans[:, 0], place), np.minimum(spans[:, 1], place + length)
            words.append((word, 1 + np.flatnonzero(first < last)))
        place += length + 1
    return words


def by_word(attention: np.ndarray, words: Sequence[Words]) -> list[np.ndarray]:
    """Of each sample the share of attention that each word gets: [b, h, w, n] -> b times [words, h, w]."""
    height, width = attention.shape[1:3]
    return [
        np.array([share[..., where].sum(axis=-1) for _, where in of]).reshape(-1, height, width)
        for share, of in zip(attention, words, strict=True)
    ]
