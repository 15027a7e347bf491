"""The two networks of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A mapping makes a style w of z; the synthesis starts from a learned constant of 4x4 pixels, or up to 7x7, and every
convolution is modulated by w, with noise of its own; at each side an image is read off and added to the enlarged one of
the side before. The discriminator is a plain or residual stack down to the smallest side. Orders and constants are
those of the authors' code for StyleGAN2-ADA; so are the defaults, for images of 1024 pixels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int, Key

from diffjax.errors import UserError
from diffjax.models.fields import check_choice, check_counts, stages_for
from diffjax.models.layers import upsample
from diffjax.models.modulated import (
    TAPS,
    UNIT,
    EqualizedConv,
    EqualizedDense,
    Mapping,
    StyledConv,
    StyledImage,
    activate,
    folded,
)
from diffjax.models.norms import minibatch_deviation
from diffjax.parallel import Axis
from diffjax.precision import Precision

FORGETS = 0.005  # the share of the mean style that a batch replaces
ARCHITECTURES = ("orig", "resnet")


def widths_for(player: str, network: nn.Module) -> tuple[tuple[int, int], list[int]]:
    """The smallest height and width, and the channels at each side from there on: channel_base over it, or channel_max.

    Raises UserError for sizes that cannot be built.
    """
    doublings, smallest = stages_for(player, network)
    check_counts(player, network, channel_base=max(network.shape[:2]), channel_max=1)
    sides = [max(smallest) * 2**n for n in range(doublings + 1)]
    return smallest, [min(network.channel_base // side, network.channel_max) for side in sides]


class Synthesis(nn.Module):
    """Styles [b, layers, n] -> images [b, *shape]: for each side two layers, one at the first, and an image.

    An image is read off with the style of the next side's first layer.
    """

    shape: tuple[int, ...]
    smallest: tuple[int, int]
    widths: tuple[int, ...]
    precision: Precision

    @nn.compact
    def __call__(self, styles: Float[Array, "b layers n"], keys: Key[Array, "b"] | None) -> Array:
        constant = self.param("constant", UNIT, (*self.smallest, self.widths[0]), jnp.dtype(self.precision.params))
        h, image = jnp.broadcast_to(constant.astype(self.precision.compute), (len(styles), *constant.shape)), 0.0
        for number, channels in enumerate(self.widths):
            if number:
                grow = StyledConv(channels, True, self.precision, name=f"grow_{number}")
                h = grow(h, styles[:, 2 * number - 1], keys)
                image = upsample(image, TAPS)
            h = StyledConv(channels, False, self.precision, name=f"conv_{number}")(h, styles[:, 2 * number], keys)
            read = StyledImage(self.shape[-1], self.precision, name=f"image_{number}")
            image = image + read(h, styles[:, 2 * number + 1])
        return image


class StyleGAN2Generator(nn.Module):
    """z [b, latent] -> images [b, *shape], unbounded: `draw(styles(z))`, each from the examples' own keys.

    Collection "styles" holds the mean of w over all that training made of it, labels and all, which samples may be
    drawn towards. Raises UserError for sizes that it cannot build.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 512  # dimensions of z
    style: int = 512  # dimensions of w, of a label's embedding, and of the layers between z and w
    mapping_layers: int = 8  # between z and w
    channel_base: int = 32_768  # channels at a side, times the side
    channel_max: int = 512  # at any side
    mixing: float = 0.0  # probability that later layers have another z's style, in training; the paper's is 0.9

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.mixing <= 1:
            raise UserError(f"method.generator.mixing: {self.mixing} is a probability, between 0 and 1")
        check_counts("generator", self, latent=1, style=1, mapping_layers=1)
        widths_for("generator", self)

    def setup(self):
        smallest, widths = widths_for("generator", self)
        params = jnp.dtype(self.precision.params)
        formats = {"dtype": params, "param_dtype": params}  # styles steer everything: they are not rounded
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
        """One style for each layer: w throughout, or in training perhaps another one's from some layer on.

        `psi` 1 leaves them as they are, 0 puts the mean style in their place (Karras et al. 2019, section 4.2).
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
        """The images of styles, with noise from the keys, or without."""
        return self.synthesis(styles, keys)

    def _mixed(self, styles: Array, z: Array, label: Array | None, keys: Key[Array, "b"]) -> Array:
        """With probability `mixing` an example's styles are another z's from a layer on, not the first; any other."""

        def of_example(key):
            latent, first, coin = jax.random.split(key, 3)
            layer = jax.random.randint(first, (), 1, self.layers)
            mixes = jax.random.uniform(coin) < self.mixing
            return jax.random.normal(latent, z.shape[1:], z.dtype), mixes & (jnp.arange(self.layers) >= layer)

        other, replaced = jax.vmap(of_example)(keys)
        return jnp.where(replaced[..., None], self.mapping(other, label)[:, None], styles)


class StyleGAN2Discriminator(nn.Module):
    """Images [b, *shape] in model units -> logits [b]: at each side two convolutions, the second of which halves it.

    At the smallest side neighbours in the batch are shown how much they differ; a convolution and a linear map later
    the logit is linear, or with labels the inner product with what a mapping of its own makes of the label, over the
    square root of its dimensions. Raises UserError for sizes that it cannot build.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits: 1 + the number of classes where the method has an auxiliary classifier
    channel_base: int = 32_768  # channels at a side, times the side
    channel_max: int = 512  # at any side
    architecture: str = "resnet"  # each side's two convolutions are a residual block; or "orig", without shortcuts
    mapping_layers: int = 8  # between a label and what the features are multiplied with
    minibatch_std: int = 4  # images whose differences are shown to the last convolution; 0: none

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
        for number in reversed(range(1, len(widths))):
            before = h
            h = activate(EqualizedConv(widths[number], name=f"conv_{number}", **formats)(h))
            h = activate(EqualizedConv(widths[number - 1], halve=True, name=f"halve_{number}", **formats)(h))
            if self.architecture == "resnet":
                shortcut = EqualizedConv(widths[number - 1], 1, True, False, name=f"shortcut_{number}", **formats)
                h = 0.5**0.5 * (h + shortcut(before))

        # The end is computed in the parameters' format: losses see differences of logits.
        formats["dtype"] = formats["param_dtype"]
        h = minibatch_deviation(h.astype(formats["dtype"]), self.minibatch_std, self.is_initializing())
        h = activate(EqualizedConv(widths[0], name="last", **formats)(h))
        h = activate(EqualizedDense(widths[0], name="features", **formats)(h.reshape(len(h), -1)))
        if label is None or not self.num_classes:
            logits = EqualizedDense(self.outputs, name="logit", **formats)(h)
        else:
            target = Mapping(widths[0], self.mapping_layers, self.num_classes, formats, name="mapping")(None, label)
            named = EqualizedDense(widths[0], name="logit", **formats)(h)
            logits = jnp.sum(named * target, axis=-1, keepdims=True) * widths[0] ** -0.5
            if self.outputs > 1:
                classes = EqualizedDense(self.outputs - 1, name="classes", **formats)(h)
                logits = jnp.concatenate([logits, classes], axis=-1)
        return logits if self.outputs > 1 else logits[:, 0]
