"""What a data set's examples are, and how they become the numbers a model sees, and back."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Space:
    """Images are stored as uint8 0..255 and modelled in [-1, 1]; points, stored as float32, are modelled standardised.
    Points may lie on a grid of pixels, as images of continuous greys do.

    The map is affine, x_model = (x_stored - shift) / scale, so that a density in one unit is known in the other; of
    points both may be given axis by axis.
    Categories, stored as uint8 0..values - 1, are modelled as what they are, integers.
    """

    kind: str  # "images", "points" or "categories"
    shape: tuple[int, ...]  # of one example: (height, width, channels) or (dimensions,)
    num_classes: int = 0  # 0: no labels
    shift: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    class_names: tuple[str, ...] = ()
    values: int = 0  # of each entry, where they are categories
    caption: int = 0  # bytes of a caption; 0: no captions
    prompts: tuple[str, ...] = ()  # captions to draw by where none are asked for
    encoder: Any = None  # a frozen one (diffjax.encoders), whose embeddings networks read; None: captions' bytes

    @property
    def annotations(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """What comes with every example: the shape and the type of each, by the name it has in a batch."""
        captions = {"caption": ((self.caption,), jnp.uint8)} if self.caption else {}
        embeddings = {"embedding": (self.encoder.shape, jnp.float32)} if self.encoder else {}
        return {"label": ((), jnp.int32)} | captions | embeddings

    @property
    def pictured(self) -> bool:
        """Whether an example is something to look at by itself."""
        return self.kind != "categories" and len(self.shape) == 3

    @property
    def stored(self):
        """The type in which examples are stored."""
        return jnp.float32 if self.kind == "points" else jnp.uint8

    def to_model(self, stored):
        """[..., *shape] in stored units -> float in model units, or int32 categories."""
        if self.kind == "categories":
            return stored.astype(jnp.int32)
        shift, scale = self._affine
        return (stored.astype(jnp.result_type(float)) - shift) / scale

    def from_model(self, x):
        """[..., *shape] in model units -> stored units: images are rounded and clipped to uint8 (once, here)."""
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
        """Shift and scale: numbers, which leave an array's type as it is, or arrays of the type models compute in."""
        kind = jnp.result_type(float)
        return (np.asarray(a, kind) if isinstance(a, tuple) else a for a in (self.shift, self.scale))
