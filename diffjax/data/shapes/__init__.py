"""Scenes of coloured shapes with captions: a grammar (`scene`), a renderer (`render`), and a data source (`source`)."""

from diffjax.data.shapes.render import place, render, stencil
from diffjax.data.shapes.scene import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    parse,
)
from diffjax.data.shapes.source import Shapes

__all__ = [
    "ATTRIBUTES", "BACKGROUNDS", "COLOURS", "NUMBERS", "RELATIONS", "SHAPES", "SIZES", "Scene", "Shapes", "Thing",
    "parse", "place", "render", "stencil",
]  # fmt: skip
