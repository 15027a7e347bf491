"""The residual block of every UNet here. DDPM's, DDPM++'s, NCSN++'s and ADM's differ in a few switches."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.models.layers import Dropout, GroupNorm, conv, dense, downsample, upsample

MODULATIONS = ("shift", "scale_shift")


class ResidualBlock(nn.Module):
    """(x' + conv(dropout(swish(norm(conv(swish(norm(x))') + dense(condition)))))) * skip_scale.

    x [b, h, w, c], condition [b, k] after its swish, one dropout key per example or None, style [b, z] or None
    -> [b, h', w', features]. This is Ho et al. 2020, appendix B, where ' is the identity, except for a 1x1 convolution
    on x if the number of channels changes.

    With `change` "up" or "down", ' doubles or halves the side (Brock et al. 2019; Song et al. 2021, appendix H;
    Dhariwal & Nichol 2021, section 3.1). With `modulation` "scale_shift", the second norm is the last paper's AdaGN,
    norm(h) * (1 + scale) + shift with scale and shift dense in the condition, instead of norm(h + dense(condition)). A
    style modulates both norms in the same way, in place of their own scale and bias (Xiao et al. 2021, appendix C).
    """

    features: int
    dropout: float = 0.0
    modulation: str = "shift"
    change: str = ""  # of the resolution: "up", "down" or "" for none
    taps: tuple[int, ...] = (1, 1)  # the resampling filter
    project: bool = False  # a 1x1 convolution on x even if the number of channels is unchanged
    final_scale: float = 0.0  # initial size of the last convolution's weights, relative to Glorot's
    skip_scale: float = 1.0
    groups: int = 0
    eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        condition: Float[Array, "b k"],
        keys: Key[Array, "b"] | None,
        style: Float[Array, "b z"] | None = None,
    ) -> Float[Array, "b h2 w2 features"]:
        kwargs = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        change = {"up": upsample, "down": downsample, "": lambda x, taps: x}[self.change]

        def modulate(h, by, name, fan="fan_avg"):
            scale, shift = jnp.split(dense(2 * h.shape[-1], fan=fan, name=name, **kwargs)(by), 2, axis=-1)
            return h * (1 + scale[:, None, None]) + shift[:, None, None]

        def norm(h, name):
            h = GroupNorm(self.groups, self.eps, affine=style is None, name=name, **kwargs)(h)
            return h if style is None else modulate(h, style, f"{name}_style", "fan_out")  # as in Xiao et al.'s code

        h = change(nn.silu(norm(x, "norm_1")), self.taps)
        h = conv(self.features, name="conv_1", **kwargs)(h)
        if self.modulation == "shift":
            h = norm(h + dense(self.features, name="condition", **kwargs)(condition)[:, None, None], "norm_2")
        else:
            h = modulate(norm(h, "norm_2"), condition, "condition")
        h = Dropout(self.dropout, name="dropout")(nn.silu(h), keys)
        h = conv(self.features, variance=self.final_scale**2, name="conv_2", **kwargs)(h)

        x = change(x, self.taps)
        if self.project or x.shape[-1] != self.features:
            x = conv(self.features, size=1, name="shortcut", **kwargs)(x)
        return (x + h) * self.skip_scale
