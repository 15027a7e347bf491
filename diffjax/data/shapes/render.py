"""Renders scenes without antialiasing: every pixel has the colour of one thing or of the background.

Things are placed at whole units, sixteenths of the image's side; at 32 and 64 pixels the whole scene is also shifted by
less than one unit. Things never touch. If one is "above" another, its lowest pixel is above the other's highest, and
their centres are at least twice as far apart vertically as horizontally; likewise for the other relations.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt8

from diffjax.data.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SIZES, Scene

UNITS = 16  # along the image's side
FEWEST, MOST = 16, 4096  # layouts tried at a time per scene; for the most crowded, one in some thousands is valid
TRIES = 100_000  # target for the total number of layouts tried at a time, as fewer scenes remain


@lru_cache
def stencil(shape: str, side: int) -> Bool[np.ndarray, "side side"]:
    """The mask of a shape `side` pixels high and wide: the pixels whose centres lie inside."""
    row, column = np.mgrid[:side, :side]
    if shape == "square":
        return np.ones((side, side), bool)
    centre = (side - 1) / 2
    if shape == "circle":
        return (row - centre) ** 2 + (column - centre) ** 2 <= (side / 2) ** 2
    return np.abs(column - centre) <= (row + 1) / 2  # a triangle pointing up


def render(scene: Scene, corners: Int[np.ndarray, "k 2"], size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Renders a picture of `size` x `size` pixels, with the upper left corner (row, column) of each thing in pixels."""
    image = np.empty((size, size, 3), np.uint8)
    image[:] = BACKGROUNDS[scene.background]
    for thing, (row, column) in zip(scene.things, corners, strict=True):
        side = SIZES[thing.size] * size // UNITS
        image[row : row + side, column : column + side][stencil(thing.shape, side)] = COLOURS[thing.colour]
    return image


def place(scenes: list[Scene], size: int, generator: np.random.RandomState) -> list[Int[np.ndarray, "k 2"]]:
    """Draws the upper left corners of the things of each scene, in pixels: uniform over all valid layouts in units."""
    layouts: list = [None] * len(scenes)
    for count in {len(scene.things) for scene in scenes}:
        indices = [i for i, scene in enumerate(scenes) if len(scene.things) == count]
        sides = np.array([[SIZES[thing.size] for thing in scenes[i].things] for i in indices])
        directions = np.array([[RELATIONS[r] for r in scenes[i].relations] or [(0, 0)] * (count - 1) for i in indices])
        units = _place(sides, directions.reshape(len(indices), count - 1, 2), generator)
        space = (UNITS - sides[..., None] - units).min(axis=1, keepdims=True)  # space below and right of all things
        shift = np.where(space, generator.randint(0, size // UNITS, space.shape), 0)
        for i, corners in zip(indices, units * (size // UNITS) + shift, strict=True):
            layouts[i] = corners
    return layouts


def _place(sides: Int[np.ndarray, "n k"], ways: Int[np.ndarray, "n k-1 2"], generator) -> Int[np.ndarray, "n k 2"]:
    """Draws corners in units by rejection sampling, within bounds that contain every valid layout."""
    low = np.zeros((*sides.shape, 2), int)
    high = low + UNITS - sides[..., None]
    for i, direction in enumerate(ways.swapaxes(0, 1)):  # one thing ends, with a gap, before the next begins
        for first, second, mask in ((i, i + 1, direction > 0), (i + 1, i, direction < 0)):
            low[:, second] = np.where(mask, sides[:, first, None] + 1, low[:, second])
            high[:, first] = np.where(mask, high[:, first] - sides[:, second, None] - 1, high[:, first])
    corners, remaining = np.zeros_like(low), np.arange(len(sides))
    while len(remaining):
        num_tries = min(max(TRIES // len(remaining), FEWEST), MOST)
        candidates = generator.randint(
            low[remaining, None], high[remaining, None] + 1, (len(remaining), num_tries, *low.shape[1:])
        )
        valid = allowed(candidates, sides[remaining][:, None], ways[remaining][:, None])
        solved = valid.any(axis=1)
        corners[remaining[solved]] = candidates[solved, valid[solved].argmax(axis=1)]
        remaining = remaining[~solved]
    return corners


def allowed(
    corners: Int[np.ndarray, "*n k 2"], sides: Int[np.ndarray, "*n k"], ways: Int[np.ndarray, "*n k-1 2"]
) -> Bool[np.ndarray, "*n"]:
    """Whether no two things touch, and each clearly has its relation to the next; (0, 0): any position."""
    valid = np.ones(corners.shape[:-2], bool)
    count = corners.shape[-2]
    for i in range(count):
        for j in range(i + 1, count):
            after = corners[..., j, :] - corners[..., i, :] - sides[..., i, None]  # from i's end to j's beginning
            before = corners[..., i, :] - corners[..., j, :] - sides[..., j, None]
            valid &= (np.maximum(after, before) >= 1).any(axis=-1)
            if j != i + 1:
                continue
            offset = 2 * (corners[..., j, :] - corners[..., i, :]) + sides[..., j, None] - sides[..., i, None]
            direction = ways[..., i, :]
            gap = np.where(direction > 0, after, before)
            correct = (direction == 0) | ((gap >= 1) & (np.abs(offset) >= 2 * np.abs(offset[..., ::-1])))
            valid &= correct.all(axis=-1) | (direction == 0).all(axis=-1)
    return valid
