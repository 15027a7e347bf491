"""What StyleGAN2's networks are made of: equalised layers, and convolutions that a style modulates.

An equalised layer's weights start at N(0, 1), and are multiplied by their He factor whenever they are used, so that an
optimiser which forgets the size of a gradient, as Adam does, moves all layers at one pace (Karras et al. 2018, section
4.1). A layer's own `multiplier` slows it down.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.models.layers import ZERO, blur, downsample
from diffjax.precision import Precision

TAPS = (1, 3, 3, 1)  # the filter of every change of resolution
EPS = 1e-8  # beneath every root of a mean square, or of a sum of squares
UNIT = nn.initializers.normal(1.0)
convolve = partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
same = partial(convolve, window_strides=(1, 1), padding="SAME")


def activate(x: Array) -> Array:
    """sqrt(2) times a leaky ReLU of slope 0.2: about as large as what it is given."""
    return 2**0.5 * nn.leaky_relu(x, 0.2)


def normalised(x: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """x at a mean square of 1."""
    return x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPS)


def folded(keys: Key[Array, "b"], name: str) -> Key[Array, "b"]:
    """Keys for one of the things that are random in an example, by its name."""
    place = zlib.crc32(name.encode())  # Python's hash() differs from process to process
    return jax.vmap(lambda key: jax.random.fold_in(key, place))(keys)


# --------------------------------------------------------------------------------------------------- equalised layers


class EqualizedDense(nn.Module):
    """m (W x / sqrt(n) + b) of the last axis, n long; W starts at N(0, 1) / m and b at `bias`, m the multiplier."""

    features: int
    multiplier: float = 1.0  # of the learning rate, in effect
    bias: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n"]) -> Float[Array, "b features"]:
        size = nn.initializers.normal(1 / self.multiplier)
        kernel = self.param("kernel", size, (x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,), self.param_dtype)
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        return x @ (kernel * (self.multiplier * x.shape[-1] ** -0.5)) + bias * self.multiplier


class EqualizedConv(nn.Module):
    """A convolution of `size` x `size` pixels, W / sqrt(size^2 c), that halves the side if it is to: filtered first."""

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
            h = same(downsample(x, TAPS), kernel)
        else:
            h = convolve(blur(x, TAPS), kernel, (2, 2), "VALID")
        if self.use_bias:
            h = h + self.param("bias", ZERO, (self.features,), self.param_dtype).astype(self.dtype)
        return h


class Mapping(nn.Module):
    """z, at a mean square of 1, and beside it the label's embedding, likewise -> w [b, features] (either may be None).

    `layers` equalised linear maps, each followed by a leaky ReLU, that learn a hundred times as slowly as the rest.
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
    """A convolution of x with zeros between its pixels, wherever it is not zero.

    On a CPU as four convolutions of the pixels alone, one for each parity of row and column, nine weights in all. XLA's
    own is as fast forward and in its second derivative, but takes many times as long in the first, and so do these four
    if it is they that pad x: measured on one core, 8x8x64 in batches of 16, 80, 70 and 3 to 5 ms.
    """

    def native(x, kernel):
        return convolve(x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def by_parity(x, kernel):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        _, height, width, _ = x.shape

        def part(row, column):
            within = x[:, row : height - row, column : width - column]
            y = convolve(within, kernel[row::2, column::2], (1, 1), "VALID")
            return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), (row, row, 1), (column, column, 1), (0, 0, 0)))

        return part(0, 0) + part(0, 1) + part(1, 0) + part(1, 1)

    return lax.platform_dependent(x, kernel, cpu=by_parity, default=native)


def enlarged(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h 2*w o"]:
    """`upsample` and a 3x3 convolution, at a quarter of the cost: the filter comes last."""
    return 4 * blur(transposed(x, kernel), TAPS)[:, 1:-1, 1:-1]


def modulated(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "n m i o"],
    style: Float[Array, "b i"],
    demodulate: bool = True,
    convolution: Callable[[Array, Array], Array] = same,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution whose weights are w'_io = s_i w_io for each example, demodulated w'_io / sqrt(sum w'_io^2 + eps).

    The sum is over what an output is made of; Karras et al. 2020 ("StyleGAN2"), eq. 1 and 3. It is x that is multiplied
    by s, and the outcome that is divided: the same, with one kernel for all examples, where weights of their own would
    be a convolution in as many groups, which XLA's CPU differentiates slowly. In the format of x; the divisor in that
    of the style.
    """
    y = convolution(x * style[:, None, None].astype(x.dtype), kernel.astype(x.dtype))
    if not demodulate:
        return y
    power = jnp.matmul(style**2, jnp.sum(kernel**2, axis=(0, 1)), precision=lax.Precision.HIGHEST)
    return y * lax.rsqrt(power + EPS)[:, None, None].astype(x.dtype)


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, a bias and a leaky ReLU; x [b, h, w, c] at twice its side if it is to grow.

    The noise, one number a pixel from the example's own key, is as strong as is learned, 0 at first. There is none
    without keys.
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
    """Features [b, h, w, c] -> channels of an image: a modulated 1x1 convolution, not demodulated, and a bias."""

    features: int
    precision: Precision

    @nn.compact
    def __call__(self, x: Array, w: Float[Array, "b n"]) -> Array:
        params, channels = jnp.dtype(self.precision.params), x.shape[-1]
        style = EqualizedDense(channels, bias=1.0, dtype=params, param_dtype=params, name="style")(w) * channels**-0.5
        kernel = self.param("kernel", UNIT, (1, 1, channels, self.features), params)
        bias = self.param("bias", ZERO, (self.features,), params)
        return modulated(x, kernel, style, demodulate=False).astype(params) + bias
