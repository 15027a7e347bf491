"""The building blocks of StyleGAN2: equalised layers, and convolutions that a style modulates.

An equalised layer's weights start at N(0, 1) and are multiplied by their He factor in every forward pass. Under an
optimiser that is invariant to the scale of gradients, such as Adam, all layers then learn at one speed (Karras et al.
2018, section 4.1). A layer's `multiplier` slows it down.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.models.layers import BILINEAR, ZERO, blur, downsample, folded
from diffjax.models.norms import normalised
from diffjax.precision import Precision

EPS = 1e-8  # added to a sum of squares under a root
UNIT = nn.initializers.normal(1.0)
convolve = partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
same = partial(convolve, window_strides=(1, 1), padding="SAME")


def activate(x: Array) -> Array:
    """sqrt(2) times a leaky ReLU of slope 0.2, which roughly preserves the magnitude of its input."""
    return 2**0.5 * nn.leaky_relu(x, 0.2)


# --------------------------------------------------------------------------------------------------- equalised layers


class EqualizedDense(nn.Module):
    """m (W x / sqrt(n) + b) over the last axis of length n, with multiplier m. W starts at N(0, 1) / m, b at `bias`."""

    features: int
    multiplier: float = 1.0  # effective multiplier of the learning rate
    bias: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n"]) -> Float[Array, "b features"]:
        kernel_init = nn.initializers.normal(1 / self.multiplier)
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,), self.param_dtype)
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        return x @ (kernel * (self.multiplier * x.shape[-1] ** -0.5)) + bias * self.multiplier


class EqualizedConv(nn.Module):
    """A `size` x `size` convolution with weights W / sqrt(size^2 c); with `halve`, it filters and halves the side."""

    features: int
    size: int = 3
    halve: bool = False
    use_bias: bool = True
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 features"]:
        kernel = self.param("kernel", UNIT, (self.size, self.size, x.shape[-1], self.features), self.param_dtype)
        kernel = kernel.astype(self.dtype) * (self.size**2 * x.shape[-1]) ** -0.5
        x = x.astype(self.dtype)
        if not self.halve:
            h = same(x, kernel)
        elif self.size == 1:
            h = same(downsample(x, BILINEAR), kernel)
        else:
            h = convolve(blur(x, BILINEAR), kernel, (2, 2), "VALID")
        if self.use_bias:
            h = h + self.param("bias", ZERO, (self.features,), self.param_dtype).astype(self.dtype)
        return h


class Mapping(nn.Module):
    """z and the label's embedding, each scaled to a mean square of 1 and concatenated -> w [b, features].

    z or the label may be None. `layers` equalised linear maps, each followed by a leaky ReLU, that learn at a hundredth
    of the others' speed.
    """

    features: int
    layers: int
    num_classes: int
    formats: dict[str, Any]

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"] | None, label: Int[Array, "b"] | None) -> Array:
        parts = [] if z is None else [normalised(z.astype(self.formats["dtype"]))]
        if label is not None and self.num_classes:
            one_hot = jax.nn.one_hot(label, self.num_classes, dtype=self.formats["dtype"])
            parts.append(normalised(EqualizedDense(self.features, name="embed", **self.formats)(one_hot)))
        h = jnp.concatenate(parts, axis=-1)
        for i in range(self.layers):
            h = activate(EqualizedDense(self.features, 0.01, name=f"layer_{i}", **self.formats)(h))
        return h


# -------------------------------------------------------------------------------------------------------------- styles


def transposed(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h+1 2*w+1 o"]:
    """A transposed 3x3 convolution of stride 2: convolves x with zeros between its pixels; full padding.

    On a CPU it runs as four convolutions of the pixels alone, one per parity of row and column, with nine weights in
    all. XLA's own is as fast forward and in the second derivative, but many times slower in the first, and so are the
    four convolutions if they pad x themselves. Measured on one core with 8x8x64 in batches of 16, the first derivative
    takes XLA 80 ms, the padding variant 70 ms and this one 3 to 5 ms.
    """

    def native(x, kernel):
        return convolve(x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def by_parity(x, kernel):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        _, height, width, _ = x.shape

        def part(row, column):
            crop = x[:, row : height - row, column : width - column]
            y = convolve(crop, kernel[row::2, column::2], (1, 1), "VALID")
            return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), (row, row, 1), (column, column, 1), (0, 0, 0)))

        return part(0, 0) + part(0, 1) + part(1, 0) + part(1, 1)

    return lax.platform_dependent(x, kernel, cpu=by_parity, default=native)


def enlarged(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h 2*w o"]:
    """`upsample` followed by a 3x3 convolution, at a quarter of the cost because the filter comes last."""
    return 4 * blur(transposed(x, kernel), BILINEAR)[:, 1:-1, 1:-1]


def modulated(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "n m i o"],
    style: Float[Array, "b i"],
    demodulate: bool = True,
    convolution: Callable[[Array, Array], Array] = same,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with per-example weights w'_io = s_i w_io, demodulated to w'_io / sqrt(sum w'_io^2 + eps).

    The sum runs over the inputs of an output (Karras et al. 2020, "StyleGAN2", eq. 1 and 3). Here x is multiplied by s
    and the output divided by the root. This is equivalent, and uses one kernel for all examples; separate weights would
    be a grouped convolution, which XLA differentiates slowly on a CPU. Computed in the dtype of x, the divisor in that
    of the style.
    """
    y = convolution(x * style[:, None, None].astype(x.dtype), kernel.astype(x.dtype))
    if not demodulate:
        return y
    power = jnp.matmul(style**2, jnp.sum(kernel**2, axis=(0, 1)), precision=lax.Precision.HIGHEST)
    return y * lax.rsqrt(power + EPS)[:, None, None].astype(x.dtype)


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, a bias and a leaky ReLU. With `grow` it doubles the side of x [b, h, w, c].

    The noise is one number per pixel from the example's own key, with a learned strength that is 0 at first. There is
    no noise without keys.
    """

    features: int
    grow: bool
    precision: Precision

    @nn.compact
    def __call__(self, x: Array, w: Float[Array, "b n"], keys: Key[Array, "b"] | None) -> Array:
        params = jnp.dtype(self.precision.params)
        style = EqualizedDense(x.shape[-1], bias=1.0, dtype=params, param_dtype=params, name="style")(w)
        kernel = self.param("kernel", UNIT, (3, 3, x.shape[-1], self.features), params)
        bias, strength = self.param("bias", ZERO, (self.features,), params), self.param("noise", ZERO, (), params)
        h = modulated(x, kernel, style, convolution=enlarged if self.grow else same)
        if keys is not None:
            keys = folded(keys, "/".join(self.path))
            noise = jax.vmap(lambda key: jax.random.normal(key, (*h.shape[1:3], 1), params))(keys)
            h = h + (strength * noise).astype(h.dtype)
        return activate(h + bias.astype(h.dtype))


class StyledImage(nn.Module):
    """Features [b, h, w, c] -> image channels: a modulated 1x1 convolution without demodulation, and a bias."""

    features: int
    precision: Precision

    @nn.compact
    def __call__(self, x: Array, w: Float[Array, "b n"]) -> Array:
        params, channels = jnp.dtype(self.precision.params), x.shape[-1]
        style = EqualizedDense(channels, bias=1.0, dtype=params, param_dtype=params, name="style")(w) * channels**-0.5
        kernel = self.param("kernel", UNIT, (1, 1, channels, self.features), params)
        bias = self.param("bias", ZERO, (self.features,), params)
        return modulated(x, kernel, style, demodulate=False).astype(params) + bias
