"""DDPM's UNet."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.models.layers import Dropout, GroupNorm, SelfAttention, TimeAndLabel, conv, dense, upsample
from diffjax.parallel import Axis
from diffjax.precision import Precision


class ResidualBlock(nn.Module):
    """x + conv(dropout(swish(norm(conv(swish(norm(x))) + dense(condition))))), [b, h, w, c] -> [b, h, w, features].

    Ho et al. 2020, appendix B. `condition` [b, k] comes already through its swish. The last convolution starts at 0;
    where the number of channels changes, x goes through a 1x1 convolution.
    """

    features: int
    dropout: float
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x, condition, keys):
        kwargs = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        h = conv(self.features, name="conv_1", **kwargs)(nn.silu(GroupNorm(name="norm_1", **kwargs)(x)))
        h = h + dense(self.features, name="condition", **kwargs)(condition)[:, None, None]
        h = Dropout(self.dropout, name="dropout")(nn.silu(GroupNorm(name="norm_2", **kwargs)(h)), keys)
        h = conv(self.features, zero=True, name="conv_2", **kwargs)(h)
        if x.shape[-1] != self.features:
            x = conv(self.features, size=1, name="shortcut", **kwargs)(x)
        return x + h


class UNet(nn.Module):
    """The UNet of "Denoising Diffusion Probabilistic Models" (Ho et al. 2020, appendix B), a score network.

    x [b, h, w, c], t [b] (any scale), label [b] or None, one dropout key per example or None -> [b, h, w, c] in the
    parameters' format, exactly 0 before training. On 32x32x3 the defaults are the paper's network, 35.7M parameters.

    A resolution in `attention` that never occurs is not an error; the middle of the network attends always.
    Raises UserError when the image's sides cannot be halved between the levels, or a field makes no sense.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    channels: int = 128  # at the full resolution
    multipliers: tuple[int, ...] = (1, 2, 2, 2)  # channels / `channels` at each level; each further one halves the side
    blocks: int = 2  # residual blocks per level on the way down; one more on the way up
    attention: tuple[int, ...] = (16,)  # heights, in pixels, at which to attend after each residual block
    head_dim: int = 0  # channels of an attention head; 0: one head as wide as the channels (DDPM)
    dropout: float = 0.0  # fraction of activations dropped in each residual block; DDPM 0.1 on CIFAR-10, 0 elsewhere
    remat: bool = False  # recompute each block in the backward pass: memory of one block, a third more time

    def __post_init__(self):
        super().__post_init__()
        if len(self.shape) != 3:
            raise UserError(f"method.network: 'unet' needs images, but an example has shape {self.shape}; use 'mlp'")
        for field, low in (("channels", 1), ("blocks", 1), ("head_dim", 0)):
            if getattr(self, field) < low:
                raise UserError(f"method.network.{field}: {getattr(self, field)} must be at least {low}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise UserError(f"method.network.multipliers: {self.multipliers} must be one or more positive numbers")
        if not 0 <= self.dropout < 1:
            raise UserError(f"method.network.dropout: {self.dropout} must be at least 0 and less than 1")
        height, width, _ = self.shape
        halvings = len(self.multipliers) - 1
        if height % 2**halvings or width % 2**halvings:
            common = height | width  # its lowest set bit: the largest power of 2 that divides both sides
            most = (common & -common).bit_length()
            raise UserError(
                f"method.network.multipliers: {self.multipliers} halves a {height}x{width} image {halvings} times, but"
                f" its sides are not multiples of {2**halvings}; give at most {most} numbers"
            )
        attended = {self.channels * self.multipliers[-1]} | {
            self.channels * m for level, m in enumerate(self.multipliers) if height >> level in self.attention
        }
        if self.head_dim and any(width % self.head_dim for width in attended):
            raise UserError(
                f"method.network.head_dim: {self.head_dim} does not divide the channels attended over,"
                f" {sorted(attended)}; 0 means one head"
            )

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | None = None,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        kwargs = {"dtype": compute, "param_dtype": params}
        Residual, Attention = (
            (nn.remat(ResidualBlock), nn.remat(SelfAttention)) if self.remat else (ResidualBlock, SelfAttention)
        )
        residual = partial(Residual, dropout=self.dropout, **kwargs)
        attend = partial(Attention, head_dim=self.head_dim, **kwargs)

        def block(h, level, name):
            h = residual(self.channels * self.multipliers[level], name=name)(h, condition, keys)
            return attend(name=f"{name}_attention")(h) if h.shape[1] in self.attention else h

        condition = TimeAndLabel(self.channels, 4 * self.channels, self.num_classes, params, name="embedding")(t, label)
        condition = nn.silu(condition).astype(compute)  # every block begins with it: once is enough
        levels = range(len(self.multipliers))

        h = conv(self.channels, name="input", **kwargs)(x.astype(compute))
        skips = [h]
        for level in levels:
            for i in range(self.blocks):
                h = block(h, level, f"down_{level}_{i}")
                skips.append(h)
            if level != levels[-1]:
                h = conv(h.shape[-1], stride=2, name=f"down_{level}_sample", **kwargs)(h)
                skips.append(h)

        h = residual(h.shape[-1], name="middle_1")(h, condition, keys)
        h = attend(name="middle_attention")(h)
        h = residual(h.shape[-1], name="middle_2")(h, condition, keys)

        for level in reversed(levels):
            for i in range(self.blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), level, f"up_{level}_{i}")
            if level:
                h = conv(h.shape[-1], name=f"up_{level}_sample", **kwargs)(upsample(h))

        # The end runs in the parameters' format: a loss is a small difference, and one thin convolution costs little.
        kwargs = {"dtype": params, "param_dtype": params}
        h = nn.silu(GroupNorm(name="output_norm", **kwargs)(h))
        return conv(self.shape[-1], zero=True, name="output", **kwargs)(h)
