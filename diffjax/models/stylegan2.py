"""The two networks of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A mapping network turns z into a style w. The synthesis network starts from a learned constant of 4x4 to 7x7 pixels.
Each of its convolutions is modulated by w and adds its own noise. At each side it emits an image, which is added to the
upsampled image of the previous side. The discriminator is a plain or residual stack down to the smallest side. Orders,
constants and defaults are those of the authors' code for StyleGAN2-ADA, but for `mixing`, which is off here; the
defaults are for images of 1024 pixels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.models.fields import check_choice, check_counts, stages_for
from diffjax.models.layers import BILINEAR, folded, upsample
from diffjax.models.modulated import (
    UNIT,
    EqualizedConv,
    EqualizedDense,
    Mapping,
    StyledConv,
    StyledImage,
    activate,
)
from diffjax.models.norms import minibatch_deviation
from diffjax.parallel import Axis
from diffjax.precision import Precision

FORGETS = 0.005  # weight of a batch's mean in the running mean style
ARCHITECTURES = ("orig", "resnet")


def widths_for(slot: str, network: nn.Module) -> tuple[tuple[int, int], list[int]]:
    """The smallest height and width, and the channels at each side from there on.

    At a side there are min(channel_base / side, channel_max) channels. Raises UserError for unsupported sizes.
    """
    doublings, smallest = stages_for(slot, network)
    check_counts(slot, network, channel_base=max(network.shape[:2]), channel_max=1)
    sides = [max(smallest) * 2**n for n in range(doublings + 1)]
    return smallest, [min(network.channel_base // side, network.channel_max) for side in sides]


class Synthesis(nn.Module):
    """Styles [b, layers, n] -> images [b, *shape]: two layers for each side, one for the first, and an image.

    The image of a side is made with the style of the next side's first layer.
    """

    shape: tuple[int, ...]
    smallest: tuple[int, int]
    widths: tuple[int, ...]
    precision: Precision

    @nn.compact
    def __call__(self, styles: Float[Array, "b layers n"], keys: Key[Array, "b"] | None) -> Array:
        constant = self.param("constant", UNIT, (*self.smallest, self.widths[0]), jnp.dtype(self.precision.params))
        h, image = jnp.broadcast_to(constant.astype(self.precision.compute), (len(styles), *constant.shape)), 0.0
        for i, channels in enumerate(self.widths):
            if i:
                grow = StyledConv(channels, True, self.precision, name=f"grow_{i}")
                h = grow(h, styles[:, 2 * i - 1], keys)
                image = upsample(image, BILINEAR)
            h = StyledConv(channels, False, self.precision, name=f"conv_{i}")(h, styles[:, 2 * i], keys)
            to_image = StyledImage(self.shape[-1], self.precision, name=f"image_{i}")
            image = image + to_image(h, styles[:, 2 * i + 1])
        return image


class StyleGAN2Generator(nn.Module):
    """z [b, latent] -> images [b, *shape], unbounded: `draw(styles(z))`, with noise from the examples' own keys.

    The collection "styles" holds the running mean of w in training, over all labels, towards which samples can be
    pulled (`psi`). Raises UserError for unsupported sizes.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 512  # dimensions of z
    style: int = 512  # dimensions of w, of a label's embedding and of the mapping's layers
    mapping_layers: int = 8  # layers of the mapping
    channel_base: int = 32_768  # channels at a side, times the side
    channel_max: int = 512  # at any side
    mixing: float = 0.0  # probability, in training, that later layers use the style of another z; 0.9 in the paper

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.mixing <= 1:
            raise UserError(f"method.generator.mixing: {self.mixing} must be a probability between 0 and 1")
        check_counts("generator", self, latent=1, style=1, mapping_layers=1)
        widths_for("generator", self)

    def setup(self):
        smallest, widths = widths_for("generator", self)
        params = jnp.dtype(self.precision.params)
        formats = {"dtype": params, "param_dtype": params}  # styles affect everything, so they are not rounded
        self.mapping = Mapping(self.style, self.mapping_layers, self.num_classes, formats)
        self.synthesis = Synthesis(self.shape, smallest, tuple(widths), self.precision)
        self.mean = self.variable("styles", "mean", jnp.zeros, (self.style,), params)
        self.layers = 2 * len(widths)

    def __call__(
        self,
        z: Float[Array, "b latent"],
        label: Int[Array, "b"] | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
        psi: float = 1.0,
    ) -> Array:
        return self.draw(self.styles(z, label, keys, train, psi), keys)

    def styles(
        self,
        z: Float[Array, "b latent"],
        label: Int[Array, "b"] | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
        psi: float = 1.0,
    ) -> Float[Array, "b layers style"]:
        """One style per layer: w for all, or in training possibly that of another z from some layer on.

        `psi` 1 leaves them unchanged, 0 replaces them by the mean style (Karras et al. 2019, section 4.2).
        """
        w = self.mapping(z, label)
        if train and self.is_mutable_collection("styles") and not self.is_initializing():
            mean = self.axis.mean(jnp.mean(lax.stop_gradient(w), axis=0))
            self.mean.value = self.mean.value + FORGETS * (mean - self.mean.value)
        styles = jnp.broadcast_to(w[:, None], (len(w), self.layers, self.style))
        if train and self.mixing and keys is not None:
            styles = self._mixed(styles, z, label, folded(keys, "mixing"))
        return self.mean.value + psi * (styles - self.mean.value) if psi != 1 else styles

    def draw(self, styles: Float[Array, "b layers style"], keys: Key[Array, "b"] | None = None) -> Array:
        """The images of styles, with noise from the keys, or without noise."""
        return self.synthesis(styles, keys)

    def _mixed(self, styles: Array, z: Array, label: Array | None, keys: Key[Array, "b"]) -> Array:
        """With probability `mixing`, uses another z's styles from a random layer on, uniform but not the first."""

        def draw(key):
            z_key, layer_key, coin_key = jax.random.split(key, 3)
            layer = jax.random.randint(layer_key, (), 1, self.layers)
            is_mixed = jax.random.uniform(coin_key) < self.mixing
            return jax.random.normal(z_key, z.shape[1:], z.dtype), is_mixed & (jnp.arange(self.layers) >= layer)

        z_other, mask = jax.vmap(draw)(keys)
        return jnp.where(mask[..., None], self.mapping(z_other, label)[:, None], styles)


class StyleGAN2Discriminator(nn.Module):
    """Images [b, *shape] in model units -> logits [b]: two convolutions at each side, the second of which halves it.

    At the smallest side come minibatch deviation, a convolution and a dense layer. The logit is linear in the result;
    with labels it is the inner product of a linear map with a mapping of the label, divided by the square root of their
    dimension. Raises UserError for unsupported sizes.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier, which is shown no label
    channel_base: int = 32_768  # channels at a side, times the side
    channel_max: int = 512  # at any side
    architecture: str = "resnet"  # residual blocks; or "orig", without shortcuts
    mapping_layers: int = 8  # layers of the label's mapping
    minibatch_std: int = 4  # group size of the deviation shown to the last convolution; 0: none

    def __post_init__(self):
        super().__post_init__()
        check_choice("discriminator", self, "architecture", ARCHITECTURES)
        check_counts("discriminator", self, mapping_layers=1)
        widths_for("discriminator", self)

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        _, widths = widths_for("discriminator", self)
        formats = self.precision.formats
        h = activate(EqualizedConv(widths[-1], 1, name="input", **formats)(x))
        for i in reversed(range(1, len(widths))):
            block_input = h
            h = activate(EqualizedConv(widths[i], name=f"conv_{i}", **formats)(h))
            h = activate(EqualizedConv(widths[i - 1], halve=True, name=f"halve_{i}", **formats)(h))
            if self.architecture == "resnet":
                shortcut = EqualizedConv(widths[i - 1], 1, True, False, name=f"shortcut_{i}", **formats)
                h = 0.5**0.5 * (h + shortcut(block_input))

        # The last layers run in the parameters' dtype, because losses take differences of logits.
        formats["dtype"] = formats["param_dtype"]
        h = minibatch_deviation(h.astype(formats["dtype"]), self.minibatch_std, self.is_initializing())
        h = activate(EqualizedConv(widths[0], name="last", **formats)(h))
        h = activate(EqualizedDense(widths[0], name="features", **formats)(h.reshape(len(h), -1)))
        if label is None or not self.num_classes:
            logits = EqualizedDense(self.outputs, name="logit", **formats)(h)
        else:
            label_embedding = Mapping(widths[0], self.mapping_layers, self.num_classes, formats, name="mapping")(
                None, label
            )
            features = EqualizedDense(widths[0], name="logit", **formats)(h)
            logits = jnp.sum(features * label_embedding, axis=-1, keepdims=True) * widths[0] ** -0.5
        return logits if self.outputs > 1 else logits[:, 0]
