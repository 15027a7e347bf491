"""What a feature network sees in sets of images: a compiled batch at a time over all devices, the last one padded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from jax import lax
from jaxtyping import Float, UInt8

from diffjax import metrics as m
from diffjax.data import Examples
from diffjax.errors import UserError
from diffjax.metrics.features import Extractor
from diffjax.parallel import Layout


@dataclass(frozen=True, eq=False)
class Seen:
    """A set of images as a feature network sees it."""

    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n k"] | None

    @cached_property
    def moments(self) -> m.Moments:
        """Of the features, in float64, a thousand at a time: in float64 all of them would not fit."""
        moments = m.Moments.empty(self.features.shape[1])
        for first in range(0, len(self.features), 1000):
            moments = moments.update(self.features[first : first + 1000])
        return moments

    def __len__(self) -> int:
        return len(self.features)

    def some(self, n: int) -> "Seen":
        """At most n of them, from all over the set: one that is sorted by class keeps all classes."""
        if n >= len(self):
            return self
        chosen = np.arange(n) * len(self) // n
        return Seen(self.features[chosen], None if self.logits is None else self.logits[chosen])


@dataclass(frozen=True, eq=False)
class Embedder:
    """A feature network on the devices there are. An image's features depend on no other image."""

    extractor: Extractor
    layout: Layout
    batch_size: int = 256

    @cached_property
    def _compiled(self) -> Callable:
        def split(variables, images):
            return self.extractor.apply(variables, lax.with_sharding_constraint(images, self.layout.examples))

        return jax.jit(split, out_shardings=self.layout.replicated)

    @cached_property
    def _variables(self):
        return jax.device_put(self.extractor.variables, self.layout.replicated)

    def batch(self, images: jax.Array, real: int) -> Seen:
        """The first `real` of a batch that the devices divide, wherever it lies."""
        outputs = self._compiled(self._variables, images)
        return Seen(*(None if part is None else np.asarray(part)[:real] for part in outputs))

    def __call__(self, images: Examples, say: Callable[[int], None] = lambda done: None) -> Seen:
        """All of a split; `say` is told how many are done. Raises UserError on features that are not finite."""
        devices = self.layout.mesh.size
        size = -(-min(self.batch_size, len(images)) // devices) * devices
        parts = []
        for x in _batches(images, size):
            padded = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
            placed = jax.make_array_from_callback(
                padded.shape, self.layout.examples, lambda part, padded=padded: padded[part]
            )
            parts.append(self.batch(placed, len(x)))
            say(sum(map(len, parts)))
        return joined(parts)


def joined(parts: list[Seen]) -> Seen:
    """Batches as one set."""
    logits = None if parts[0].logits is None else np.concatenate([part.logits for part in parts])
    seen = Seen(np.concatenate([part.features for part in parts]), logits)
    bad = int((~np.isfinite(seen.features).all(axis=1)).sum())
    if bad:
        raise UserError(f"features: those of {bad} images of {len(seen)} are not finite")
    return seen


def _batches(images: Examples, size: int) -> Iterator[UInt8[np.ndarray, "n h w c"]]:
    for first in range(0, len(images), size):
        yield images.take(np.arange(first, min(first + size, len(images))))["x"]
