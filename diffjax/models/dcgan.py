"""DCGAN (Radford et al. 2015) for images whose sides halve down to 4, 5, 6 or 7 pixels: 8 = 4 * 2, 28 = 7 * 4, 32, 64.

One 3x3 convolution at each resolution, with two departures from the paper. The generator upsamples by nearest neighbour
where the paper has transposed convolutions, to avoid checkerboards (Odena et al. 2016). The discriminator downsamples
by the mean of 2x2 pixels where the paper has strides: R1 needs second derivatives, and XLA on a CPU takes ten times as
long for those of a strided convolution.

The discriminator has the paper's BatchNorm only with `norm="batch"`: an image's logit then depends on the other images,
which makes R1, the gradient of one image's logit, ill-posed. Without BatchNorm nothing rescales its features, so its
weights start at the size of He et al. (2015): with the paper's 0.02, a narrow discriminator starts with nearly no
signal.
"""

from functools import partial
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8

from diffjax.models import labels
from diffjax.models.fields import check_choice, check_counts, stages_for
from diffjax.models.labels import LabelledLatent, LabelledLogit
from diffjax.models.layers import downsample, upsample
from diffjax.models.norms import ConditionalBatchNorm, Layers, minibatch_deviation
from diffjax.models.text import NoText
from diffjax.parallel import Axis
from diffjax.precision import Precision

Label = Int[Array, "b"] | UInt8[Array, "b n"] | Float[Array, "b n k"] | None  # a class, a caption, or its embedding
INITIAL = nn.initializers.normal(0.02)  # Radford et al. 2015, section 4


def around_one(*args):
    """The initial scale of BatchNorm in the code of Radford et al. 2015: N(1, 0.02^2)."""
    return 1.0 + INITIAL(*args)


class DcganGenerator(nn.Module):
    """z [b, latent] -> images [b, *shape] in (-1, 1). Raises UserError for unsupported sizes."""

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 64  # dimensions of z; 100 in the paper
    width: int = 32  # channels of the largest feature maps, twice as many at each halving; the paper has 128
    conditioning: str = "concat"  # how labels enter; or "batch_norm"
    text: Any = NoText()  # caption encoder, for data with captions

    def __post_init__(self):
        super().__post_init__()
        check_choice("generator", self, "conditioning", labels.GENERATOR)
        labels.check_reading("generator", self.text, self.conditioning, "concat")
        check_counts("generator", self, latent=1, width=1)
        stages_for("generator", self)

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Label = None, train: bool = False) -> Array:
        formats = self.precision.formats
        conv = partial(nn.Conv, kernel_size=(3, 3), kernel_init=INITIAL, **formats)
        norm = partial(
            ConditionalBatchNorm,
            train,
            self.axis.name,
            self.num_classes,
            scale_init=around_one,
            **formats,
        )
        concat = self.conditioning == "concat" or not self.num_classes
        input_label, norm_label = (label, None) if concat else (None, label)
        stages, (height, width) = stages_for("generator", self)
        channels = [self.width * 2**i for i in reversed(range(stages + 1))]

        h = LabelledLatent(self.num_classes, self.precision, self.text, name="labelled")(z, input_label)
        h = nn.Dense(height * width * channels[0], use_bias=False, kernel_init=INITIAL, name="project", **formats)(h)
        h = h.reshape(-1, height, width, channels[0])
        h = nn.relu(norm(name="norm_0")(h, norm_label))
        for i, features in enumerate(channels[1:], 1):
            h = conv(features, use_bias=False, name=f"conv_{i}")(upsample(h))
            h = nn.relu(norm(name=f"norm_{i}")(h, norm_label))
        x = conv(self.shape[-1], name="image")(h)
        return nn.tanh(x.astype(self.precision.params))


class DcganDiscriminator(nn.Module):
    """Images [b, *shape] in model units -> logits [b]. Raises UserError for unsupported sizes.

    With `norm` "batch", every convolution but the first is normalised over its batch on all devices. Real and generated
    images are separate batches.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier
    width: int = 32  # channels of the largest feature maps, twice as many at each halving; the paper has 128
    slope: float = 0.2  # of the leaky ReLU below zero
    norm: str = "none"  # before each leaky ReLU but the first; or "batch" (the paper), incompatible with penalties
    spectral_norm: bool = False  # of every layer (Miyato et al. 2018)
    conditioning: str = "projection"  # how labels enter; or "concat"
    text: Any = NoText()  # caption encoder, separate from the generator's
    minibatch_std: int = 0  # group size of the deviation shown to the last convolution; 0: none

    def __post_init__(self):
        super().__post_init__()
        check_choice("discriminator", self, "conditioning", labels.DISCRIMINATOR)
        labels.check_reading("discriminator", self.text, self.conditioning, "projection")
        check_choice("discriminator", self, "norm", ("none", "batch"))
        check_counts("discriminator", self, width=1)
        stages_for("discriminator", self)

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], label: Label = None, train: bool = False) -> Array:
        formats = self.precision.formats
        plain = self.norm == "none"
        kernel_init = nn.initializers.he_normal() if plain else INITIAL
        conv = partial(Layers(self.spectral_norm, train, **formats).conv, kernel_init=kernel_init)
        norm = partial(ConditionalBatchNorm, train, self.axis.name, scale_init=around_one, **formats)
        stages, _ = stages_for("discriminator", self)
        concat = self.conditioning == "concat"
        h = labels.with_label_planes(x, label if concat else None, self.num_classes)
        for i in range(stages + 1):
            h = downsample(h) if i else h
            h = minibatch_deviation(h, self.minibatch_std, self.is_initializing()) if i == stages else h
            h = conv(self.width * 2**i, use_bias=plain or not i, name=f"conv_{i}")(h)
            h = h if plain or not i else norm(name=f"norm_{i}")(h)
            h = nn.leaky_relu(h, self.slope)
        logit = LabelledLogit(
            self.num_classes, self.precision, outputs=self.outputs, spectral_norm=self.spectral_norm, text=self.text,
            name="logit",
        )  # fmt: skip
        return logit(h.reshape(len(h), -1), None if concat else label, train)
