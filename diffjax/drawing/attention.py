"""`sample --attention`: a film of where in the image the model attends to each word, at every sampling step."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from diffjax.data.text import decode
from diffjax.drawing import pictures
from diffjax.drawing.films import frames
from diffjax.drawing.sheets import GIVEN
from diffjax.errors import UserError
from diffjax.inference.sampling import Drawn
from diffjax.methods import Diffusion
from diffjax.methods.attention import attention_maps
from diffjax.run import Run

Tokens = slice | np.ndarray  # indices of tokens
Words = list[tuple[str, Tokens]]  # the words of a caption, each with its tokens
SHOWN = 4  # samples in a film
FAINT = 1e-6  # smallest maximum that a map is scaled by: a word without attention stays black


def check(run: Run, out: str) -> None:
    """Raises UserError if the output is not a film or the model does not attend to words."""
    method = run.experiment.method
    if not out.endswith(".gif"):
        raise UserError(f"`attention`: writes a film; `out={out!r}` must end in .gif")
    name = run.experiment.config.method.name
    if not method.reads_captions:
        raise UserError(f"`attention`: needs a diffusion model with captions; this is a {name} without")
    if not isinstance(method, Diffusion):
        raise UserError(f"`attention`: needs a diffusion model; a {name} reads a pooled caption and does not "
                        "attend to words")  # fmt: skip
    if run.experiment.config.method.network.text.get("conditioning") == "pooled":
        raise UserError(
            "`attention`: this model reads pooled captions (text.conditioning) and does not attend to words"
        )


def film(run: Run, spec: Any, drawn: Drawn, photos: np.ndarray | None = None) -> list[np.ndarray]:
    """The frames: for each of the first samples a row of x_t and one attention map per word of its caption.

    The map of a word is the share of attention on its bytes, or on its tokens if a frozen encoder reads the caption. It
    goes from black for none to white for the largest share in the film, which is printed under the word. The last frame
    shows the samples beside the last step's maps. Edited `photos` are a row above. Raises UserError for a sampler that
    takes no steps.
    """
    images = [x_t[:SHOWN] for x_t in frames(run, spec, drawn)]
    if not images:
        raise UserError(
            "`attention`: this sampler takes no steps, so there is no attention (`strength` must be above 0)"
        )
    words, maps = _maps(run, spec, drawn)
    maxima = [np.maximum(np.max([step[i] for step in maps], axis=(0, 2, 3)), FAINT) for i in range(len(words))]
    captions = [
        ["", *(f"{pictures.wrapped(word, 18)}\n{100 * share:.0f} %" for (word, _), share in zip(w, m, strict=True))]
        for w, m in zip(words, maxima, strict=True)
    ]
    times = spec.grid(run.process, spec.steps)
    titles = [f"step {k} of {len(images)}, t = {t:.2f}" for k, t in enumerate(times[:-1], start=1)]
    images.append(drawn.x[:SHOWN])
    maps.append(maps[-1])
    titles.append(f"finished, t = {times[-1]:.2f}")
    film_frames = [
        _frame(x, [heat(shares, m) for shares, m in zip(step, maxima, strict=True)], captions, photos, title)
        for x, step, title in zip(images, maps, titles, strict=True)
    ]
    return pictures.same_size(film_frames)  # the widths of titles differ


def _maps(run: Run, spec: Any, drawn: Drawn) -> tuple[list[Words], list[list[np.ndarray]]]:
    """The words of each of the first samples; and maps[step][sample] [words, h, w], each word's share of attention."""
    method, captions = run.experiment.method, drawn.label[:SHOWN]
    compiled, cond = jax.jit(partial(attention_maps, method)), method.cond_for(captions)
    spans = [cond.spans(i) if method.space.encoder else None for i in range(len(captions))]
    words = [words_of(caption, s) for caption, s in zip(captions, spans, strict=True)]
    times = spec.grid(run.process, spec.steps)[:-1]
    return words, [
        by_word(np.asarray(compiled(run.ema, x_t[:SHOWN], t, cond[:])), words)
        for x_t, t in zip(drawn.x_t, times, strict=True)
    ]


def heat(shares: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Shares of attention [words, h, w] as greys [words, h, w, 3]; each word's largest share `most` is white."""
    greys = (255 * shares / most[:, None, None]).round().astype(np.uint8)
    return np.repeat(greys[..., None], 3, axis=-1)


def _frame(
    x: np.ndarray, heats: Sequence[np.ndarray], captions: list[list[str]], photos: np.ndarray | None, title: str
) -> np.ndarray:
    """A sheet with a row for each sample: its image and the map of each word, captioned."""
    colours = np.broadcast_to(x, (*x.shape[:3], 3))
    rows = [np.concatenate([image[None], maps]) for image, maps in zip(colours, heats, strict=True)]
    if photos is not None:
        rows, captions = [photos, *rows], [[GIVEN] * len(photos), *captions]
    return pictures.table(rows, captions, title=title)


def words_of(caption: np.ndarray, spans: np.ndarray | None = None) -> Words:
    """The words of a caption, uint8 [n], each with its tokens: its bytes, or the tokens that cover its characters.

    `spans` [tokens, 2] are the characters that each token of a frozen encoder covers. Token 0 belongs to no word.
    """
    (text,), words, start = decode(caption[None]), [], 0
    for word in text.split(" "):
        length = len(word.encode() if spans is None else word)
        if word and spans is None:
            words.append((word, slice(1 + start, 1 + start + length)))
        elif word:
            first, last = np.maximum(spans[:, 0], start), np.minimum(spans[:, 1], start + length)
            words.append((word, 1 + np.flatnonzero(first < last)))
        start += length + 1
    return words


def by_word(attention: np.ndarray, words: Sequence[Words]) -> list[np.ndarray]:
    """For each sample the share of attention on each word: [b, h, w, tokens] -> b arrays [words, h, w]."""
    height, width = attention.shape[1:3]
    return [
        np.array([shares[..., tokens].sum(axis=-1) for _, tokens in sample_words]).reshape(-1, height, width)
        for shares, sample_words in zip(attention, words, strict=True)
    ]
