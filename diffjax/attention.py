"""A film of a sampler's way with what each word is attended to: where in the image, at every step."""

from typing import Any

import jax
import numpy as np

from diffjax import pictures
from diffjax.data.text import decode
from diffjax.errors import UserError
from diffjax.films import spread_at
from diffjax.methods import Diffusion
from diffjax.run import Run
from diffjax.sampling import Drawn

Tokens = slice | np.ndarray  # their places
SHOWN = 4  # samples in a film
FAINT = 1e-6  # attention that nobody pays a word is not enlarged


def check(run: Run, out: str) -> None:
    """Raises UserError where there is nothing to attend to, or no film is asked for."""
    method = run.experiment.method
    if not out.endswith(".gif"):
        raise UserError(f"--attention: is a film, and {out!r} none; give --out=FILE.gif")
    if not isinstance(method, Diffusion) or not method.reads:
        name = run.experiment.config.method.name
        raise UserError(f"--attention: needs a diffusion model that reads captions; this is a {name} without")
    if run.experiment.config.method.network.text.get("conditioning") == "pooled":
        raise UserError("--attention: this model is told what is pooled of a caption, and attends to no word of it")


def film(run: Run, spec: Any, drawn: Drawn) -> list[np.ndarray]:
    """The frames: a row for each of the first samples, x_t and the words of its caption, lighter where it is read.

    A word's map is the share of attention that its bytes get, or its tokens where a frozen encoder reads, next to the
    most that they get in the film.
    """
    method, captions = run.experiment.method, drawn.label[:SHOWN]
    compiled, space = jax.jit(method.attention), method.space
    times = spec.grid(run.process, spec.steps)[: len(drawn.x_t)]
    told = method.told(captions)
    spans = [told.spans(i) if space.encoder else None for i in range(len(captions))]
    words = [words_of(*of) for of in zip(captions, spans, strict=True)]
    maps = [
        by_word(np.asarray(compiled(run.ema, x_t[:SHOWN], t, told[:])), words)
        for x_t, t in zip(drawn.x_t, times, strict=True)
    ]
    most = [np.maximum(np.max([frame[i] for frame in maps], axis=(0, 2, 3)), FAINT) for i in range(len(words))]
    columns = 1 + max(map(len, words))
    frames = []
    for x_t, t, of_sample in zip(drawn.x_t, times, maps, strict=True):
        seen = np.asarray(space.from_model(x_t[:SHOWN] / spread_at(run, t)))
        tiles = np.full((len(words), columns, *seen.shape[1:3], 3), 255, np.uint8)
        names = [[""] * columns for _ in words]
        for row, (image, shares) in enumerate(zip(seen, of_sample, strict=True)):
            tiles[row, 0] = image
            heat = (255 * shares / most[row][:, None, None]).round().astype(np.uint8)
            tiles[row, 1 : 1 + len(heat)] = heat[..., None]
            names[row][1 : 1 + len(heat)] = [word for word, _ in words[row]]
        flat = tiles.reshape(-1, *tiles.shape[2:])
        frames.append(pictures.grid(flat, columns=columns, captions=[name for row in names for name in row]))
    return frames


def words_of(caption: np.ndarray, spans: np.ndarray | None = None) -> list[tuple[str, Tokens]]:
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


def by_word(attention: np.ndarray, words: list[list[tuple[str, Tokens]]]) -> list[np.ndarray]:
    """Of each sample the share of attention that each word gets: [b, h, w, n] -> b times [words, h, w]."""
    height, width = attention.shape[1:3]
    return [
        np.array([share[..., where].sum(axis=-1) for _, where in of]).reshape(-1, height, width)
        for share, of in zip(attention, words, strict=True)
    ]
