"""The global order of the training data, and the batches cut from it, on device or streamed.

Position p = 0, 1, 2, ... of the run is the example `Order(n, seed)(p)`. Step s takes the positions from s m B on, as m
consecutive batches of B. Nothing depends on the number of devices or processes; a run resumes from a single number.

With `flip`, the order runs over 2n virtual examples, where index n + i is the mirror image of example i (as NVIDIA's
xflip). That needs no random draw, so it is the same on both paths and after every restart.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from diffjax.data.source import THREADS, Examples, Source, random
from diffjax.data.text import decode
from diffjax.encoders import Encoded
from diffjax.errors import UserError
from diffjax.parallel import Layout, check_batch

RESIDENT_BYTES = 2 * 2**30  # a training split up to this size is kept on every device, which is fastest
PREFETCH = 16  # steps read ahead into host memory


@dataclass(frozen=True)
class Order:
    """The example at each position: every epoch of n positions has its own random permutation of 0..n-1.

    It is a pure function of (n, seed, position). So is Grain's shuffle (0.2.18), but it takes 7 us per element and adds
    the epoch to the seed, so that runs with seeds 0 and 1 would see the same orders, one epoch apart.
    """

    n: int
    seed: int

    def __call__(self, positions: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        epochs, offsets = np.divmod(positions, self.n)
        index = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            index[in_epoch] = _permutation(self.n, self.seed, int(epoch))[offsets[in_epoch]]
        return index


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return random(seed, epoch, field="seed").permutation(n).astype(np.int32)


class Stream:
    """Iterates over the training batches from `start_step` on, sharded over the devices as `layout.batch`.

    A batch has "x" [m, B, *shape] in stored units (uint8 or float32), its annotations (int32 [m, B] "label"; see
    `Space`), and "position", the index 0..B-1 in the global batch; m = `batches_per_step`, B = `batch_size`. With a
    frozen `encoder` it also has "embedding", that of the caption, from a table with one row for each distinct caption.
    Split and table are kept on the devices if they take at most `resident_bytes`; otherwise threads read them ahead,
    in each process only its own share. Both paths give identical bits, and neither waits for the device. Raises
    UserError if B does not divide among the devices, or an image is damaged.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        batch_size: int,
        batches_per_step: int,
        layout: Layout,
        start_step: int = 0,
        resident_bytes: int = RESIDENT_BYTES,
        encoder: Any = None,
    ):
        check_batch(batch_size, layout)
        examples, space = source.split("train"), source.space
        order = Order(len(examples) * (2 if source.flip else 1), seed)
        itemsize = 1 if space.kind == "images" else 4  # bytes
        encoded = encoder.of_data(decode(examples.captions())) if encoder else None
        size = len(examples) * int(np.prod(space.shape)) * itemsize + (encoded.table.nbytes if encoder else 0)
        self._shape = (batches_per_step, batch_size)
        make_batches = _resident if size <= resident_bytes else _streamed
        self._batches_from = make_batches(examples, order, self._shape, layout, encoded)
        self._place = _place(np.broadcast_to(np.arange(batch_size, dtype=np.int32), self._shape), layout.batch)
        self._go_to(start_step)

    def _go_to(self, step: int) -> None:
        self._step = step
        self._batches = self._batches_from(step)

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        return self

    def __next__(self) -> dict[str, jax.Array]:
        batch = next(self._batches)
        self._step += 1
        return batch | {"position": self._place}

    @property
    def position(self) -> dict[str, int]:
        """The state to checkpoint: the first position of the global order that no step has used yet."""
        return {"next_position": self._step * self._shape[0] * self._shape[1]}

    def seek(self, position: dict[str, int]) -> None:
        """Continues from a saved `position`. Raises UserError if it is not a multiple of the examples per step."""
        batches, size = self._shape
        step, remainder = divmod(position["next_position"], batches * size)
        if remainder:
            stopped = f"the run stopped at example {position['next_position']}"
            raise UserError(f"train.batch_size: {size} times {batches} batches a step does not divide what {stopped}")
        self._go_to(step)


def _resident(
    examples: Examples, order: Order, shape: tuple[int, int], layout: Layout, encoded: Encoded | None
) -> Callable:
    """Keeps the split on every device; a step sends indices, and each device gathers its own part of the batch."""
    n = len(examples)
    data = {name: _place(value, layout.replicated) for name, value in examples.arrays().items()}
    tables = {}
    if encoded is not None:
        data["embedding"], tables["embedding"] = (
            _place(array, layout.replicated) for array in (encoded.rows, encoded.table)
        )

    @partial(jax.jit, out_shardings=layout.batch)
    def gather(data, tables, index):
        batch = {name: value.at[index % n].get(mode="promise_in_bounds") for name, value in data.items()}
        batch |= {name: table.at[batch[name]].get(mode="promise_in_bounds") for name, table in tables.items()}
        if order.n > n:
            mirrored = (index >= n).reshape(*shape, 1, 1, 1)
            batch["x"] = jnp.where(mirrored, jnp.flip(batch["x"], -2), batch["x"])
        return batch

    def batches_from(step):
        while True:
            index = order(_positions(step, shape, np.arange(shape[1])))
            yield gather(data, tables, _place(index.astype(np.int32), layout.batch))
            step += 1

    return batches_from


def _streamed(
    examples: Examples, order: Order, shape: tuple[int, int], layout: Layout, encoded: Encoded | None
) -> Callable:
    """Reads ahead with Grain's threads, a step at a time; each process reads the columns of its own devices."""
    import grain

    n = len(examples)
    columns = columns_of(layout.mesh.local_devices, layout, shape[1])

    def place(share):
        def part(index):
            local = np.searchsorted(columns, np.arange(shape[1])[index[1]])  # contiguous, as they are globally
            return share[:, local[0] : local[-1] + 1]

        return _assemble(part, (*shape, *share.shape[2:]), layout.batch)

    def load(step):
        index = order(_positions(step, shape, columns))
        batch = examples.take(index.ravel() % n)
        batch |= {} if encoded is None else {"embedding": encoded[index.ravel() % n]}
        batch = {name: value.reshape(*index.shape, *value.shape[1:]) for name, value in batch.items()}
        if order.n > n:
            mirrored = index >= n
            batch["x"][mirrored] = batch["x"][mirrored][..., ::-1, :]
        return batch

    def batches_from(step):
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=PREFETCH)
        batches = iter(grain.MapDataset.range(step, 2**62).map(load).to_iter_dataset(options))
        try:
            for batch in batches:
                yield {name: place(share) for name, share in batch.items()}
        finally:
            batches.close()  # stops the threads

    return batches_from


def _positions(step: int, shape: tuple[int, int], columns: np.ndarray) -> np.ndarray:
    """Positions [m, columns] in the global order: consecutive blocks of B for the m batches of a step."""
    batches, size = shape
    return (step * batches + np.arange(batches))[:, None] * size + columns


def columns_of(devices: Iterable[jax.Device], layout: Layout, batch_size: int) -> np.ndarray:
    """The indices within the global batch that these devices hold, in ascending order."""
    index_map = layout.batch.devices_indices_map((1, batch_size))
    return np.unique(np.concatenate([np.arange(batch_size)[index_map[device][1]] for device in devices]))


def _place(whole: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """Shards a value of which every process has a full copy."""
    return _assemble(whole.__getitem__, whole.shape, sharding)


def _assemble(part: Callable, shape: tuple[int, ...], sharding: jax.sharding.Sharding) -> jax.Array:
    """Builds a global array whose shard at slices `index` is `part(index)`, called for this process's devices only.

    The transfers are explicit, which a transfer guard allows; those of make_array_from_callback count as implicit, and
    device_put of a global value would first compare it across all processes.
    """
    index_map = sharding.addressable_devices_indices_map(shape)
    shards = [jax.device_put(part(index), device) for device, index in index_map.items()]
    return jax.make_array_from_single_device_arrays(shape, sharding, shards)
