"""Whether pictures of shapes match their captions, read from the pixels without a network.

Each pixel is assigned the nearest colour of the palette. A connected component of one colour is a thing; its shape and
size are those of the stencil with the largest intersection over union at its best position, or none if that is below a
threshold. On rendered scenes the reading is exact. Any image gets a reading: noise reads as many things, or none.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage, signal

from diffjax.data.shapes import ATTRIBUTES, BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, parse, stencil
from diffjax.data.shapes.render import UNITS
from diffjax.errors import UserError

PALETTE = np.array([*COLOURS.values(), *BACKGROUNDS.values()], np.int32)
OVERLAP = 0.7  # minimum intersection over union of a thing and its stencil; below, the shape is NONE
SPECK = 1 / 3  # minimum area of a thing, as a share of the smallest shape's; anything smaller is a background flaw
GROUND = 0.75  # minimum share of one background colour among pixels outside things; below, the background is NONE
MOST = 6  # largest things, whose shapes are read; all things are counted
THRESHOLDS = {"overlap": OVERLAP, "speck": round(SPECK, 4), "ground": GROUND}  # part of the protocol
NONE = "none"  # matches no known value
MISSING = "missing"  # the requested thing is absent


class Seen(NamedTuple):
    """A thing in a picture, with size and shape possibly `NONE`, and its centre (row, column) in pixels."""

    thing: Thing
    middle: tuple[float, float]


class Reading(NamedTuple):
    """The contents of a picture: the largest things, the number of all things, and the background."""

    things: tuple[Seen, ...]
    count: int
    background: str


class Answer(NamedTuple):
    """The requested and the observed value of an attribute."""

    attribute: str
    wanted: str
    seen: str


@dataclass(frozen=True)
class Judgement:
    """A picture compared with the scene that it should show.

    One answer each for the number of things, the background, and each thing's shape, colour, size and relation to the
    next.
    """

    answers: tuple[Answer, ...]

    @property
    def exact(self) -> bool:
        return all(answer.wanted == answer.seen for answer in self.answers)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The attributes that differ from those wanted. A missing thing counts only as a wrong number of things."""
        different = {answer.attribute for answer in self.answers if answer.seen not in (answer.wanted, MISSING)}
        return tuple(attribute for attribute in ATTRIBUTES if attribute in different)


@dataclass(frozen=True)
class Alignment:
    """The alignment of many pictures with their captions."""

    count: int  # pictures
    exact: float  # share of pictures that match in every attribute
    attributes: dict[str, float]  # accuracy of each attribute that occurs in a caption
    confusion: dict[str, Counter[tuple[str, str]]]  # attribute -> counts of (wanted, seen)

    def matrix(self, attribute: str) -> tuple[tuple[str, ...], tuple[str, ...], Int[np.ndarray, "w s"]]:
        """The wanted values, the seen values, and the confusion matrix [wanted, seen] of an attribute."""
        answers = self.confusion[attribute]
        wanted, seen = (tuple(sorted({pair[side] for pair in answers})) for side in (0, 1))
        seen = tuple(dict.fromkeys((*(name for name in wanted if name in seen), *seen)))  # diagonal first
        return wanted, seen, np.array([[answers[row, column] for column in seen] for row in wanted])

    def mistakes(self, attribute: str, most: int = 3) -> str:
        """The `most` most frequent mistakes as text, such as "3 circle as square"."""
        wrong = Counter({pair: n for pair, n in self.confusion.get(attribute, {}).items() if len(set(pair)) > 1})
        return ", ".join(f"{n} {wanted} as {seen}" for (wanted, seen), n in wrong.most_common(most))


def alignment(captions: Iterable[str], images: UInt8[np.ndarray, "n h w 3"]) -> Alignment:
    """How well images match their captions.

    Raises UserError if there are no images, or a caption is not in the grammar of shapes.
    """
    judgements = [judge(parse(caption), image) for caption, image in zip(captions, images, strict=True)]
    if not judgements:
        raise UserError("images: none to judge; must be at least 1")
    confusion: dict[str, Counter] = {}
    for answer in (answer for judgement in judgements for answer in judgement.answers):
        confusion.setdefault(answer.attribute, Counter())[answer.wanted, answer.seen] += 1
    accuracy = {
        attribute: sum(n for (wanted, seen), n in answers.items() if wanted == seen) / answers.total()
        for attribute, answers in confusion.items()
    }
    return Alignment(
        len(judgements), sum(judgement.exact for judgement in judgements) / len(judgements), accuracy, confusion
    )


def judge(scene: Scene, image: UInt8[np.ndarray, "h w 3"]) -> Judgement:
    """Compares an image with the scene that it should show, matching things so that mistakes are fewest."""
    things, count, background = read(image)
    num_wanted = len(scene.things)
    scene_answers = (Answer("count", str(num_wanted), str(count)), Answer("background", scene.background, background))
    candidates = [*things, *[None] * (num_wanted - len(things))]
    matchings = (_answers(scene, matched) for matched in permutations(candidates, num_wanted))
    return Judgement(
        scene_answers + min(matchings, key=lambda answers: sum(answer.wanted != answer.seen for answer in answers))
    )


def _answers(scene: Scene, chosen: tuple[Seen | None, ...]) -> tuple[Answer, ...]:
    """The answers about the things of a scene, matched in order with `chosen`."""
    answers = []
    for thing, seen in zip(scene.things, chosen, strict=True):
        observed = seen.thing if seen else Thing(MISSING, MISSING, MISSING)
        answers += [Answer(a, getattr(thing, a), getattr(observed, a)) for a in ("shape", "colour", "size")]
    for relation, one, other in zip(scene.relations, chosen, chosen[1:], strict=False):
        answers.append(Answer("relation", relation, relation_of(one, other) if one and other else MISSING))
    return tuple(answers)


def relation_of(one: Seen, other: Seen) -> str:
    """The position of `one` relative to `other`, along the axis on which their centres are further apart."""
    dy, dx = (b - a for a, b in zip(one.middle, other.middle, strict=True))
    if abs(dy) == abs(dx):
        return NONE
    direction = (np.sign(dy), 0) if abs(dy) > abs(dx) else (0, np.sign(dx))
    return next(relation for relation, offset in RELATIONS.items() if offset == direction)


def read(image: UInt8[np.ndarray, "h w 3"]) -> Reading:
    """Reads the things in a picture, the largest first, and its background."""
    unit = image.shape[0] / UNITS
    distance = np.sum((image[:, :, None].astype(np.int32) - PALETTE) ** 2, axis=-1)
    nearest = distance.argmin(axis=-1)
    smallest = min(stencil(shape, round(side * unit)).sum() for shape in SHAPES for side in SIZES.values())
    things, is_ground = [], np.ones(nearest.shape, bool)
    for i, colour in enumerate(COLOURS):
        labels, count = ndimage.label(nearest == i, np.ones((3, 3)))
        for k, box in enumerate(ndimage.find_objects(labels, count), start=1):
            component = labels[box] == k
            if (area := int(component.sum())) >= SPECK * smallest:
                size, shape, middle = _fitted(component, unit)
                corner = (box[0].start, box[1].start)
                things.append((area, Seen(Thing(size, colour, shape), (corner[0] + middle[0], corner[1] + middle[1]))))
                is_ground[box] &= ~component
    shares = [(nearest[is_ground] == i).mean() if is_ground.any() else 0.0 for i in range(len(COLOURS), len(PALETTE))]
    background = list(BACKGROUNDS)[int(np.argmax(shares))] if max(shares) >= GROUND else NONE
    things.sort(key=lambda of: -of[0])
    return Reading(tuple(seen for _, seen in things[:MOST]), len(things), background)


def _fitted(part: Bool[np.ndarray, "h w"], unit: float) -> tuple[str, str, tuple[float, float]]:
    """The size and shape whose stencil fits a thing best, and its centre within the thing's bounding box."""
    best_overlap, answer = 0.0, (NONE, NONE)
    middle = tuple(float((side - 1) / 2) for side in part.shape)
    for size, units in SIZES.items():
        for shape in SHAPES:
            mask = stencil(shape, round(units * unit))
            intersection = signal.fftconvolve(part.astype(float), mask[::-1, ::-1].astype(float)).round()
            overlap = intersection / (part.sum() + mask.sum() - intersection)
            if overlap.max() > best_overlap:
                best_overlap = overlap.max()
                offset = np.unravel_index(overlap.argmax(), overlap.shape)
                answer = (size, shape)
                middle = tuple(float(at - (side - 1) / 2) for at, side in zip(offset, mask.shape, strict=True))
    return (*(answer if best_overlap >= OVERLAP else (NONE, NONE)), middle)
