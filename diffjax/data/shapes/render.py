"""Scenes as pixels: every pixel is of one thing's colour or of the background's, without shades between them.

Things stand at whole units, sixteenths of the image's side; at 32 and 64 pixels a whole scene is shifted by less than
one. They never touch. Where one is "above" another, its lowest pixel is above the other's highest, and their centres
are at least twice as far apart downwards as sideways; so with the other relations.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt8

from diffjax.data.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SIZES, Scene

UNITS = 16  # of the image's side
FEWEST, MOST = 16, 4096  # places tried at once for each scene; the most crowded fits in one of some thousands
TRIES = 100_000  # about as many in all, as fewer and fewer scenes are left


@lru_cache
def stencil(shape: str, side: int) -> Bool[np.ndarray, "side side"]:
    """The pixels of a shape that is `side` pixels high and wide: those whose centres lie in it."""
    row, column = np.mgrid[:side, :side]
    if shape == "square":
        return np.ones((side, side), bool)
    middle = (side - 1) / 2
    if shape == "circle":
        return (row - middle) ** 2 + (column - middle) ** 2 <= (side / 2) ** 2
    return np.abs(column - middle) <= (row + 1) / 2  # a triangle, its point upwards


def render(scene: Scene, corners: Int[np.ndarray, "k 2"], size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """A picture of `size` x `size` pixels with each thing's upper left corner (row, column) in pixels at its place."""
    image = np.empty((size, size, 3), np.uint8)
    image[:] = BACKGROUNDS[scene.background]
    for thing, (row, column) in zip(scene.things, corners, strict=True):
        side = SIZES[thing.size] * size // UNITS
        image[row : row + side, column : column + side][stencil(thing.shape, side)] = COLOURS[thing.colour]
    return image


def place(scenes: list[Scene], size: int, generator: np.random.RandomState) -> list[Int[np.ndarray, "k 2"]]:
    """Upper left corners for the things of each scene, in pixels: uniform over the places in units that are allowed."""
    placed: list = [None] * len(scenes)
    for count in {len(scene.things) for scene in scenes}:
        chosen = [i for i, scene in enumerate(scenes) if len(scene.things) == count]
        sides = np.array([[SIZES[thing.size] for thing in scenes[i].things] for i in chosen])
        ways = np.array([[RELATIONS[r] for r in scenes[i].relations] or [(0, 0)] * (count - 1) for i in chosen])
        units = _place(sides, ways.reshape(len(chosen), count - 1, 2), generator)
        room = (UNITS - sides[..., None] - units).min(axis=1, keepdims=True)  # to the right of everything, and below
        shift = np.where(room, generator.randint(0, size // UNITS, room.shape), 0)
        for i, corners in zip(chosen, units * (size // UNITS) + shift, strict=True):
            placed[i] = corners
    return placed


def _place(sides: Int[np.ndarray, "n k"], ways: Int[np.ndarray, "n k-1 2"], generator) -> Int[np.ndarray, "n k 2"]:
    """Corners in units, drawn again until they are allowed; none that could be is left out."""
    low = np.zeros((*sides.shape, 2), int)
    high = low + UNITS - sides[..., None]
    for i, way in enumerate(ways.swapaxes(0, 1)):  # the first one's end, and a gap, come before the second one begins
        for one, other, where in ((i, i + 1, way > 0), (i + 1, i, way < 0)):
            low[:, other] = np.where(where, sides[:, one, None] + 1, low[:, other])
            high[:, one] = np.where(where, high[:, one] - sides[:, other, None] - 1, high[:, one])
    corners, left = np.zeros_like(low), np.arange(len(sides))
    while len(left):
        tries = min(max(TRIES // len(left), FEWEST), MOST)
        drawn = generator.randint(low[left, None], high[left, None] + 1, (len(left), tries, *low.shape[1:]))
        good = allowed(drawn, sides[left][:, None], ways[left][:, None])
        found = good.any(axis=1)
        corners[left[found]] = drawn[found, good[found].argmax(axis=1)]
        left = left[~found]
    return corners


def allowed(
    corners: Int[np.ndarray, "*n k 2"], sides: Int[np.ndarray, "*n k"], ways: Int[np.ndarray, "*n k-1 2"]
) -> Bool[np.ndarray, "*n"]:
    """Whether no two things touch, and each is clearly where its relation to the next wants it; (0, 0): anywhere."""
    good = np.ones(corners.shape[:-2], bool)
    count = corners.shape[-2]
    for i in range(count):
        for j in range(i + 1, count):
            after = corners[..., j, :] - corners[..., i, :] - sides[..., i, None]  # from i's end to j's beginning
            before = corners[..., i, :] - corners[..., j, :] - sides[..., j, None]
            good &= (np.maximum(after, before) >= 1).any(axis=-1)
            if j != i + 1:
                continue
            apart = 2 * (corners[..., j, :] - corners[..., i, :]) + sides[..., j, None] - sides[..., i, None]
            way = ways[..., i, :]
            gap = np.where(way > 0, after, before)
            clear = (way == 0) | ((gap >= 1) & (np.abs(apart) >= 2 * np.abs(apart[..., ::-1])))
            good &= clear.all(axis=-1) | (way == 0).all(axis=-1)
    return good
