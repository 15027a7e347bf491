"""The type of a data set's examples, and the maps between stored and model units."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Space:
    """The type of examples: images, points or categories.

    Images are stored as uint8 0..255 and modelled in [-1, 1]. Points are stored as float32 and modelled standardised;
    they may form a pixel grid, as images of continuous grey values do. Categories are stored as uint8 0..values - 1 and
    modelled as integers.

    The map of images and points is affine, x_model = (x_stored - shift) / scale, so that a density converts from one
    unit to the other; for points shift and scale may differ between axes.
    """

    kind: str  # "images", "points" or "categories"
    shape: tuple[int, ...]  # of one example: (height, width, channels) or (dimensions,)
    num_classes: int = 0  # 0: no labels
    shift: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    class_names: tuple[str, ...] = ()
    values: int = 0  # number of categories of each entry
    caption: int = 0  # bytes of a caption; 0: no captions
    prompts: tuple[str, ...] = ()  # default captions to sample for
    encoder: Any = None  # frozen text encoder (diffjax.encoders) that networks read; None: the bytes of captions

    @property
    def annotations(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """The annotations of every example: {name in a batch: (shape, dtype)}."""
        captions = {"caption": ((self.caption,), jnp.uint8)} if self.caption else {}
        embeddings = {"embedding": (self.encoder.shape, jnp.float32)} if self.encoder else {}
        return {"label": ((), jnp.int32)} | captions | embeddings

    @property
    def pictured(self) -> bool:
        """Whether an example can be shown as a picture."""
        return self.kind != "categories" and len(self.shape) == 3

    @property
    def stored(self):
        """The dtype in which examples are stored."""
        return jnp.float32 if self.kind == "points" else jnp.uint8

    def to_model(self, stored):
        """Maps [..., *shape] from stored units to float model units, or to int32 categories."""
        if self.kind == "categories":
            return stored.astype(jnp.int32)
        shift, scale = self._affine
        return (stored.astype(jnp.result_type(float)) - shift) / scale

    def from_model(self, x):
        """Maps [..., *shape] from model units to stored units; images are rounded and clipped to uint8, only here."""
        if self.kind == "categories":
            return x.astype(jnp.uint8)
        shift, scale = self._affine
        stored = x * scale + shift
        if self.kind == "images":
            return jnp.clip(jnp.round(stored), 0, 255).astype(jnp.uint8)
        return stored

    @property
    def log_det(self) -> float:
        """log |d x_model / d x_stored| of one example, in nats: add it to a log-density in model units."""
        return -float(np.prod(self.shape)) * float(np.mean(np.log(self.scale)))

    @property
    def _affine(self):
        """Shift and scale: Python numbers, which do not change an array's dtype, or arrays in the default float."""
        kind = jnp.result_type(float)
        return (np.asarray(a, kind) if isinstance(a, tuple) else a for a in (self.shift, self.scale))
