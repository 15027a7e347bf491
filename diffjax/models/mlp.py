"""A score network for points: a residual MLP."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffjax.models.embeddings import TimeAndLabel
from diffjax.models.fields import check_counts, check_dropout, check_points
from diffjax.models.layers import Dropout, dense
from diffjax.parallel import Axis
from diffjax.precision import Precision


class MLP(nn.Module):
    """A residual MLP for points, conditioned on time and label: x [b, d], t [b] -> [b, outputs * d].

    h <- h + W_2 dropout(swish(W_1 swish(h) + W_c condition)). This is the UNet's residual block without space and
    without normalisation, because the norm of a point's features is information. Exactly 0 before training; the output
    is in the parameters' dtype. Raises UserError when examples are not points, or a field is invalid.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # outputs per coordinate; 2 if the method also learns a variance
    width: int = 256  # features of a hidden layer
    depth: int = 4  # residual blocks, two layers each
    embedding: int = 64  # sines and cosines of t, as in DDPM: suits t in 0..999 and ln(sigma) / 4
    dropout: float = 0.0  # fraction of activations dropped in each block

    def __post_init__(self):
        super().__post_init__()
        check_points("network", self)
        check_counts("network", self, outputs=1, width=1, depth=1, embedding=2)
        check_dropout("network", self)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | None = None,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b outputs*d"]:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        linear = partial(dense, dtype=compute, param_dtype=params)
        condition = TimeAndLabel(self.embedding, self.width, self.num_classes, params, name="embedding")(t, label)
        condition = nn.silu(condition).astype(compute)
        h = linear(self.width, name="input")(x.astype(compute))
        for i in range(self.depth):
            branch = linear(self.width, name=f"block_{i}_1")(nn.silu(h)) + linear(
                self.width, name=f"block_{i}_condition"
            )(condition)
            branch = Dropout(self.dropout, name=f"block_{i}_dropout")(nn.silu(branch), keys)
            h = h + linear(self.width, variance=0.0, name=f"block_{i}_2")(branch)
        return dense(self.outputs * self.shape[0], variance=0.0, dtype=params, param_dtype=params, name="output")(
            nn.silu(h)
        )
