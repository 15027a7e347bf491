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
from jaxtyping import Float, UInt8

from diffjax import metrics as m
from diffjax.data import Examples
from diffjax.data.source import THREADS
from diffjax.errors import UserError
from diffjax.metrics.arrays import Told, untold
from diffjax.metrics.features import Extractor, Outputs
from diffjax.parallel import Layout
from diffjax.rows import Rows, evenly

AHEAD = THREADS + 1  # batches read before they are asked for


@dataclass(frozen=True, eq=False)
class Embedded:
    """A set of images as a feature network sees it."""

    features: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n k"] | None
    content: str = ""  # a hash of the images themselves, in whatever order; "": not known

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

    def evenly(self, n: int) -> "Embedded":
        """At most n of them, from all over the set."""
        if n >= len(self):
            return self
        chosen = evenly(n, len(self))
        return Embedded(self.features[chosen], None if self.logits is None else self.logits[chosen])


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

    def whole(self, content: str = "") -> Embedded:
        """All of them. Raises UserError if some are not finite."""
        self._fetch()
        features = self.features.array
        bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in np.array_split(features, 64))
        if bad:
            raise UserError(f"features: those of {bad} images of {len(features)} are not finite")
        return Embedded(features, self.logits.array, content)


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

    def batch(self, images: jax.Array) -> Outputs:
        """A batch that the devices divide, wherever it lies; nothing waits for what it gives."""
        return self._compiled(self._variables, images)

    def __call__(self, images: Examples, told: Told = untold) -> Embedded:
        """All of a split; `told` how many are done. Raises UserError on features that are not finite."""
        n, devices = len(images), self.layout.mesh.size
        size = -(-min(self.batch_size, n) // devices) * devices
        gathering, hashes = Gathering(n), []
        for x, of_images in read_ahead(images, size):
            gathering.add(self.batch(self._placed(x, size)), len(x))
            hashes += of_images
            told(gathering.features.done, n)
        embedded = gathering.whole(content_of(hashes))
        told(n, n)
        return embedded

    def _placed(self, x: UInt8[np.ndarray, "n h w c"], size: int) -> jax.Array:
        padded = np.concatenate([x, np.zeros((size - len(x), *x.shape[1:]), x.dtype)])
        return jax.make_array_from_callback(padded.shape, self.layout.examples, lambda part: padded[part])


def read_ahead(images: Examples, size: int) -> Iterator[tuple[UInt8[np.ndarray, "n h w c"], list[bytes]]]:
    """Batches in their order, with their images' hashes, read by threads before they are asked for.

    What a thread raises is raised in its batch's place; nothing more is read then.
    """

    def read(first):
        x = images.take(np.arange(first, min(first + size, len(images))))["x"]
        return x, [content_hash(image) for image in x]

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


def content_hash(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A hash of the shape and the pixels of one image."""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    return digest.digest()


def content_of(hashes: list[bytes]) -> str:
    """One hash of a set of images from theirs: of their order it knows nothing, of how many are alike it does."""
    return hashlib.blake2b(b"".join(sorted(hashes)), digest_size=8).hexdigest()
