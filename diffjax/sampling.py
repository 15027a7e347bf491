"""Drawing from a trained model: any number of samples, each with a seed of its own, a compiled batch at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.keys import Role, key_of
from diffjax.methods.method import Method
from diffjax.parallel import Layout, Tree
from diffjax.rows import Rows


@dataclass(frozen=True)
class Drawn:
    """Samples in stored units (uint8 for images) with their labels (-1: none); the films' frames where asked for."""

    x: np.ndarray
    label: np.ndarray  # [n], or the bytes of their captions, [n, bytes]
    nfe: np.ndarray  # [n], network calls
    not_finite: int = 0  # samples with a NaN or an infinity somewhere; as uint8 they would pass for images
    x_t: np.ndarray | None = None  # [steps, n, ...] in model units
    x0_hat: np.ndarray | None = None


@dataclass
class Generator:
    """Sample i is a function of (variables, sampler, seed, label_i, i) alone: not of how many are asked for.

    Every batch has the same size, the last one padded, so that one compiled program draws them all. `requested` [k] or
    [k, bytes] are labels or captions to draw by: sample i is of number i modulo k. Where they are not given they are
    what `method.requested` says: all classes, or the data's own prompts.
    """

    method: Method
    spec: Any  # the sampler component
    layout: Layout
    batch_size: int = 64
    trajectory: bool = False
    _compiled: Any = field(init=False, repr=False, default=None)

    def __post_init__(self):
        devices = self.layout.mesh.size
        self.batch_size = -(-self.batch_size // devices) * devices
        examples, everywhere = self.layout.examples, self.layout.replicated

        def draw(variables, key, index, label):
            keys = jax.vmap(partial(jax.random.fold_in, key))(index)
            return self.method.sample(variables, self.spec, keys, label, self.trajectory)

        # Drawn in parallel, then whole on every device, so that every process can read all of it.
        self._compiled = jax.jit(draw, in_shardings=(None, everywhere, examples, examples), out_shardings=everywhere)

    def _place(self, values: np.ndarray) -> jax.Array:
        """The same array on every process, split over the devices of all."""
        return jax.make_array_from_callback(values.shape, self.layout.examples, lambda part: values[part])

    @property
    def labelled(self) -> bool:
        return self.method.draws_by_label(self.spec)

    @property
    def requested(self) -> np.ndarray | None:
        """The labels or captions that are drawn by, each in turn, where none are given."""
        return self.method.requested(self.spec)

    def batches(
        self, variables: dict[str, Tree], num: int, seed: int, requested: np.ndarray | None = None
    ) -> Iterator[tuple[Drawn, jax.Array]]:
        """`num` samples, `batch_size` at a time; beside them the whole padded batch, stored units, still on device."""
        key = key_of(seed, Role.DRAW)
        requested = self.requested if requested is None else requested
        cond = self.method.cond_for(requested)
        for first in range(0, num, self.batch_size):
            index = np.arange(first, first + self.batch_size)
            labels = None if requested is None else requested[index % len(requested)]
            placed = None if requested is None else self._place(cond[index % len(requested)])
            drawn = self._compiled(variables, key, self._place(index), placed)
            real = slice(0, min(self.batch_size, num - first))
            x = self.method.space.from_model(drawn.x0)
            film = [None if frames is None else np.asarray(frames)[:, real] for frames in (drawn.x_t, drawn.x0_hat)]
            shown = np.full(real.stop, -1, np.int32) if labels is None else labels[real]
            bad = ~np.asarray(jnp.isfinite(drawn.x0).all(axis=tuple(range(1, drawn.x0.ndim))))[real]
            yield Drawn(np.asarray(x)[real], shown, np.asarray(drawn.nfe)[real], int(bad.sum()), *film), x

    def draw(self, variables: dict[str, Tree], num: int, seed: int, requested: np.ndarray | None = None) -> Drawn:
        """All `num` samples at once."""
        return joined(num, (part for part, _ in self.batches(variables, num, seed, requested)))


def joined(num: int, parts: Iterable[Drawn]) -> Drawn:
    """The `num` samples of all parts as one, each part given up when the next is drawn; films are joined at the end."""
    x, label, nfe, films, not_finite = Rows(num), Rows(num), Rows(num), [], 0
    for part in parts:
        x.add(part.x)
        label.add(part.label)
        films.append((part.x_t, part.x0_hat))
        nfe.add(part.nfe)
        not_finite += part.not_finite
    film = [None if frames[0] is None else np.concatenate(frames, axis=1) for frames in zip(*films, strict=True)]
    return Drawn(x.array, label.array, nfe.array, not_finite, *film)
