"""The networks of denoising diffusion GANs (Xiao et al. 2021, appendix C). Both take x_t and t.

Initial weights have the sizes of the released code. Its initialiser for the discriminator, the mapping of z and the
modulation of norms is named after the mean of fan_in and fan_out, but divides by fan_out.
"""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.models import layers
from diffjax.models.embeddings import timestep_embedding
from diffjax.models.fields import check_counts, check_halvings
from diffjax.models.labels import LabelledLogit
from diffjax.models.layers import BILINEAR, downsample, initial
from diffjax.models.norms import minibatch_deviation, normalised
from diffjax.models.presets import NCSNpp
from diffjax.parallel import Axis
from diffjax.precision import Precision

dense, conv = (partial(layer, fan="fan_out") for layer in (layers.dense, layers.conv))


class DenoisingGenerator(NCSNpp):
    """z [b, latent], x_t [b, h, w, c], t [b], label [b] or None -> x0 [b, h, w, c] in (-1, 1).

    NCSN++ with every norm of its residual blocks modulated by a mapping of z. With `latent` 0 there is no z, and a
    single x0 for each x_t: the paper's ablation. `keys` are those of dropout, one per example; without them nothing is
    dropped. For 32x32x3 the defaults are the paper's network.
    """

    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    frequencies: str = "closed"
    final_scale: float = 0.0
    dropout: float = 0.0
    latent: int = 100  # dimensions of z
    mapping: int = 4  # dense layers of the mapping after its first
    style: int = 256  # width of the mapping

    slot: ClassVar = "generator"

    def __post_init__(self):
        super().__post_init__()
        check_counts(self.slot, self, latent=0, mapping=0, style=1)

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b latent"],
        x_t: Float[Array, "b h w c"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        style = None
        if self.latent:
            linear = partial(dense, self.style, dtype=self.precision.params, param_dtype=self.precision.params)
            style = normalised(z)
            for i in range(self.mapping + 1):
                style = nn.silu(linear(name=f"style_{i}")(style))
            style = style.astype(self.precision.compute)
        return nn.tanh(super().__call__(x_t, t, label, keys, style))


class DenoisingDiscriminator(nn.Module):
    """x_s [b, h, w, c], x_t [b, h, w, c], t [b], label [b] or None -> logits [b].

    Residual blocks of two convolutions with the time added between them, each but the first halving the sides; then a
    minibatch deviation channel, a convolution, and the sum over all pixels.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier
    width: int = 128  # channels of the first block
    multipliers: tuple[int, ...] = (1, 2, 4, 4)  # channels / width of each block
    embedding: int = 256  # features of the time embedding
    minibatch_std: int = 4  # group size of the deviation shown to the last layers; 0: none
    slope: float = 0.2  # of the leaky ReLU below zero

    def __post_init__(self):
        super().__post_init__()
        check_counts("discriminator", self, width=1, multipliers=1, embedding=2)
        if not self.multipliers:
            raise UserError("method.discriminator.multipliers: () must have at least one number, one for each block")
        check_halvings("discriminator", self, "multipliers", len(self.multipliers) - 1)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        x_t: Float[Array, "b h w c"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b"]:
        formats = self.precision.formats
        act = partial(nn.leaky_relu, negative_slope=self.slope)
        time = timestep_embedding(t, self.embedding)
        for i in range(2):
            time = act(dense(self.embedding, name=f"time_{i}", **formats)(time))

        h = jnp.concatenate([x, x_t], axis=-1).astype(self.precision.compute)
        h = conv(self.width, size=1, name="input", **formats)(h)
        for i, m in enumerate(self.multipliers):
            h = DownBlock(m * self.width, halve=i > 0, act=act, name=f"block_{i}", **formats)(h, time)
        h = minibatch_deviation(h, self.minibatch_std, self.is_initializing())
        h = act(conv(self.width * self.multipliers[-1], variance=0.0, name="last", **formats)(h))
        # These weights have a deviation of 1: of two consecutive layers that both start near zero, neither would grow.
        sizes = initial(1.0, "fan_out")
        logit = LabelledLogit(self.num_classes, self.precision, outputs=self.outputs, initial=sizes, name="logit")
        return logit(h.sum((1, 2)), label)


class DownBlock(nn.Module):
    """(shortcut(x)' + conv((act(conv(act(x)) + dense(time)))')) / sqrt(2), where ' halves the sides if `halve`."""

    features: int
    halve: bool
    act: Any
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], time: Float[Array, "b k"]) -> Float[Array, "b h2 w2 features"]:
        formats = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        change = partial(downsample, taps=BILINEAR) if self.halve else lambda x: x
        h = conv(self.features, name="conv_1", **formats)(self.act(x))
        h = h + dense(self.features, name="time", **formats)(time)[:, None, None]
        h = conv(self.features, variance=0.0, name="conv_2", **formats)(change(self.act(h)))
        return (h + conv(self.features, size=1, name="shortcut", use_bias=False, **formats)(change(x))) / 2**0.5
