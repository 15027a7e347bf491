"""Residual GAN networks: SNGAN's, WGAN-GP's and BigGAN's for CIFAR-10, which differ in a few switches.

The defaults are SNGAN's (Miyato et al. 2018, table 4): 4.3M and 1.1M parameters. WGAN-GP's (Gulrajani et al. 2017,
appendix F) are 128 wide, average where SNGAN's discriminator sums, and have no spectral normalisation. BigGAN's (Brock
et al. 2019) are the subclasses at the end of this file. Sides are 4, 5, 6 or 7 times a power of two, as for DCGAN.

Two operations are reordered without changing the result: a shortcut's 1x1 convolution comes before its upsampling and
after its downsampling, where it has a quarter of the pixels.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.models import labels
from diffjax.models.fields import check_choice, check_counts, check_halvings, stages_for
from diffjax.models.labels import LabelledLatent, LabelledLogit
from diffjax.models.layers import attend, downsample, initial, upsample
from diffjax.models.norms import ConditionalBatchNorm, Layers, minibatch_deviation
from diffjax.parallel import Axis
from diffjax.precision import Precision

INITIALS = ("glorot", "orthogonal")


def kernel_init(name: str, variance: float = 1.0) -> nn.initializers.Initializer:
    """Glorot's uniform distribution with `variance` times its variance, or an orthogonal matrix (column per output)."""
    return initial(variance) if name == "glorot" else nn.initializers.orthogonal()


class PixelAttention(nn.Module):
    """x + gamma W_o softmax(q k^T) v over all pixels, with gamma = 0 at first (Zhang et al. 2019, SAGAN, eq. 1-3).

    Queries and keys have an eighth of the channels, values half. Keys and values are max-pooled over 2x2 pixels. All
    maps are 1x1 convolutions without bias. [b, h, w, c] -> the same, h and w even.
    """

    layers: Layers
    initial: str
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, height, width, c = x.shape
        conv = partial(self.layers.conv, size=1, use_bias=False, kernel_init=kernel_init(self.initial))

        def pool(h):  # as a maximum over axes, for which XLA has derivatives of every order
            h = h.reshape(b, height // 2, 2, width // 2, 2, -1).max((2, 4))
            return h.reshape(b, height * width // 4, 1, -1)

        qk_channels = max(1, c // 8)
        q = conv(qk_channels, name="q")(x).reshape(b, height * width, 1, qk_channels)
        k = pool(conv(qk_channels, name="k")(x))
        v = pool(conv(max(1, c // 2), name="v")(x))
        context = attend(q * qk_channels**0.5, k, v)  # SAGAN does not divide by sqrt(d) as `attend` does
        gamma = self.param("gamma", nn.initializers.zeros_init(), (), jnp.dtype(self.param_dtype))
        out = conv(c, name="out")(context.reshape(b, height, width, -1))
        return x + gamma.astype(x.dtype) * out


class ResGenerator(nn.Module):
    """z [b, latent] -> images [b, *shape] in (-1, 1): one residual block for each doubling of the side.

    A block is x' + conv(relu(norm(conv(relu(norm(x))')))), where ' is nearest-neighbour upsampling, and on x also a 1x1
    convolution. Raises UserError for unsupported sizes and incompatible fields.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 128  # dimensions of z
    width: int = 256  # channels
    multipliers: tuple[int, ...] = ()  # of the width, at the smallest side and after each block; () means 1 everywhere
    norm: str = "batch"  # before each ReLU; or "none"
    spectral_norm: bool = False  # of all layers but embeddings (Zhang et al. 2019)
    attention: tuple[int, ...] = ()  # heights at which self-attention follows the block
    conditioning: str = "batch_norm"  # how labels enter; or "concat"
    embedding: int = 0  # dimensions of a label embedding shared by all norms; 0: each norm has its own row per class
    hierarchical: bool = False  # also condition each block's norms on its own part of z
    initial: str = "glorot"  # initial weights, sqrt(2) times as large within blocks; or "orthogonal"

    def __post_init__(self):
        super().__post_init__()
        check_choice("generator", self, "norm", ("batch", "none"))
        check_choice("generator", self, "conditioning", labels.GENERATOR)
        check_choice("generator", self, "initial", INITIALS)
        check_counts("generator", self, latent=1, width=1, multipliers=1, embedding=0)
        if self.norm == "none" and self.hierarchical:
            raise UserError("method.generator.hierarchical: true needs method.generator.norm to be 'batch'")
        if self.num_classes and self.conditioning == "batch_norm":
            if self.norm == "none":
                raise UserError("method.generator.conditioning: 'batch_norm' needs method.generator.norm to be 'batch'")
            if self.hierarchical and not self.embedding:
                raise UserError("method.generator.embedding: 0 must be at least 1 for method.generator.hierarchical")
        self._layout()

    def _layout(self) -> tuple[int, tuple[int, int], list[int]]:
        """Number of doublings, smallest sides, and channels before the first block and after each."""
        doublings, smallest = stages_for("generator", self)
        multipliers = self.multipliers or (1,) * (doublings + 1)
        if len(multipliers) != doublings + 1:
            raise UserError(
                f"method.generator.multipliers: {multipliers} must be () or {doublings + 1} numbers, for the smallest "
                f"side and after each of {doublings} blocks"
            )
        sizes = [(smallest[0] * 2**i, smallest[1] * 2**i) for i in range(1, doublings + 1)]
        check_attention("generator", self.attention, sizes)
        if self.hierarchical and self.latent % (doublings + 1):
            raise UserError(
                f"method.generator.latent: {self.latent} must be a multiple of {doublings + 1}, the parts of z"
            )
        return doublings, smallest, [self.width * multiplier for multiplier in multipliers]

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        doublings, (height, width), channels = self._layout()
        formats = self.precision.formats
        layers = Layers(self.spectral_norm, train, **formats)
        init, block_init = kernel_init(self.initial), kernel_init(self.initial, 2.0)
        label = label if self.num_classes else None
        concat = self.conditioning == "concat"

        def activate(h, name, condition=None):
            if self.norm == "batch":
                norm = ConditionalBatchNorm(
                    train,
                    self.axis.name,
                    self.num_classes,
                    spectral_norm=self.spectral_norm,
                    kernel_init=init,
                    name=name,
                    **formats,
                )
                h = norm(h, condition)
            return nn.relu(h)

        z, *z_parts = jnp.split(z, doublings + 1, axis=-1) if self.hierarchical else (z, *[None] * doublings)
        y = None if concat else label
        if self.embedding and y is not None:
            embedding_init = (
                nn.initializers.orthogonal() if self.initial == "orthogonal" else nn.initializers.normal(1.0)
            )
            y = nn.Embed(self.num_classes, self.embedding, embedding_init=embedding_init, name="embed", **formats)(y)
        h = LabelledLatent(self.num_classes, self.precision, name="labelled")(z, label if concat else None)
        h = layers.dense(height * width * channels[0], kernel_init=init, name="project")(h)
        h = h.reshape(-1, height, width, channels[0])
        for i, features in enumerate(channels[1:]):
            z_part = z_parts[i]
            condition = y if z_part is None else z_part if y is None else jnp.concatenate([y, z_part], axis=-1)
            x = upsample(layers.conv(features, size=1, kernel_init=init, name=f"shortcut_{i}")(h))
            h = upsample(activate(h, f"norm_{i}_1", condition))
            h = layers.conv(features, kernel_init=block_init, name=f"conv_{i}_1")(h)
            h = activate(h, f"norm_{i}_2", condition)
            h = x + layers.conv(features, kernel_init=block_init, name=f"conv_{i}_2")(h)
            if h.shape[1] in self.attention:
                h = PixelAttention(layers, self.initial, self.precision.params, name=f"attention_{i}")(h)
        x = layers.conv(self.shape[-1], kernel_init=init, name="image")(activate(h, "norm"))
        return nn.tanh(x.astype(self.precision.params))


class ResDiscriminator(nn.Module):
    """Images [b, *shape] in model units -> logits [b]: residual blocks, the first of which halve the side.

    A block is x' + conv(relu(conv(relu(x))))', where ' is the mean of 2x2 pixels, and on x also a 1x1 convolution if
    its shape changes; the first block has no initial ReLU. Then follow a ReLU, the sum or mean over the pixels, and a
    linear map. Raises UserError for sizes that cannot be halved that often, and for incompatible fields.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier
    width: int = 128  # channels
    multipliers: tuple[int, ...] = (1, 1, 1, 1)  # of the width, one for each block
    halvings: int = 2  # number of blocks, from the first, that halve the side
    spectral_norm: bool = True  # of every layer (Miyato et al. 2018)
    attention: tuple[int, ...] = ()  # heights at which self-attention follows the first block of that height
    pooling: str = "sum"  # over the last pixels; or "mean"
    conditioning: str = "projection"  # how labels enter; or "concat"
    minibatch_std: int = 0  # group size of the deviation shown to the last ReLU; 0: none
    initial: str = "glorot"  # initial weights, sqrt(2) times as large within blocks; or "orthogonal"

    def __post_init__(self):
        super().__post_init__()
        check_choice("discriminator", self, "conditioning", labels.DISCRIMINATOR)
        check_choice("discriminator", self, "pooling", ("sum", "mean"))
        check_choice("discriminator", self, "initial", INITIALS)
        check_counts("discriminator", self, width=1, multipliers=1)
        if not self.multipliers:
            raise UserError("method.discriminator.multipliers: () must have at least one number, one for each block")
        if not 0 <= self.halvings <= len(self.multipliers):
            raise UserError(
                f"method.discriminator.halvings: {self.halvings} must be 0 to {len(self.multipliers)}, one per block"
            )
        check_halvings("discriminator", self, "halvings", self.halvings)
        check_attention("discriminator", self.attention, self._sizes())

    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width after each block."""
        factors = [2 ** min(i + 1, self.halvings) for i in range(len(self.multipliers))]
        return [(self.shape[0] // factor, self.shape[1] // factor) for factor in factors]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        formats = self.precision.formats
        layers = Layers(self.spectral_norm, train, **formats)
        init, block_init = kernel_init(self.initial), kernel_init(self.initial, 2.0)
        concat, heights = self.conditioning == "concat", [height for height, _ in self._sizes()]
        h = labels.with_label_planes(x, label if concat else None, self.num_classes)
        for i, multiplier in enumerate(self.multipliers):
            features = self.width * multiplier
            change = downsample if i < self.halvings else lambda x: x
            x = change(h)
            if i < self.halvings or features != h.shape[-1]:
                x = layers.conv(features, size=1, kernel_init=init, name=f"shortcut_{i}")(x)
            h = layers.conv(features, kernel_init=block_init, name=f"conv_{i}_1")(nn.relu(h) if i else h)
            h = layers.conv(features, kernel_init=block_init, name=f"conv_{i}_2")(nn.relu(h))
            h = x + change(h)
            if heights[i] in self.attention and heights[i] not in heights[:i]:
                h = PixelAttention(layers, self.initial, self.precision.params, name=f"attention_{i}")(h)
        h = nn.relu(minibatch_deviation(h, self.minibatch_std, self.is_initializing()))
        h = {"sum": jnp.sum, "mean": jnp.mean}[self.pooling](h, axis=(1, 2))
        logit = LabelledLogit(
            self.num_classes,
            self.precision,
            outputs=self.outputs,
            spectral_norm=self.spectral_norm,
            initial=init,
            name="logit",
        )
        return logit(h, None if concat else label, train)


def check_attention(slot: str, asked: tuple[int, ...], sizes: list[tuple[int, int]]) -> None:
    """Raises UserError unless every requested height occurs in the network, in an image that can be halved."""
    allowed = list(dict.fromkeys(height for height, width in sizes if height % 2 == 0 == width % 2))
    for height in asked:
        if height not in allowed:
            options = f"can be {', '.join(map(str, allowed))}" if allowed else "must be (), as no image can be halved"
            raise UserError(f"method.{slot}.attention: {height} is no height to attend at; it {options}")


class BigGANGenerator(ResGenerator):
    """BigGAN's generator for CIFAR-10 with `ch` 64: 4.3M parameters (Brock et al. 2019, appendix B and C.2).

    z is split into 4 parts of 20; each norm is linear in the label's embedding and one part.
    """

    latent: int = 80
    spectral_norm: bool = True
    embedding: int = 128
    hierarchical: bool = True
    initial: str = "orthogonal"


class BigGANDiscriminator(ResDiscriminator):
    """BigGAN's discriminator for CIFAR-10 with `ch` 64: 4.3M parameters."""

    width: int = 256
    initial: str = "orthogonal"
