"""One UNet, with the switches that tell DDPM's, DDPM++, NCSN++, ADM and VDM's apart."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from diffjax.errors import UserError
from diffjax.models.blocks import MODULATIONS, ResidualBlock
from diffjax.models.embeddings import FREQUENCIES, LABELS, TimeAndLabel, positions_2d, with_fourier_features
from diffjax.models.fields import check_choice, check_counts, check_dropout, check_halvings, check_positive
from diffjax.models.layers import CrossAttention, GroupNorm, SelfAttention, blur, conv, dense, downsample, upsample
from diffjax.models.text import NoText, Text
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


class UNet(nn.Module):
    """The UNet of "Denoising Diffusion Probabilistic Models" (Ho et al. 2020, appendix B), and its successors.

    x [b, h, w, any], t [b] (any scale), label [b] or None, one dropout key per example or None
    -> [b, h, w, outputs * c] in the parameters' format, the first c channels the first number of each; exactly 0 before
    training if `final_scale` is. x may have more channels than `shape` says: the image that one conditions on. A
    `style` modulates every norm of the residual blocks; `hints` are told as the time is. The usual is without either.
    With a `text` encoder the label is a caption, uint8 [b, n]: what is pooled of it joins the time, and pixels that
    attend to each other attend to its tokens afterwards.

    On 32x32x3 the defaults are the paper's network, 35.7M parameters; presets.py holds other papers'. VDM's on CIFAR-10
    has multipliers (1,), blocks 32, attention () and fourier_features (7, 8) (Kingma et al. 2021, appendix B), and adds
    x_t to the output.

    A resolution in `attention` that never occurs is not an error. Raises UserError when the image's sides cannot be
    halved between the levels, or a field makes no sense.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    hints: int = 0  # numbers that tell what was done to the image, where the method augments it (EDM)
    outputs: int = 1  # numbers for each of the data's: 2 where the method learns a variance too, as further channels
    channels: int = 128  # at the full resolution
    multipliers: tuple[int, ...] = (1, 2, 2, 2)  # channels / `channels` at each level; each further one halves the side
    blocks: int = 2  # residual blocks per level on the way down; one more on the way up
    attention: tuple[int, ...] = (16,)  # heights, in pixels, at which to attend after each residual block
    attention_up: str = "all"  # of the blocks on the way up attend "all" (DDPM, ADM) or a level's "last" (DDPM++)
    middle_attention: str = "normalised"  # at the bottom; "plain": without GroupNorm (diffusers, scale_shift); "none"
    head_dim: int = 0  # channels of an attention head; 0: one head as wide as the channels (DDPM); ADM 64
    qkv_variance: float = 1.0  # of attention's first weights, relative to Glorot's; 0.1 in DDPM++
    modulation: str = "shift"  # what time and label do to features: "shift" (DDPM) or "scale_shift" (ADM)
    resample: str = (
        "conv"  # strided "conv" (DDPM), "residual" block (ADM), that "projected": 1x1 on the short cut (DDPM++)
    )
    resample_filter: tuple[int, ...] = (1, 1)  # of residual blocks, encoder, decoder: box; (1, 3, 3, 1) in NCSN++
    downsample_padding: int = 0  # zeros before the first pixel of a strided convolution: 0 DDPM, 1 diffusers' default
    encoder: str = "standard"  # "skip" or "residual": each level also sees the input, at its size (Song et al. 2021)
    decoder: str = "standard"  # "skip": the output is a sum over levels, each enlarged (ibid.)
    frequencies: str = "closed"  # of t: "closed" 1 .. 1/10000 (DDPM), "open" without its end (ADM), "random" (NCSN++)
    text: Any = NoText()  # the encoder of captions, for data and methods that show any
    labels: str = "late"  # join t "late", after its dense layers (ADM), or "early", before them (DDPM++)
    fourier_features: tuple[int, ...] = ()  # exponents n: sin and cos of 2^n pi x beside the input; VDM (7, 8)
    positions: bool = False  # tell each pixel its row and column, in sines beside its first features, as in the DiT
    skip_scale: float = 1.0  # what a sum of two branches is multiplied by; sqrt(1/2) in DDPM++ and NCSN++
    final_scale: float = 0.0  # size of the weights that end a branch, at first, relative to Glorot's; EDM 1e-5
    groups: int = 0  # of each GroupNorm; 0: 32, or fewer so that each has at least 4 channels
    eps: float = 1e-6  # of each GroupNorm, added to the variance
    dropout: float = 0.0  # fraction of activations dropped in each residual block; DDPM 0.1 on CIFAR-10, 0 elsewhere
    remat: bool = False  # recompute each block in the backward pass: memory of one block, a third more time

    slot: ClassVar[str] = "network"  # of the method, which complaints name

    def __post_init__(self):
        super().__post_init__()
        counts = {"outputs": 1, "channels": 1, "multipliers": 1, "blocks": 1, "head_dim": 0, "groups": 0}
        check_counts(self.slot, self, **counts, downsample_padding=0)
        check_positive(self.slot, self, "qkv_variance", "skip_scale", "eps")
        check_dropout(self.slot, self)
        for field, allowed in CHOICES.items():
            check_choice(self.slot, self, field, allowed)
        at = f"method.{self.slot}"
        if not self.multipliers:
            raise UserError(f"{at}.multipliers: () must have a number for each level, at least one")
        check_halvings(self.slot, self, "multipliers", len(self.multipliers) - 1)
        if self.final_scale < 0:
            raise UserError(f"{at}.final_scale: {self.final_scale} must be at least 0")
        if self.downsample_padding > (self.resample == "conv"):
            raise UserError(f"{at}.downsample_padding: {self.downsample_padding} must be 0, or 1 with 'conv'")
        taps = self.resample_filter
        if len(taps) % 2 or taps != taps[::-1] or not sum(taps):
            raise UserError(f"{at}.resample_filter: {taps} must be even and symmetric, such as (1, 3, 3, 1)")
        if taps != (1, 1) and (self.resample, self.encoder, self.decoder) == UNFILTERED:
            raise UserError(f"{at}.resample_filter: {taps} has nothing to filter; resample='residual' would")
        if self.groups and self.channels % self.groups:
            raise UserError(f"{at}.groups: {self.groups} does not divide the {self.channels} channels")
        if self.positions and self.channels % 4:
            raise UserError(f"{at}.channels: {self.channels} is no multiple of 4, as positions need")
        self._check_heads()

    def _check_heads(self):
        at = f"method.{self.slot}"
        levels = [(self.shape[0] >> level, self.channels * m) for level, m in enumerate(self.multipliers)]
        attended = {channels for height, channels in levels if height in self.attention}
        attended |= {levels[-1][1]} if self.middle_attention != "none" else set()
        if self.head_dim and any(width % self.head_dim for width in attended):
            raise UserError(
                f"{at}.head_dim: {self.head_dim} does not divide the channels attended over,"
                f" {sorted(attended)}; 0 means one head"
            )

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w k"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | UInt8[Array, "b n"] | Float[Array, "b n k"] | None = None,
        keys: Key[Array, "b"] | None = None,
        style: Float[Array, "b z"] | None = None,
        hints: Float[Array, "b k"] | None = None,
    ) -> Float[Array, "b h w outputs*c"]:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        formats = self.precision.formats
        norms = {"groups": self.groups, "eps": self.eps}
        sums = {"skip_scale": self.skip_scale, "final_scale": self.final_scale}
        blocks = ResidualBlock, SelfAttention, CrossAttention
        Residual, Attention, Reading = map(nn.remat, blocks) if self.remat else blocks
        residual = partial(
            Residual,
            dropout=self.dropout,
            modulation=self.modulation,
            taps=self.resample_filter,
            **sums,
            **norms,
            **formats,
        )
        attention = partial(Attention, head_dim=self.head_dim, variance=self.qkv_variance, **sums, **norms, **formats)
        text = Text() if isinstance(self.text, NoText) else self.text(self.precision, name="text")(label)

        def attend(h, name, **own):
            h = attention(**own, name=name)(h)
            if text.tokens is None:
                return h
            read = partial(Reading, head_dim=self.head_dim, **sums, **norms, **formats)
            return read(name=f"{name}_text")(h, text.tokens, text.mask)

        def block(h, level, name, attended=True):
            h = residual(self.channels * self.multipliers[level], name=name)(h, condition, keys, style)
            attended = attended and h.shape[1] in self.attention
            return attend(h, f"{name}_attention") if attended else h

        def change(h, way, name):
            if self.resample != "conv":
                project = self.resample == "projected"
                return residual(h.shape[-1], change=way, project=project, name=name)(h, condition, keys, style)
            if way == "up":
                return conv(h.shape[-1], name=name, **formats)(upsample(h))
            before = (self.downsample_padding, 1)
            return conv(h.shape[-1], stride=2, padding=(before, before), name=name, **formats)(h)

        def see_input(h, aux, name):
            """The features of a level joined by the input, or by what the last level made of it."""
            if self.encoder == "skip":
                aux = downsample(aux, self.resample_filter)
                return h + conv(h.shape[-1], size=1, name=name, **formats)(aux), aux
            aux = conv(h.shape[-1], stride=2, padding="VALID", name=name, **formats)(blur(aux, self.resample_filter))
            h = (h + aux) * self.skip_scale
            return h, h

        def output(h, name):
            # The end runs in the parameters' format: a loss is a small difference, and a thin convolution costs little.
            h = GroupNorm(**norms, dtype=params, param_dtype=params, name=f"{name}_norm")(h)
            last = partial(conv, variance=self.final_scale**2, dtype=params, param_dtype=params, name=name)
            return last(self.outputs * self.shape[-1])(nn.silu(h))

        width = self.channels * (2 if self.frequencies == "random" else 1)
        embedding = TimeAndLabel(
            width, 4 * self.channels, self.num_classes, params, self.frequencies, self.labels, name="embedding"
        )
        if self.hints and hints is None:
            hints = jnp.zeros((len(x), self.hints))  # nothing was done
        condition = embedding(t, label, hints)
        if text.pooled is not None:
            told = dense(condition.shape[-1], dtype=params, param_dtype=params, name="text_pooled")
            condition = condition + told(text.pooled)
        condition = nn.silu(condition).astype(compute)  # every block begins with it: once is enough
        levels = range(len(self.multipliers))

        aux = with_fourier_features(x, self.fourier_features).astype(compute)
        h = conv(self.channels, name="input", **formats)(aux)
        if self.positions:
            h = h + positions_2d(*self.shape[:2], self.channels).reshape(*self.shape[:2], -1).astype(compute)
        skips = [h]
        for level in levels:
            for i in range(self.blocks):
                h = block(h, level, f"down_{level}_{i}")
                skips.append(h)
            if level != levels[-1]:
                h = change(h, "down", f"down_{level}_sample")
                if self.encoder != "standard":
                    h, aux = see_input(h, aux, f"input_{level + 1}")
                skips.append(h)

        h = residual(h.shape[-1], name="middle_1")(h, condition, keys, style)
        if self.middle_attention != "none":
            h = attend(h, "middle_attention", normalised=self.middle_attention == "normalised")
        h = residual(h.shape[-1], name="middle_2")(h, condition, keys, style)

        seen = 0
        for level in reversed(levels):
            for i in range(self.blocks + 1):
                attended = self.attention_up == "all" or i == self.blocks
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), level, f"up_{level}_{i}", attended)
            if level and self.decoder == "skip":
                seen = upsample(seen + output(h, f"output_{level}"), self.resample_filter)
            if level:
                h = change(h, "up", f"up_{level}_sample")
        return seen + output(h, "output")
