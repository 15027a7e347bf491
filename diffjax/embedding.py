"""What a feature network sees in sets of images: a compiled batch at a time over all devices, the last one padded.

Threads read, and hash, the batches to come while the devices work, and the next batch is on its way to them before the
features of the last are fetched. Both are bounded: a few batches of images are in memory, whatever the set.
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
from diffjax.metrics.features import Extractor, Outputs
from diffjax.metrics.progress import OnProgress, silent
from diffjax.parallel import Layout, Tree
from diffjax.rows import Rows, evenly

AHEAD = THREADS + 1  # batches read before they are asked for
HASH = 16  # bytes


@dataclass(frozen=True, eq=False)
class Embedded:
    """A set of images as a feature network sees it, in the order in which they came."""

    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n k"] | None
    hashes: UInt8[np.ndarray, "n 16"]  # of the images themselves

    @cached_property
    def order(self) -> Int64[np.ndarray, " n"]:
        """The images by their hashes. What takes some of them takes them in this order, which is as good as random, and
        is then a function of the set: of what the images are, and not of how they were sorted."""
        high, low = self.hashes.view(">u8").T
        return np.lexsort((low, high))

    @cached_property
    def content(self) -> str:
        """One hash of the set from its images': of their order it knows nothing, of how many are alike it does."""
        return hashlib.blake2b(self.hashes[self.order].tobytes(), digest_size=8).hexdigest()

    @cached_property
    def moments(self) -> m.Moments:
        """Of the features, in float64, a thousand at a time: in float64 all of them would not fit."""
        m.check_dimensions(self.features.shape[1])
        moments = m.Moments.empty(self.features.shape[1])
        for first in range(0, len(self.features), 1000):
            moments = moments.update(self.features[first : first + 1000])
        return moments

    def __len__(self) -> int:
        return len(self.features)

    def at_most(self, n: int) -> "Embedded":
        """n of them, the first by their hashes, or all."""
        return self if n >= len(self) else self._of(self.order[:n])

    def evenly(self, n: int) -> "Embedded":
        """At most n of them, from all over the set as it came."""
        return self if n >= len(self) else self._of(evenly(n, len(self)))

    def _of(self, chosen: Int64[np.ndarray, " k"]) -> "Embedded":
        logits = None if self.logits is None else self.logits[chosen]
        return Embedded(self.features[chosen], logits, self.hashes[chosen])


class Gathering:
    """Features of n images, as they come from the devices: a batch is fetched when the next is already under way."""

    def __init__(self, n: int):
        self.features, self.logits = Rows(n), Rows(n)
        self._under_way: tuple[Outputs, int] | None = None

    def add(self, outputs: Outputs, real: int) -> None:
        """The first `real` rows of what a batch gave."""
        self._fetch()
        self._under_way = outputs, real

    def _fetch(self) -> None:
        if self._under_way is None:
            return
        (outputs, real), self._under_way = self._under_way, None
        self.features.add(np.asarray(outputs.features)[:real])
        if outputs.logits is not None:
            self.logits.add(np.asarray(outputs.logits)[:real])

    def whole(self, hashes: UInt8[np.ndarray, "n 16"]) -> Embedded:
        """All of them, with their images' hashes. Raises UserError if some are not finite."""
        self._fetch()
        features = self.features.array
        bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in np.array_split(features, 64))
        if bad:
            raise UserError(f"features: those of {bad} images of {len(features)} are not finite")
        return Embedded(features, self.logits.array, hashes)


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

    def batch(self, images: jax.Array, variables: Tree | None = None) -> Outputs:
        """A batch that the devices divide, wherever it lies; nothing waits for what it gives."""
        return self._compiled(self._variables if variables is None else variables, images)

    def __call__(self, images: Examples, progress: OnProgress = silent, variables: Tree | None = None) -> Embedded:
        """All of a split; `progress` is how many are done. Raises UserError on features that are not finite.

        `variables` are those of a network that changes, in place of the extractor's.
        """
        variables = None if variables is None else jax.device_put(variables, self.layout.replicated)
        n, devices = len(images), self.layout.mesh.size
        size = -(-min(self.batch_size, n) // devices) * devices
        gathering, hashes = Gathering(n), Rows(n)
        for x, of_images in read_ahead(images, size):
            gathering.add(self.batch(self._placed(x, size), variables), len(x))
            hashes.add(of_images)
            progress(gathering.features.done, n)
        embedded = gathering.whole(hashes.array)
        progress(n, n)
        return embedded

    def _placed(self, x: UInt8[np.ndarray, "n h w c"], size: int) -> jax.Array:
        padded = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
        return jax.make_array_from_callback(padded.shape, self.layout.examples, lambda part: padded[part])


def read_ahead(images: Examples, size: int) -> Iterator[tuple[UInt8[np.ndarray, "n h w c"], UInt8[np.ndarray, "n 16"]]]:
    """Batches in their order, with their images' hashes, read by threads before they are asked for.

    What a thread raises is raised in its batch's place; nothing more is read then.
    """

    def read(first):
        x = images.take(np.arange(first, min(first + size, len(images))))["x"]
        return x, image_hashes(x)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            reading = (pool.submit(read, first) for first in range(0, len(images), size))
            waiting = deque(islice(reading, AHEAD))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(islice(reading, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def image_hashes(x: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n 16"]:
    """A hash of the shape and the pixels of each image."""
    start = hashlib.blake2b(str(x.shape[1:]).encode(), digest_size=HASH)
    hashes = np.empty((len(x), HASH), np.uint8)
    for row, image in zip(hashes, x, strict=True):
        digest = start.copy()
        digest.update(np.ascontiguousarray(image))
        row[:] = np.frombuffer(digest.digest(), np.uint8)
    return hashes
