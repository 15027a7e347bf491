"""Computes the features of sets of images, one compiled batch at a time over all devices, the last one padded.

Threads read and hash the next batches while the devices work, and the next batch is dispatched before the features of
the last one are fetched. Only a few batches of images are in memory at a time, whatever the size of the set.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import jax
import numpy as np
from jax import lax
from jaxtyping import Float, Int64, UInt8

from diffjax import metrics as m
from diffjax.data import Examples
from diffjax.data.source import THREADS
from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, silent
from diffjax.inference.rows import Rows, evenly
from diffjax.metrics.features import Extractor, Outputs
from diffjax.parallel import Layout, Tree

AHEAD = THREADS + 1  # batches read ahead
HASH = 16  # bytes


@dataclass(frozen=True, eq=False)
class Embedded:
    """The features of a set of images, in the order of the set."""

    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n k"] | None
    hashes: UInt8[np.ndarray, "n 16"]  # of the images

    @cached_property
    def order(self) -> Int64[np.ndarray, " n"]:
        """The indices that sort the images by hash.

        Metrics that use a subset take it in this order: it is as good as random, and depends on the images but not on
        how they were sorted.
        """
        high, low = self.hashes.view(">u8").T
        return np.lexsort((low, high))

    @cached_property
    def content(self) -> str:
        """A hash of the set, independent of the order of its images but not of how often each occurs."""
        return hashlib.blake2b(self.hashes[self.order].tobytes(), digest_size=8).hexdigest()

    @cached_property
    def moments(self) -> m.Moments:
        """The moments of the features in float64, computed a thousand rows at a time to save memory."""
        m.check_dimensions(self.features.shape[1])
        moments = m.Moments.empty(self.features.shape[1])
        for start in range(0, len(self.features), 1000):
            moments = moments.update(self.features[start : start + 1000])
        return moments

    def __len__(self) -> int:
        return len(self.features)

    def at_most(self, n: int) -> "Embedded":
        """The first n images by hash, or all if there are no more."""
        return self if n >= len(self) else self._of(self.order[:n])

    def evenly(self, n: int) -> "Embedded":
        """At most n images, evenly spaced in the order of the set."""
        return self if n >= len(self) else self._of(evenly(n, len(self)))

    def _of(self, chosen: Int64[np.ndarray, " k"]) -> "Embedded":
        logits = None if self.logits is None else self.logits[chosen]
        return Embedded(self.features[chosen], logits, self.hashes[chosen])


class FeatureCollector:
    """Collects the features of n images from the devices; fetches each batch only when the next is dispatched."""

    def __init__(self, n: int):
        self.features, self.logits = Rows(n), Rows(n)
        self._under_way: tuple[Outputs, int] | None = None

    def add(self, outputs: Outputs, real: int) -> None:
        """Adds the first `real` rows of a batch's outputs; the others are padding."""
        self._fetch()
        self._under_way = outputs, real

    def _fetch(self) -> None:
        if self._under_way is None:
            return
        (outputs, real), self._under_way = self._under_way, None
        self.features.add(np.asarray(outputs.features)[:real])
        if outputs.logits is not None:
            self.logits.add(np.asarray(outputs.logits)[:real])

    def embedded(self, hashes: UInt8[np.ndarray, "n 16"]) -> Embedded:
        """The features of all images, with the images' hashes. Raises UserError if some are not finite."""
        self._fetch()
        features = self.features.array
        bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in np.array_split(features, 64))
        if bad:
            raise UserError(f"features: {bad} of {len(features)} images have features that are not finite")
        return Embedded(features, self.logits.array, hashes)


@dataclass(frozen=True, eq=False)
class Embedder:
    """A feature network on the devices of a layout. The features of an image do not depend on other images."""

    extractor: Extractor
    layout: Layout
    batch_size: int = 256

    @cached_property
    def _compiled(self) -> Callable:
        def apply(variables, images):
            return self.extractor.apply(variables, lax.with_sharding_constraint(images, self.layout.examples))

        return jax.jit(apply, out_shardings=self.layout.replicated)

    @cached_property
    def _variables(self):
        return jax.device_put(self.extractor.variables, self.layout.replicated)

    def batch(self, images: jax.Array, variables: Tree | None = None) -> Outputs:
        """The outputs for one batch, whose size the devices must divide; dispatched without waiting for them."""
        return self._compiled(self._variables if variables is None else variables, images)

    def __call__(self, images: Examples, progress: OnProgress = silent, variables: Tree | None = None) -> Embedded:
        """Embeds all images; calls `progress(done, total)` on the way. Raises UserError if features are not finite.

        `variables` replace the extractor's, for a network that is still training.
        """
        variables = None if variables is None else jax.device_put(variables, self.layout.replicated)
        n = len(images)
        size = self.layout.whole(min(self.batch_size, n))
        collector, hashes = FeatureCollector(n), Rows(n)
        for x, x_hashes in read_ahead(images, size):
            collector.add(self.batch(self._placed(x, size), variables), len(x))
            hashes.add(x_hashes)
            progress(collector.features.done, n)
        embedded = collector.embedded(hashes.array)
        progress(n, n)
        return embedded

    def _placed(self, x: UInt8[np.ndarray, "n h w c"], size: int) -> jax.Array:
        padded = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
        return self.layout.shard(padded)


def read_ahead(images: Examples, size: int) -> Iterator[tuple[UInt8[np.ndarray, "n h w c"], UInt8[np.ndarray, "n 16"]]]:
    """Yields the batches in order, with the hashes of their images; threads read them ahead.

    An exception of a thread is raised in place of its batch, and reading stops.
    """

    def read(first):
        x = images.take(np.arange(first, min(first + size, len(images))))["x"]
        return x, image_hashes(x)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            submissions = (pool.submit(read, first) for first in range(0, len(images), size))
            futures = deque(islice(submissions, AHEAD))
            while futures:
                batch = futures.popleft().result()
                futures.extend(islice(submissions, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def image_hashes(x: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n 16"]:
    """A hash of the shape and the pixels of each image."""
    shape_hash = hashlib.blake2b(str(x.shape[1:]).encode(), digest_size=HASH)
    hashes = np.empty((len(x), HASH), np.uint8)
    for row, image in zip(hashes, x, strict=True):
        image_hash = shape_hash.copy()
        image_hash.update(np.ascontiguousarray(image))
        row[:] = np.frombuffer(image_hash.digest(), np.uint8)
    return hashes
