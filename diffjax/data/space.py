"""What a data set's examples are, and how they become the numbers a model sees, and back."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Space:
    """Images are stored as uint8 0..255 and modelled in [-1, 1]; points, stored as float32, are modelled standardised.

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
