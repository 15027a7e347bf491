"""One UNet for all papers: switches tell the networks of DDPM, DDPM++, NCSN++, ADM and VDM apart."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from diffjax.errors import UserError
from diffjax.models.blocks import MODULATIONS, ResidualBlock
from diffjax.models.embeddings import FREQUENCIES, LABELS, TimeAndLabel, positions_2d, with_fourier_features
from diffjax.models.fields import check_choice, check_counts, check_dropout, check_halvings, check_positive
from diffjax.models.layers import Attention, GroupNorm, blur, conv, downsample, upsample
from diffjax.models.text import NoText, Text, has_tokens, read, with_pooled
from diffjax.parallel import Axis
from diffjax.precision import Precision

CHOICES = {
    "attention_up": ("all", "last"),
    "middle_attention": ("normalised", "plain", "none"),
    "modulation": MODULATIONS,
    "resample": ("conv", "residual", "projected"),
    "encoder": ("standard", "skip", "residual"),
    "decoder": ("standard", "skip"),
    "frequencies": FREQUENCIES,
    "labels": LABELS,
}
UNFILTERED = ("conv", "standard", "standard")  # resample, encoder, decoder


class Condition(NamedTuple):
    """What the layers of a UNet are conditioned on."""

    vector: Float[Array, "b k"]  # embedding of time, label, augmentation and caption, after its swish
    keys: Key[Array, "b"] | None  # of dropout
    style: Float[Array, "b z"] | None
    text: Text  # for cross-attention


class UNet(nn.Module):
    """The UNet of "Denoising Diffusion Probabilistic Models" (Ho et al. 2020, appendix B), and its successors.

    x [b, h, w, any], t [b] (any scale), label [b] or None, one dropout key per example or None
    -> [b, h, w, outputs * c] in the parameters' dtype, where the first c channels are the first output of each data
    channel; exactly 0 before training if `final_scale` is. x may have more channels than `shape` says, for an image to
    condition on.

    A `style` modulates every norm of the residual blocks. `augment_labels` enter like the time. Most networks use
    neither. With a `text` encoder the label is a caption, uint8 [b, n]: its pooled encoding is added to the time
    embedding, and cross-attention to its tokens follows each self-attention.

    For 32x32x3 the defaults are the paper's network, 35.7M parameters; presets.py holds those of other papers. VDM's
    for CIFAR-10 has multipliers (1,), blocks 32, attention () and fourier_features (7, 8) (Kingma et al. 2021, appendix
    B), and adds x_t to the output.

    A resolution in `attention` that never occurs is not an error. Raises UserError when the image's sides cannot be
    halved between the levels, a caption's tokens meet no attention, or a field is invalid.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    augment_dim: int = 0  # augmentation labels per image, if the method augments (EDM)
    outputs: int = 1  # outputs per data channel, as further channels; 2 if the method also learns a variance
    channels: int = 128  # at the full resolution
    multipliers: tuple[int, ...] = (1, 2, 2, 2)  # channels / `channels` at each level; each further one halves the side
    blocks: int = 2  # residual blocks per level on the way down; one more on the way up
    attention: tuple[int, ...] = (16,)  # heights, in pixels, at which attention follows each residual block
    attention_up: str = "all"  # on the way up: after "all" blocks (DDPM, ADM) or a level's "last" (DDPM++)
    middle_attention: str = "normalised"  # at the bottom; "plain": without GroupNorm (diffusers, scale_shift); "none"
    head_dim: int = 0  # channels of an attention head; 0: one head as wide as the channels (DDPM); ADM 64
    qkv_variance: float = 1.0  # initial variance of the weights of q, k, v, relative to Glorot's; 0.1 in DDPM++
    modulation: str = "shift"  # how time and label modulate features: "shift" (DDPM) or "scale_shift" (ADM)
    resample: str = "conv"  # strided (DDPM); "residual" block (ADM); "projected": with a 1x1 shortcut (DDPM++)
    resample_filter: tuple[int, ...] = (1, 1)  # in residual blocks, encoder and decoder; (1, 3, 3, 1) in NCSN++
    downsample_padding: int = 0  # zeros before the first pixel of a strided convolution: 0 in DDPM, 1 in diffusers
    encoder: str = "standard"  # "skip" or "residual": each level also sees the resized input (Song et al. 2021)
    decoder: str = "standard"  # "skip": the output is a sum over upsampled levels (ibid.)
    frequencies: str = "closed"  # of t: "closed" 1 .. 1/10000 (DDPM), "open" excludes the end (ADM), "random" (NCSN++)
    text: Any = NoText()  # caption encoder, for data with captions
    labels: str = "late"  # added to t "late", after its dense layers (ADM), or "early", before them (DDPM++)
    fourier_features: tuple[int, ...] = ()  # exponents n: sin and cos of 2^n pi x join the input; VDM (7, 8)
    positions: bool = False  # add sines and cosines of row and column to the first features, as in the DiT
    skip_scale: float = 1.0  # factor on the sum of two branches; sqrt(1/2) in DDPM++ and NCSN++
    final_scale: float = 0.0  # initial size of a branch's last weights, relative to Glorot's; EDM 1e-5
    groups: int = 0  # of each GroupNorm; 0: 32, or fewer so that each has at least 4 channels
    eps: float = 1e-6  # of each GroupNorm, added to the variance
    dropout: float = 0.0  # fraction of activations dropped in each residual block; DDPM 0.1 on CIFAR-10, 0 elsewhere
    remat: bool = False  # recompute blocks in the backward pass: the memory of one block, a third more time

    slot: ClassVar[str] = "network"  # of the method, named in error messages

    def __post_init__(self):
        super().__post_init__()
        counts = {"outputs": 1, "channels": 1, "multipliers": 1, "blocks": 1, "head_dim": 0, "groups": 0}
        check_counts(self.slot, self, **counts, downsample_padding=0)
        check_positive(self.slot, self, "qkv_variance", "skip_scale", "eps")
        check_dropout(self.slot, self)
        for field, allowed in CHOICES.items():
            check_choice(self.slot, self, field, allowed)
        prefix = f"method.{self.slot}"
        if not self.multipliers:
            raise UserError(f"{prefix}.multipliers: () must have at least one number, one for each level")
        check_halvings(self.slot, self, "multipliers", len(self.multipliers) - 1)
        if self.final_scale < 0:
            raise UserError(f"{prefix}.final_scale: {self.final_scale} must be at least 0")
        if self.downsample_padding > (self.resample == "conv"):
            raise UserError(
                f"{prefix}.downsample_padding: {self.downsample_padding} must be 0, or 1 with resample 'conv'"
            )
        taps = self.resample_filter
        if len(taps) % 2 or taps != taps[::-1] or not sum(taps):
            raise UserError(f"{prefix}.resample_filter: {taps} must be symmetric, of even length, such as (1, 3, 3, 1)")
        if taps != (1, 1) and (self.resample, self.encoder, self.decoder) == UNFILTERED:
            raise UserError(
                f"{prefix}.resample_filter: {taps} has nothing to filter; use resample 'residual', or (1, 1)"
            )
        if self.groups and self.channels % self.groups:
            raise UserError(f"{prefix}.groups: {self.groups} does not divide the {self.channels} channels")
        if self.positions and self.channels % 4:
            raise UserError(f"{prefix}.channels: {self.channels} must be a multiple of 4 for positions")
        self._check_attention()

    def _check_attention(self):
        prefix = f"method.{self.slot}"
        levels = [(self.shape[0] >> level, self.channels * m) for level, m in enumerate(self.multipliers)]
        attention_channels = {channels for height, channels in levels if height in self.attention}
        attention_channels |= {levels[-1][1]} if self.middle_attention != "none" else set()
        if has_tokens(self.text) and not attention_channels:
            raise UserError(
                f"{prefix}.text.conditioning: must be pooled, as this network has no attention to read a caption's"
                f" tokens with; or give it some, such as {prefix}.attention=({levels[-1][0]},)"
            )
        if self.head_dim and any(width % self.head_dim for width in attention_channels):
            raise UserError(
                f"{prefix}.head_dim: {self.head_dim} does not divide the channels of all attention layers,"
                f" {sorted(attention_channels)}; 0 means one head"
            )

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w k"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | UInt8[Array, "b n"] | Float[Array, "b n k"] | None = None,
        keys: Key[Array, "b"] | None = None,
        style: Float[Array, "b z"] | None = None,
        augment_labels: Float[Array, "b k"] | None = None,
    ) -> Float[Array, "b h w outputs*c"]:
        condition = self._condition(t, label, keys, style, augment_labels)
        h, skips = self._down(x, condition)
        h = self._middle(h, condition)
        return self._up(h, skips, condition)

    def _condition(self, t, label, keys, style, augment_labels) -> Condition:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        width = self.channels * (2 if self.frequencies == "random" else 1)
        text = read(self.text, label, self.precision)
        embedding = TimeAndLabel(
            width, 4 * self.channels, self.num_classes, params, self.frequencies, self.labels, name="embedding"
        )
        if self.augment_dim and augment_labels is None:
            augment_labels = jnp.zeros((len(t), self.augment_dim))  # no augmentation
        vector = with_pooled(embedding(t, label, augment_labels), text)
        vector = nn.silu(vector).astype(compute)  # shared by all blocks, each of which would begin with it
        return Condition(vector, keys, style, text)

    def _down(self, x: Array, condition: Condition) -> tuple[Array, list[Array]]:
        """The features at the lowest resolution, and those that skip to the way up."""
        compute, formats = jnp.dtype(self.precision.compute), self.precision.formats
        last = len(self.multipliers) - 1
        aux = with_fourier_features(x, self.fourier_features).astype(compute)
        h = conv(self.channels, name="input", **formats)(aux)
        if self.positions:
            h = h + positions_2d(*self.shape[:2], self.channels).reshape(*self.shape[:2], -1).astype(compute)
        skips = [h]
        for level in range(last + 1):
            for i in range(self.blocks):
                h = self._block(h, level, condition, f"down_{level}_{i}")
                skips.append(h)
            if level != last:
                h = self._resample(h, "down", condition, f"down_{level}_sample")
                if self.encoder != "standard":
                    h, aux = self._inject_input(h, aux, f"input_{level + 1}")
                skips.append(h)
        return h, skips

    def _middle(self, h: Array, condition: Condition) -> Array:
        h = self._residual(h, h.shape[-1], condition, name="middle_1")
        if self.middle_attention != "none":
            h = self._attend(h, condition, "middle_attention", normalised=self.middle_attention == "normalised")
        return self._residual(h, h.shape[-1], condition, name="middle_2")

    def _up(self, h: Array, skips: list[Array], condition: Condition) -> Array:
        """The output, from the features at the lowest resolution and those of the way down, last first."""
        output_sum = 0
        for level in reversed(range(len(self.multipliers))):
            for i in range(self.blocks + 1):
                attended = self.attention_up == "all" or i == self.blocks
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, level, condition, f"up_{level}_{i}", attended)
            if level and self.decoder == "skip":
                output_sum = upsample(output_sum + self._output(h, f"output_{level}"), self.resample_filter)
            if level:
                h = self._resample(h, "up", condition, f"up_{level}_sample")
        return output_sum + self._output(h, "output")

    # ---------------------------------------------------------------------------------------------------------- layers

    def _block(self, h: Array, level: int, condition: Condition, name: str, attended: bool = True) -> Array:
        """A residual block, and attention after it if this is one of the resolutions in `attention`."""
        h = self._residual(h, self.channels * self.multipliers[level], condition, name=name)
        attended = attended and h.shape[1] in self.attention
        return self._attend(h, condition, f"{name}_attention") if attended else h

    def _residual(self, h: Array, features: int, condition: Condition, **own: Any) -> Array:
        fields = {"dropout": self.dropout, "modulation": self.modulation, "taps": self.resample_filter}
        block = self._layer(ResidualBlock, features=features, **fields, **own)
        return block(h, condition.vector, condition.keys, condition.style)

    def _attend(self, h: Array, condition: Condition, name: str, normalised: bool = True) -> Array:
        """Attention between the pixels, then from them to the caption's tokens if there are any."""
        fields = {"variance": self.qkv_variance, "normalised": normalised}
        h = self._layer(Attention, head_dim=self.head_dim, **fields, name=name)(h)
        text = condition.text
        if text.tokens is None:
            return h
        return self._layer(Attention, head_dim=self.head_dim, name=f"{name}_text")(h, text.tokens, text.mask)

    def _layer(self, layer: type[nn.Module], **own: Any) -> nn.Module:
        """A layer with the fields that residual blocks and attention have in common, and those of its own."""
        layer = nn.remat(layer) if self.remat else layer
        fields = {"skip_scale": self.skip_scale, "final_scale": self.final_scale}
        return layer(**fields, groups=self.groups, eps=self.eps, **self.precision.formats, **own)

    def _resample(self, h: Array, way: str, condition: Condition, name: str) -> Array:
        """Doubles (`way` "up") or halves ("down") the side of h."""
        if self.resample != "conv":
            project = self.resample == "projected"
            return self._residual(h, h.shape[-1], condition, change=way, project=project, name=name)
        if way == "up":
            return conv(h.shape[-1], name=name, **self.precision.formats)(upsample(h))
        padding = (self.downsample_padding, 1)
        return conv(h.shape[-1], stride=2, padding=(padding, padding), name=name, **self.precision.formats)(h)

    def _inject_input(self, h: Array, aux: Array, name: str) -> tuple[Array, Array]:
        """Adds to h the downsampled input ("skip"), or the downsampled features of the last level ("residual")."""
        formats = self.precision.formats
        if self.encoder == "skip":
            aux = downsample(aux, self.resample_filter)
            return h + conv(h.shape[-1], size=1, name=name, **formats)(aux), aux
        aux = conv(h.shape[-1], stride=2, padding="VALID", name=name, **formats)(blur(aux, self.resample_filter))
        h = (h + aux) * self.skip_scale
        return h, h

    def _output(self, h: Array, name: str) -> Array:
        # The last layers run in the parameters' dtype: losses are small differences, and a thin layer is cheap.
        formats = {"dtype": jnp.dtype(self.precision.params), "param_dtype": jnp.dtype(self.precision.params)}
        h = nn.silu(GroupNorm(self.groups, self.eps, name=f"{name}_norm", **formats)(h))
        return conv(self.outputs * self.shape[-1], variance=self.final_scale**2, name=name, **formats)(h)
