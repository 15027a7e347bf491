"""A frozen encoder, and what it has said of texts: remembered, read from the cache, or computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from diffjax.encoders import cache, files, towers
from diffjax.encoders.cache import Embeddings
from diffjax.errors import UserError
from diffjax.progress import Waiting, aside


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of k texts, of which some may be the same: encoded[i] is of text i, or of several.

    Each distinct text has one row of the `table`, and `rows` says which. The empty text, "no caption", always has one.
    """

    texts: tuple[str, ...]  # as they were asked for
    rows: Int[np.ndarray, "k"]
    embeddings: Embeddings  # of the distinct ones

    def __getitem__(self, index) -> Float[np.ndarray, "... 1+n d+1"]:
        return self.table[self.rows[index]]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def table(self) -> Float[np.ndarray, "distinct 1+n d+1"]:
        return self.embeddings.packed

    @property
    def empty(self) -> Float[np.ndarray, "1+n d+1"]:
        """Of the empty text, which comes first in any order of texts."""
        return self.table[0]

    @property
    def cut(self) -> Bool[np.ndarray, "k"]:
        """Which texts have more tokens than are read."""
        return self.embeddings.cut[self.rows]

    def spans(self, i: int) -> Int[np.ndarray, "n 2"]:
        """The characters of text i that each token stands for: from, to."""
        return self.embeddings.spans[self.rows[i]]

    def read(self, i: int) -> str:
        """What of text i is read."""
        return self.texts[i][: self.spans(i).max()] if self.cut[i] else self.texts[i]


@dataclass(frozen=True)
class Encoder:
    """A text tower that others have trained. Two are the same if their identities are, wherever they lie."""

    kind: str  # "t5" or "clip"
    tokens: int  # that are read of a text, special ones among them
    width: int  # numbers for each
    identity: str  # a hash of weights, config, tokenizer and `tokens`
    directory: Path = field(compare=False)
    _known: dict[tuple[str, ...], Embeddings] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, kind: str, place: str, tokens: int) -> "Encoder":
        """The encoder at `place`; its weights are hashed, not loaded. Raises UserError as `files.find` does."""
        found = files.find(kind, place, tokens)
        return cls(kind, tokens, found.width, found.identity, found.directory)

    @property
    def shape(self) -> tuple[int, int]:
        """Of what is said of a text, packed."""
        return 1 + self.tokens, self.width + 1

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """What it says of some prompts; it remembers."""
        distinct, rows = _numbered(texts)
        if distinct not in self._known:
            self._known[distinct] = self._embeddings(distinct)
        return Encoded(tuple(texts), rows, self._known[distinct])

    def of_data(self, texts: Sequence[str]) -> Encoded:
        """What it says of the captions of a data set; for once, and the encoder itself is given up afterwards."""
        distinct, rows = _numbered(texts)
        said = Encoded(tuple(texts), rows, self._embeddings(distinct))
        towers.forget()
        if long := np.flatnonzero(said.embeddings.cut).tolist():
            such = said.read(texts.index(distinct[long[0]]))
            aside(f"{len(long):,} of {len(distinct):,} captions have more than {self.tokens} tokens: cut, as {such!r}")
        return said

    def _embeddings(self, distinct: tuple[str, ...]) -> Embeddings:
        path, shape = cache.path_of(self.identity, distinct), (len(distinct), *self.shape)
        found = cache.read(path, shape)
        if found is None:
            tower = towers.opened(self.kind, self.directory, self.identity)
            size = 4 * np.prod(shape, dtype=float) / 1e6
            aside(f"embeddings of {len(distinct):,} texts by the {self.kind} at {self.directory} ({size:,.1f} MB)")
            progress = Waiting("embeddings", aside).at
            found = towers.embed(tower, list(distinct), self.tokens, progress)
            if found.packed.shape != shape:
                is_wide = f"embeddings of {found.packed.shape[-1] - 1} numbers, and its config.json says {self.width}"
                raise UserError(f"text.encoder: {self.directory} gives {is_wide}")
            cache.write(path, found)
        return found


def _numbered(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct texts and the empty one, in order, and which of them each text is."""
    distinct = tuple(sorted({"", *texts}))
    number = {text: i for i, text in enumerate(distinct)}
    return distinct, np.array([number[text] for text in texts], np.int32)
