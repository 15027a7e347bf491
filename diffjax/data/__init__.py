"""Data sources and the input pipeline. `data.name` selects a source; its fields are the other keys of `data`."""

from diffjax.data.dead_leaves import DeadLeaves
from diffjax.data.digits import Digits
from diffjax.data.folder import Folder
from diffjax.data.gaussians import Gaussians
from diffjax.data.heartbeat import Heartbeat
from diffjax.data.pipeline import Order, Stream
from diffjax.data.shapes import Shapes
from diffjax.data.source import Examples, Source
from diffjax.data.space import Space
from diffjax.data.stacked_mnist import StackedMNIST
from diffjax.data.tfds import TFDS, prepare
from diffjax.data.toy2d import Toy2D

SOURCES = {
    "digits": Digits, "stacked_mnist": StackedMNIST, "toy2d": Toy2D, "tfds": TFDS, "folder": Folder,
    "heartbeat": Heartbeat, "dead_leaves": DeadLeaves, "shapes": Shapes, "gaussians": Gaussians,
}  # fmt: skip
FAMILIES = (Toy2D, Gaussians, TFDS, Folder)  # names that take an argument: "toy2d:ring", "tfds:mnist", "folder:/path"

__all__ = [
    "FAMILIES", "SOURCES", "TFDS", "DeadLeaves", "Digits", "Examples", "Folder", "Gaussians", "Heartbeat", "Order",
    "Shapes", "Source", "Space", "StackedMNIST", "Stream", "Toy2D", "prepare",
]  # fmt: skip
