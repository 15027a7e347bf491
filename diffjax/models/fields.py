"""Validation of networks' fields. Error messages name a field by the slot that its network fills.

Networks check their fields when they are constructed, before anything is computed. `slot` is the method's: "network",
or "generator" or "discriminator" in a GAN.
"""

from flax import linen as nn

from diffjax.errors import UserError

SMALLEST = range(4, 8)  # possible sides of the smallest feature maps; at most one fits (8 would halve to 4)
POINTS = {"network": "mlp", "generator": "mlp_generator", "discriminator": "mlp_discriminator"}  # by slot


def check_counts(slot: str, network: nn.Module, **least: int) -> None:
    """Raises UserError unless each field, and each number in a tuple, is at least the given minimum."""
    for field, minimum in least.items():
        value = getattr(network, field)
        if min(value if isinstance(value, tuple) else (value,), default=minimum) < minimum:
            raise UserError(f"method.{slot}.{field}: {value} must be at least {minimum}")


def check_positive(slot: str, network: nn.Module, *fields: str) -> None:
    """Raises UserError unless the fields are positive."""
    for field in fields:
        if not getattr(network, field) > 0:
            raise UserError(f"method.{slot}.{field}: {getattr(network, field)} must be positive")


def check_dropout(slot: str, network: nn.Module) -> None:
    """Raises UserError unless the dropout rate is in [0, 1)."""
    if not 0 <= network.dropout < 1:
        raise UserError(f"method.{slot}.dropout: {network.dropout} must be at least 0 and less than 1")


def check_choice(slot: str, network: nn.Module, field: str, allowed: tuple[str, ...]) -> None:
    """Raises UserError unless the field has one of the allowed values."""
    if getattr(network, field) not in allowed:
        raise UserError(f"method.{slot}.{field}: {getattr(network, field)!r} is not one of {', '.join(allowed)}")


def check_images(slot: str, network: nn.Module) -> None:
    """Raises UserError unless examples are images [height, width, channels]."""
    if len(network.shape) != 3:
        raise UserError(
            f"method.{slot}.name: {type(network).__name__} is for images, but these data have examples of shape "
            f"{network.shape}; use {POINTS[slot]}"
        )


def check_points(slot: str, network: nn.Module) -> None:
    """Raises UserError unless examples are points [dimensions]."""
    if len(network.shape) != 1:
        raise UserError(
            f"method.{slot}.name: {type(network).__name__} is for points, but these data have examples of shape "
            f"{network.shape}; use unet"
        )


def check_halvings(slot: str, network: nn.Module, field: str, halvings: int) -> None:
    """Raises UserError unless both sides of the images can be halved `halvings` times, as the given field requires."""
    check_images(slot, network)
    height, width, _ = network.shape
    if height % 2**halvings or width % 2**halvings:
        bits = height | width  # the lowest set bit is the largest power of 2 that divides both sides
        max_halvings = (bits & -bits).bit_length() - 1
        remedy = f"; give {max_halvings + 1} numbers at most" if field == "multipliers" else ""
        raise UserError(
            f"method.{slot}.{field}: {getattr(network, field)} halves {height}x{width} images {halvings} times; "
            f"their sides can be halved {max_halvings} times at most{remedy}"
        )


def stages_for(slot: str, network: nn.Module) -> tuple[int, tuple[int, int]]:
    """(number of doublings, (smallest height, smallest width)) for the network's images [height, width, channels].

    Raises UserError unless both sides are 4, 5, 6 or 7 times the same power of two, at least 2.
    """
    check_images(slot, network)
    for stages in range(1, max(network.shape[:2]).bit_length()):
        height, width = (side / 2**stages for side in network.shape[:2])
        if height in SMALLEST and width in SMALLEST:
            return stages, (int(height), int(width))
    size = "x".join(map(str, network.shape))
    raise UserError(
        f"method.{slot}.name: {type(network).__name__} cannot have the {size} of data.name and data.size; both sides "
        "must be 4, 5, 6 or 7 times 2, 4, 8, 16, ..."
    )
