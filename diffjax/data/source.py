"""Common parts of data sources: random access to examples, the two splits, seeded draws, and checks of fields."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from diffjax.data.space import Space
from diffjax.errors import UserError

# "x": [n, *shape] uint8 or float32 (stored units); "label": [n] int32, 0 if unlabelled; if the space has captions also
# "caption": [n, bytes] uint8, encoded by `diffjax.data.text`.
Batch = dict[str, np.ndarray]
THREADS = min(8, os.cpu_count() or 1)  # decoding small images holds the GIL half of the time: more is slower
CHUNK = 256  # examples per task of a thread: large enough to hide overhead, small enough to balance load


@dataclass(frozen=True)
class Examples:
    """One split with random access: `take(indices [n] int) -> Batch` reads any of the `count` examples."""

    count: int
    take: Callable[[np.ndarray], Batch]
    known: np.ndarray | None = None  # all captions, if available without reading the examples

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        """{"x": [*shape], "label": int32 scalar}. Raises IndexError outside 0..count-1, so iteration ends."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return {name: value[0] for name, value in self.take(np.array([index])).items()}

    def arrays(self) -> Batch:
        """The whole split in memory, decoded by several threads (image decoders release the GIL)."""
        return self._gathered(tuple(self.take(np.arange(1))))

    def captions(self) -> np.ndarray:
        """All captions, [n, bytes]; unless they are `known`, reads all examples once."""
        return self._gathered(("caption",))["caption"] if self.known is None else self.known

    def _gathered(self, names: tuple[str, ...]) -> Batch:
        first = self.take(np.arange(1))
        arrays = {name: np.empty((self.count, *first[name].shape[1:]), first[name].dtype) for name in names}

        def fill(start):
            indices = np.arange(start, min(start + CHUNK, self.count))
            batch = self.take(indices)
            for name in names:
                arrays[name][indices] = batch[name]

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, range(0, self.count, CHUNK)))
        return arrays


def in_memory(x: np.ndarray, label: np.ndarray, **beside: np.ndarray) -> Examples:
    """Examples from arrays; `beside` has further named arrays, such as "caption"."""
    arrays = {"x": x, "label": label.astype(np.int32)} | beside
    return Examples(len(x), lambda indices: {name: a[indices] for name, a in arrays.items()}, beside.get("caption"))


class Source(Protocol):
    """A data set. With `flip`, training also sees every image mirrored left to right (the held-out split never is)."""

    flip: bool

    @property
    def space(self) -> Space: ...

    def split(self, name: str) -> Examples:
        """The examples of "train" or "heldout", in stored units."""
        ...


class Synthetic:
    """Base of synthetic sources: both splits are in memory, and drawn from independent random streams.

    A subclass has `num_train`, `num_heldout`, `seed` and `_draw(n, stream) -> Examples`.
    """

    flip = False

    def _check_counts(self) -> None:
        for field in ("num_train", "num_heldout"):
            if getattr(self, field) < 1:
                raise UserError(f"data.{field}: {getattr(self, field)}; must be positive")
        random(self.seed, field="data.seed")

    def split(self, name: str) -> Examples:
        check_split(name)
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        return {"train": self._draw(self.num_train, 0), "heldout": self._draw(self.num_heldout, 1)}


def check_split(name: str) -> None:
    if name not in ("train", "heldout"):
        raise UserError(f"split: {name!r} is unknown; must be 'train' or 'heldout'")


def check_template(caption: str, *names: str) -> None:
    """Raises UserError unless a source's field `caption` is a sentence with {} for the class, "", or one of `names`."""
    if caption and caption not in names and "{}" not in caption:
        problem = f"has no {{}} for the name of the class, as 'a picture of a {{}}' has{', nor is it ' * bool(names)}"
        raise UserError(f"data.caption: {caption!r} {problem}{', '.join(names)}")


def check_fraction(heldout: float) -> None:
    if not 0 < heldout < 1:
        raise UserError(f"data.heldout: {heldout}; must be a fraction between 0 and 1")


def random(*seeds: int, field: str) -> np.random.RandomState:
    """A generator seeded by `seeds`: a RandomState, whose stream NumPy guarantees never to change (NEP 19)."""
    if not 0 <= seeds[0] < 2**32:
        raise UserError(f"{field}: {seeds[0]}; must be between 0 and 2^32 - 1")
    return np.random.RandomState(seeds)
