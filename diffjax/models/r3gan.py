"""The networks of R3GAN (Huang et al. 2024, section 3.4): one kind of residual block, resampling, and no normalisation.

The generator multiplies a learned map of 4x4 to 7x7 pixels by a linear map of z, channel by channel. At each side
follow some blocks, between sides it resamples, and a 1x1 convolution makes the image. The discriminator is its mirror
image. Weights are initialised so that layers preserve the variance of their input and blocks are exactly the identity:
see `Block`. All widths, filters and orders follow the authors' code. So do the defaults, for CIFAR-10: 20.7M parameters
each.
"""

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.models import labels
from diffjax.models.fields import check_choice, check_counts, stages_for
from diffjax.models.layers import BILINEAR, ZERO, downsample, upsample
from diffjax.models.norms import minibatch_deviation
from diffjax.parallel import Axis
from diffjax.precision import Precision

SLOPE = 0.2  # of the leaky ReLU below zero
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # compensates the leaky ReLU's loss of magnitude (He et al. 2015, eq. 15)


def fan_in_normal(gain: float = 1.0) -> nn.initializers.Initializer:
    """Normal with standard deviation `gain` / sqrt(fan_in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def grouped_convolution(x, kernel, window_strides, padding, *, feature_group_count, **kwargs):
    """`lax.conv_general_dilated` of channels-last features; on a CPU as one convolution per group.

    On a CPU XLA's grouped convolution is as fast forward, but 20 to 80 times slower in its first and second
    derivatives: measured on 2 cores with 16x16x64 in batches of 16 and 8 groups, forward 3, first 254, second 506 ms.
    Products of patches, without any convolution, take 3 to 9 times as long as this in the second derivative.
    """
    convolution = partial(lax.conv_general_dilated, window_strides=window_strides, padding=padding, **kwargs)
    native = partial(convolution, feature_group_count=feature_group_count)

    def per_group(x, kernel):
        groups = zip(*(jnp.split(array, feature_group_count, axis=-1) for array in (x, kernel)), strict=True)
        return jnp.concatenate([convolution(*group) for group in groups], axis=-1)

    return lax.platform_dependent(x, kernel, cpu=per_group, default=native)


class Block(nn.Module):
    """x + W_3 f(W_2 f(W_1 x)), f the leaky ReLU of its input plus a bias, W_2 grouped 3x3, W_1 and W_3 1x1.

    W_3 starts at 0, so that the block is the identity. W_1 and W_2 start at the size of He et al. times blocks^(-1/4),
    after Fixup (Zhang et al. 2019): an update of all `blocks` in the network then changes its output as much as an
    update of one block in a network of one.
    """

    hidden: int  # channels inside
    groups: int  # of W_2
    blocks: int  # in the whole network
    formats: dict[str, Any]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        conv = partial(nn.Conv, kernel_init=fan_in_normal(GAIN * self.blocks**-0.25), **self.formats)
        group_kwargs = {"feature_group_count": self.groups, "conv_general_dilated": grouped_convolution}
        h = nn.leaky_relu(conv(self.hidden, (1, 1), name="expand")(x), SLOPE)
        h = nn.leaky_relu(conv(self.hidden, (3, 3), name="grouped", **group_kwargs)(h), SLOPE)
        contract = nn.Conv(x.shape[-1], (1, 1), use_bias=False, kernel_init=ZERO, name="contract", **self.formats)
        return x + contract(h)


def stage(x: Array, number: int, width: int, network: nn.Module, formats: dict[str, Any]) -> Array:
    """The blocks of one side, named block_{number}_0, block_{number}_1, ... Called inside a network's `__call__`."""
    hidden = network.expansion * width
    for i in range(network.blocks[number]):
        block = Block(hidden, hidden // network.group, sum(network.blocks), formats, name=f"block_{number}_{i}")
        x = block(x)
    return x


def check_stages(slot: str, network: nn.Module) -> None:
    """Raises UserError unless widths, blocks and group fit the images."""
    check_counts(slot, network, widths=1, blocks=0, expansion=1, group=1)
    doublings, smallest = stages_for(slot, network)
    for field in ("widths", "blocks"):
        if len(getattr(network, field)) != doublings + 1:
            size = "x".join(map(str, network.shape))
            raise UserError(
                f"method.{slot}.{field}: {getattr(network, field)} must have {doublings + 1} numbers for {size}, "
                f"one for each side from {smallest[0]} to {network.shape[0]}"
            )
    for width in network.widths:
        if network.expansion * width % network.group:
            raise UserError(
                f"method.{slot}.group: {network.group} does not divide {network.expansion} times the width {width}"
            )


class R3GANGenerator(nn.Module):
    """z [b, latent] -> images [b, *shape], unbounded: blocks, upsampling, blocks, ..., and a 1x1 convolution.

    A label's embedding is concatenated to z. Raises UserError for unsupported sizes.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 64  # dimensions of z
    widths: tuple[int, ...] = (768, 768, 768, 768)  # channels at each side, from the smallest
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # at each side
    expansion: int = 2  # channels inside a block, relative to those outside
    group: int = 16  # channels per group of the 3x3 convolutions; the paper's "cardinality" is the number of groups, 96
    embedding: int = 64  # dimensions of a label's embedding

    def __post_init__(self):
        super().__post_init__()
        check_stages("generator", self)
        check_counts("generator", self, latent=1, embedding=1 if self.num_classes else 0)  # 0 would ignore the label

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        _, (height, width) = stages_for("generator", self)
        formats = self.precision.formats
        kwargs = {"use_bias": False, "kernel_init": fan_in_normal(), **formats}
        if label is not None and self.num_classes:
            embedding_init = nn.initializers.normal(self.num_classes**-0.5)
            embed = nn.Embed(self.num_classes, self.embedding, embedding_init=embedding_init, name="embed", **formats)
            z = jnp.concatenate([z, embed(label)], axis=-1)
        basis = self.param(
            "basis", nn.initializers.normal(1.0), (height, width, self.widths[0]), jnp.dtype(self.precision.params)
        )
        h = nn.Dense(self.widths[0], name="modulate", **kwargs)(z)[:, None, None] * basis.astype(formats["dtype"])
        for i, channels in enumerate(self.widths):
            if i:
                if channels != h.shape[-1]:
                    h = nn.Conv(channels, (1, 1), name=f"project_{i}", **kwargs)(h)
                h = upsample(h, BILINEAR)
            h = stage(h, i, channels, self, formats)
        return nn.Conv(self.shape[-1], (1, 1), name="image", **kwargs)(h).astype(self.precision.params)


class R3GANDiscriminator(nn.Module):
    """Images [b, *shape] in model units -> logits [b]: a 1x1 convolution, blocks, downsampling, blocks, ..., a basis.

    The basis sums the pixels of the smallest map with learned weights, separate for each channel. A linear map then
    makes the logit. With labels it makes a vector instead, whose inner product with the label's embedding is the logit
    (projection, without an unconditional term); "concat" adds the label to the image's channels instead. Raises
    UserError for unsupported sizes.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier, which is shown no label
    widths: tuple[int, ...] = (768, 768, 768, 768)  # channels at each side, from the smallest, as in the generator
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # at each side
    expansion: int = 2  # channels inside a block, relative to those outside
    group: int = 16  # channels per group of the 3x3 convolutions
    conditioning: str = "projection"  # how labels enter; or "concat"
    minibatch_std: int = 0  # group size of the deviation shown to the basis; 0: none

    def __post_init__(self):
        super().__post_init__()
        check_choice("discriminator", self, "conditioning", labels.DISCRIMINATOR)
        check_stages("discriminator", self)

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        formats = self.precision.formats
        kwargs = {"use_bias": False, "kernel_init": fan_in_normal(), **formats}
        concat = self.conditioning == "concat"
        x = labels.with_label_planes(x, label if concat else None, self.num_classes)
        h = nn.Conv(self.widths[-1], (1, 1), name="input", **kwargs)(x)
        for i, channels in reversed(list(enumerate(self.widths))):
            h = stage(h, i, channels, self, formats)
            if i:
                h = downsample(h, BILINEAR)
                if self.widths[i - 1] != channels:
                    h = nn.Conv(self.widths[i - 1], (1, 1), name=f"project_{i}", **kwargs)(h)

        # Logits are computed in the parameters' dtype, because losses take their differences.
        params = jnp.dtype(self.precision.params)
        kwargs |= {"dtype": params}
        h = minibatch_deviation(h.astype(params), self.minibatch_std, self.is_initializing())
        _, height, width, channels = h.shape
        basis_init = nn.initializers.normal((height * width) ** -0.5)
        basis = self.param("basis", basis_init, (height, width, channels), params)
        h = jnp.einsum("bhwc,hwc->bc", h, basis)
        if label is None or not self.num_classes or concat:
            logits = nn.Dense(self.outputs, name="logit", **kwargs)(h)
        else:
            dimensions = self.widths[0]
            embedding_init = nn.initializers.normal((dimensions * self.num_classes) ** -0.5)
            embed = nn.Embed(
                self.num_classes, dimensions, embedding_init=embedding_init, name="embed", param_dtype=params
            )
            logits = jnp.sum(nn.Dense(dimensions, name="logit", **kwargs)(h) * embed(label), axis=-1, keepdims=True)
        return logits if self.outputs > 1 else logits[:, 0]
