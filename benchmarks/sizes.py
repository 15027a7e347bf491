"""The UNets that are timed: the same widths, attention and batch for us and for diffusers' `UNet2DModel`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A UNet for square images. `attention` lists the levels, counted from the full resolution, that attend."""

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
