"""Draws any number of samples from a trained model, each with its own key, one compiled batch at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.inference.rows import Rows
from diffjax.keys import Role, key_of
from diffjax.methods.method import Method
from diffjax.parallel import Layout, Tree


@dataclass(frozen=True)
class Drawn:
    """Samples in stored units (uint8 for images) with their labels (-1: none), and their trajectory if requested."""

    x: np.ndarray
    label: np.ndarray  # [n], or the bytes of their captions, [n, bytes]
    nfe: np.ndarray  # network calls [n]
    not_finite: int = 0  # number of samples with a NaN or an infinity, which uint8 images do not show
    x_t: np.ndarray | None = None  # [steps, n, ...] in model units
    x0_hat: np.ndarray | None = None


@dataclass
class Generator:
    """Draws samples; sample i depends on (variables, sampler, seed, label_i, i) only, not on the number of samples.

    All batches have the same size, the last one padded, so that one compiled program draws them all. `requested` are
    the labels [k] or captions [k, bytes] to draw: sample i has number i modulo k. By default they are those of
    `method.requested`: all classes, or the prompts of the data.
    """

    method: Method
    spec: Any  # the sampler component
    layout: Layout
    batch_size: int = 64
    trajectory: bool = False
    _compiled: Any = field(init=False, repr=False, default=None)

    def __post_init__(self):
        self.batch_size = self.layout.whole(self.batch_size)
        examples, replicated = self.layout.examples, self.layout.replicated

        def draw(variables, key, index, label):
            keys = jax.vmap(partial(jax.random.fold_in, key))(index)
            return self.method.sample(variables, self.spec, keys, label, self.trajectory)

        # Samples are drawn in parallel and then replicated, so that every process can read all of them.
        self._compiled = jax.jit(draw, in_shardings=(None, replicated, examples, examples), out_shardings=replicated)

    @property
    def labelled(self) -> bool:
        return self.method.draws_by_label(self.spec)

    @property
    def requested(self) -> np.ndarray | None:
        """The default labels or captions, which are drawn in turn."""
        return self.method.requested(self.spec)

    def batches(
        self, variables: dict[str, Tree], num: int, seed: int, requested: np.ndarray | None = None
    ) -> Iterator[tuple[Drawn, jax.Array]]:
        """Yields `num` samples, `batch_size` at a time, each with the padded batch in stored units on the device."""
        key = key_of(seed, Role.DRAW)
        requested = self.requested if requested is None else requested
        cond = self.method.cond_for(requested)
        for first in range(0, num, self.batch_size):
            index = np.arange(first, first + self.batch_size)
            labels = None if requested is None else requested[index % len(requested)]
            placed = None if requested is None else self.layout.shard(cond[index % len(requested)])
            drawn = self._compiled(variables, key, self.layout.shard(index), placed)
            real = slice(0, min(self.batch_size, num - first))
            x = self.method.space.from_model(drawn.x0)
            trajectory = [
                None if frames is None else np.asarray(frames)[:, real] for frames in (drawn.x_t, drawn.x0_hat)
            ]
            real_labels = np.full(real.stop, -1, np.int32) if labels is None else labels[real]
            bad = ~np.asarray(jnp.isfinite(drawn.x0).all(axis=tuple(range(1, drawn.x0.ndim))))[real]
            yield Drawn(np.asarray(x)[real], real_labels, np.asarray(drawn.nfe)[real], int(bad.sum()), *trajectory), x

    def draw(self, variables: dict[str, Tree], num: int, seed: int, requested: np.ndarray | None = None) -> Drawn:
        """Draws all `num` samples and joins their batches."""
        return joined(num, (part for part, _ in self.batches(variables, num, seed, requested)))


def batch_for(num: int, most: int) -> int:
    """The batch size that draws `num` samples with little padding, at most `most`: a power of two."""
    return min(most, 2 ** (num - 1).bit_length())


def joined(num: int, parts: Iterable[Drawn]) -> Drawn:
    """Joins parts with `num` samples in all; frees each part, but for its trajectory, when the next is drawn."""
    x, label, nfe, trajectories, not_finite = Rows(num), Rows(num), Rows(num), [], 0
    for part in parts:
        x.add(part.x)
        label.add(part.label)
        trajectories.append((part.x_t, part.x0_hat))
        nfe.add(part.nfe)
        not_finite += part.not_finite
    trajectory = [None if p[0] is None else np.concatenate(p, axis=1) for p in zip(*trajectories, strict=True)]
    return Drawn(x.array, label.array, nfe.array, not_finite, *trajectory)
