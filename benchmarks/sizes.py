"""The networks and batches that are timed, the same for diffjax and its peers."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """A UNet for square images. `attention` lists the levels with attention, counted from the full resolution."""

    side: int
    colours: int
    channels: int
    multipliers: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int
    batch: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, self.colours)


SIZES = {
    "digits": Size(8, 1, 32, (1, 2), (1,), 2, 128),
    "mnist": Size(28, 1, 32, (1, 2, 2), (2,), 2, 64),
    "small": Size(32, 3, 64, (1, 2, 2), (1,), 2, 32),
    "cifar10": Size(32, 3, 128, (1, 2, 2, 2), (1,), 2, 128),
}


@dataclass(frozen=True)
class Game:
    """The two networks of a GAN for 32x32 colour images, without labels, and the gamma of its penalty.

    "dcgan" is the non-saturating game with R1, "r3gan" the relativistic one with R1 and R2.
    """

    kind: str
    latent: int
    gamma: float
    batch: int
    networks: dict[str, Any]  # fields of both: "width", or "widths", "blocks" and "group"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (32, 32, 3)


GAMES = {
    "dcgan": Game("dcgan", 100, 10.0, 64, {"width": 64}),
    "r3gan": Game("r3gan", 64, 0.05, 32, {"widths": (128, 96, 64, 48), "blocks": (1,) * 4, "group": 16}),
    # The paper's networks, and the share of its batch of 512 on each of 8 GPUs.
    "r3gan_cifar10": Game("r3gan", 64, 0.05, 64, {"widths": (768,) * 4, "blocks": (2,) * 4, "group": 16}),
}


@dataclass(frozen=True)
class Pictures:
    """Batches of square colour images for a feature network."""

    side: int
    batch: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, 3)


PICTURES = {"cifar10": Pictures(32, 32), "imagenet64": Pictures(64, 32), "gpu": Pictures(32, 500)}
