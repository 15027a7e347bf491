"""A frozen text encoder; embeddings come from memory, from the cache, or are computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from diffjax.encoders import cache, files, towers
from diffjax.encoders.cache import Embeddings
from diffjax.errors import UserError
from diffjax.host.progress import Waiting, to_stderr


@dataclass(frozen=True)
class Encoded:
    """Embeddings of k texts, possibly with duplicates: encoded[i] is the embedding of text i; i may be an array.

    Each distinct text has one row of `table`; `rows` maps texts to rows. The empty text, "no caption", always has one.
    """

    texts: tuple[str, ...]
    rows: Int[np.ndarray, "k"]
    embeddings: Embeddings  # of the distinct texts

    def __getitem__(self, index) -> Float[np.ndarray, "... 1+n d+1"]:
        return self.table[self.rows[index]]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def table(self) -> Float[np.ndarray, "distinct 1+n d+1"]:
        return self.embeddings.packed

    @property
    def empty(self) -> Float[np.ndarray, "1+n d+1"]:
        """The embedding of the empty text, which sorts first."""
        return self.table[0]

    @property
    def cut(self) -> Bool[np.ndarray, "k"]:
        """Which texts were truncated."""
        return self.embeddings.cut[self.rows]

    def spans(self, i: int) -> Int[np.ndarray, "n 2"]:
        """[start, end) of each token in text i, in characters."""
        return self.embeddings.spans[self.rows[i]]

    def read(self, i: int) -> str:
        """The part of text i that the encoder reads."""
        return self.texts[i][: self.spans(i).max()] if self.cut[i] else self.texts[i]


@dataclass(frozen=True)
class Encoder:
    """A pretrained text encoder; equality is by identity, wherever its files are."""

    kind: str  # "t5" or "clip"
    tokens: int  # maximum number of tokens of a text, including special ones
    width: int  # of an embedding
    identity: str  # hash of weights, config, tokenizer and `tokens`
    directory: Path = field(compare=False)
    _known: dict[tuple[str, ...], Embeddings] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, kind: str, place: str, tokens: int) -> "Encoder":
        """Opens the encoder at `place`; its weights are hashed, not loaded. Raises UserError as `files.find` does."""
        files_info = files.find(kind, place, tokens)
        return cls(kind, tokens, files_info.width, files_info.identity, files_info.directory)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the packed embedding of a text."""
        return 1 + self.tokens, self.width + 1

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """The embeddings of prompts, and keeps them in memory."""
        distinct, rows = _numbered(texts)
        if distinct not in self._known:
            self._known[distinct] = self._embeddings(distinct)
        return Encoded(tuple(texts), rows, self._known[distinct])

    def of_data(self, texts: Sequence[str]) -> Encoded:
        """The embeddings of a data set's captions, without keeping them; then frees the encoder's memory."""
        distinct, rows = _numbered(texts)
        encoded = Encoded(tuple(texts), rows, self._embeddings(distinct))
        towers.forget()
        if truncated := np.flatnonzero(encoded.embeddings.cut).tolist():
            example = encoded.read(texts.index(distinct[truncated[0]]))
            to_stderr(
                f"{len(truncated):,} of {len(distinct):,} captions have more than {self.tokens} tokens: cut,"
                f" as {example!r}"
            )
        return encoded

    def _embeddings(self, distinct: tuple[str, ...]) -> Embeddings:
        path, shape = cache.path_of(self.identity, distinct), (len(distinct), *self.shape)
        embeddings = cache.read(path, shape)
        if embeddings is None:
            tower = towers.opened(self.kind, self.directory, self.identity)
            size = 4 * np.prod(shape, dtype=float) / 1e6
            to_stderr(f"embeddings of {len(distinct):,} texts by the {self.kind} at {self.directory} ({size:,.1f} MB)")
            progress = Waiting("embeddings", to_stderr).at
            embeddings = towers.embed(tower, list(distinct), self.tokens, progress)
            if embeddings.packed.shape != shape:
                mismatch = (
                    f"embeddings of {embeddings.packed.shape[-1] - 1} numbers, and its config.json says {self.width}"
                )
                raise UserError(f"text.encoder: {self.directory} gives {mismatch}")
            cache.write(path, embeddings)
        return embeddings


def _numbered(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted distinct texts, including the empty one, and the index of each text among them."""
    distinct = tuple(sorted({"", *texts}))
    index = {text: i for i, text in enumerate(distinct)}
    return distinct, np.array([index[text] for text in texts], np.int32)
