"""The UNets of later papers: `UNet` with other defaults."""

from diffjax.models.layers import BILINEAR
from diffjax.models.unet import UNet


class DDPMpp(UNet):
    """DDPM++ (Song et al. 2021, appendix H), configured as in Karras et al. 2022 for CIFAR-10: 55.7M parameters.

    The original has no learned row for "no label"; it uses 0.
    """

    multipliers: tuple[int, ...] = (2, 2, 2)
    blocks: int = 4
    attention_up: str = "last"
    qkv_variance: float = 0.1
    resample: str = "projected"
    labels: str = "early"
    skip_scale: float = 0.5**0.5
    final_scale: float = 1e-5
    dropout: float = 0.13


class NCSNpp(DDPMpp):
    """NCSN++, configured as above: 56.4M parameters. Its frequencies suit t = ln(sigma) or ln(sigma) / 4 only."""

    resample_filter: tuple[int, ...] = BILINEAR
    encoder: str = "residual"
    frequencies: str = "random"


class ADM(UNet):
    """The "ablated diffusion model" (Dhariwal & Nichol 2021, section 3), sized as for ImageNet-64: 296M parameters.

    The original initialises weights and biases uniformly within 1 / sqrt(fan_in); here they start as in the other
    UNets.
    """

    channels: int = 192
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks: int = 3
    attention: tuple[int, ...] = (32, 16, 8)
    head_dim: int = 64
    modulation: str = "scale_shift"
    resample: str = "residual"
    frequencies: str = "open"
    eps: float = 1e-5
    dropout: float = 0.1
