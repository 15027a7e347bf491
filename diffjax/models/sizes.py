"""Which sizes the networks of a GAN can have. A mistake is one line, which names the field of the player that has it.

Networks check their fields when they are built, before anything is computed.
"""

from flax import linen as nn

from diffjax.errors import UserError

SMALLEST = range(4, 8)  # sides of the smallest feature maps: one of these fits, or none (8 would halve to 4)


def check_counts(player: str, network: nn.Module, **least: int) -> None:
    """Raises UserError unless the network's fields are at least so much, of a tuple all its numbers."""
    for field, low in least.items():
        value = getattr(network, field)
        if min(value if isinstance(value, tuple) else (value,), default=low) < low:
            raise UserError(f"method.{player}.{field}: {value} must be at least {low}")


def check_images(player: str, network: nn.Module) -> None:
    """Raises UserError unless the examples are images [height, width, channels]."""
    if len(network.shape) != 3:
        raise UserError(
            f"method.{player}.name: {type(network).__name__} is for images, and an example of these data has shape "
            f"{network.shape}; use mlp_{player}"
        )


def check_halvings(player: str, network: nn.Module, field: str, halvings: int) -> None:
    """Raises UserError unless both sides of the images can be halved as often as a field of the network says."""
    check_images(player, network)
    height, width, _ = network.shape
    if height % 2**halvings or width % 2**halvings:
        common = height | width  # its lowest set bit: the largest power of 2 that divides both sides
        most = (common & -common).bit_length() - 1
        raise UserError(
            f"method.{player}.{field}: {getattr(network, field)} halves {height}x{width} images {halvings} times; "
            f"their sides can be halved {most} times at most"
        )


def stages_for(player: str, network: nn.Module) -> tuple[int, tuple[int, int]]:
    """(number of doublings, smallest height and width) of the network's images [height, width, channels].

    Raises UserError unless both sides are 4, 5, 6 or 7 times one and the same power of two, at least 2.
    """
    check_images(player, network)
    for stages in range(1, max(network.shape[:2]).bit_length()):
        height, width = (side / 2**stages for side in network.shape[:2])
        if height in SMALLEST and width in SMALLEST:
            return stages, (int(height), int(width))
    size = "x".join(map(str, network.shape))
    raise UserError(
        f"method.{player}.name: {type(network).__name__} cannot have the {size} of data.name and data.size; both sides "
        "must be 4, 5, 6 or 7 times 2, 4, 8, 16, ..."
    )
