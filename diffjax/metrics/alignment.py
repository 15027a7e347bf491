"""Whether pictures of shapes show what their captions say, read from the pixels: no network judges.

A pixel is of the palette's nearest colour. Pixels of one colour that hang together are a thing, of the shape and size
whose stencil, laid over them at its best place, shares most of what either covers; of none where that is too little.
On rendered scenes the reading is exact. Whatever is drawn gets one: noise reads as many things, or none.
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
OVERLAP = 0.7  # of a thing and its stencil, intersection over union: less is no shape
SPECK = 1 / 3  # of the smallest shape's area: less is no thing, but a flaw of the background
GROUND = 0.75  # of the pixels beside things, the background's share: less is no background
MOST = 6  # things whose shapes are looked at, the largest; all are counted
THRESHOLDS = {"overlap": OVERLAP, "speck": round(SPECK, 4), "ground": GROUND}  # of the protocol of what is read
NONE = "none"  # what is there is none of these
MISSING = "missing"  # the thing that was asked about is not there


class Seen(NamedTuple):
    """A thing in a picture, its size and shape perhaps `NONE`, and the middle of it (row, column), pixels."""

    thing: Thing
    middle: tuple[float, float]


class Reading(NamedTuple):
    """What is in a picture: the largest things, the number of all, and what they are on."""

    things: tuple[Seen, ...]
    count: int
    background: str


class Answer(NamedTuple):
    """What was asked for, and what is there."""

    attribute: str
    wanted: str
    seen: str


@dataclass(frozen=True)
class Judgement:
    """A picture beside the scene that it was to show: an answer for the number of things, the background, and each
    thing's shape, colour, size and relation to the next."""

    answers: tuple[Answer, ...]

    @property
    def exact(self) -> bool:
        return all(answer.wanted == answer.seen for answer in self.answers)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The attributes of what is there that are not as they were wanted. Of a thing too few, the count alone."""
        different = {answer.attribute for answer in self.answers if answer.seen not in (answer.wanted, MISSING)}
        return tuple(attribute for attribute in ATTRIBUTES if attribute in different)


@dataclass(frozen=True)
class Alignment:
    """Of many pictures: the share that is exactly as asked, each attribute's share of right answers, all answers."""

    count: int
    exact: float
    attributes: dict[str, float]  # those that were asked about
    confusion: dict[str, Counter[tuple[str, str]]]  # how often (what was wanted, what was seen)

    def matrix(self, attribute: str) -> tuple[tuple[str, ...], tuple[str, ...], Int[np.ndarray, "w s"]]:
        """What was wanted, what was seen, each in order, and how often the one was seen where the other was wanted."""
        answers = self.confusion[attribute]
        wanted, seen = (tuple(sorted({pair[side] for pair in answers})) for side in (0, 1))
        seen = tuple(dict.fromkeys((*(name for name in wanted if name in seen), *seen)))  # the right ones first
        return wanted, seen, np.array([[answers[one, other] for other in seen] for one in wanted])

    def mistakes(self, attribute: str, most: int = 3) -> str:
        """The commonest mistakes, in words."""
        wrong = Counter({pair: n for pair, n in self.confusion.get(attribute, {}).items() if len(set(pair)) > 1})
        return ", ".join(f"{n} {wanted} as {seen}" for (wanted, seen), n in wrong.most_common(most))


def alignment(captions: Iterable[str], images: UInt8[np.ndarray, "n h w 3"]) -> Alignment:
    """How well images are what their captions say. Raises UserError if there are none, or one is not about shapes."""
    judged = [judge(parse(caption), image) for caption, image in zip(captions, images, strict=True)]
    if not judged:
        raise UserError("images: there are none to judge; at least 1")
    confusion: dict[str, Counter] = {}
    for answer in (answer for judgement in judged for answer in judgement.answers):
        confusion.setdefault(answer.attribute, Counter())[answer.wanted, answer.seen] += 1
    right = {
        attribute: sum(n for (wanted, seen), n in answers.items() if wanted == seen) / answers.total()
        for attribute, answers in confusion.items()
    }
    return Alignment(len(judged), sum(judgement.exact for judgement in judged) / len(judged), right, confusion)


def judge(scene: Scene, image: UInt8[np.ndarray, "h w 3"]) -> Judgement:
    """What is as `scene` wants it. Which thing is meant for which is settled by the fewest mistakes."""
    things, count, background = read(image)
    wanted = len(scene.things)
    whole = (Answer("count", str(wanted), str(count)), Answer("background", scene.background, background))
    there = [*things, *[None] * (wanted - len(things))]
    ways = (_answers(scene, chosen) for chosen in permutations(there, wanted))
    return Judgement(whole + min(ways, key=lambda answers: sum(answer.wanted != answer.seen for answer in answers)))


def _answers(scene: Scene, chosen: tuple[Seen | None, ...]) -> tuple[Answer, ...]:
    """About each thing, if `chosen` are what is there of them."""
    answers = []
    for thing, seen in zip(scene.things, chosen, strict=True):
        there = seen.thing if seen else Thing(MISSING, MISSING, MISSING)
        answers += [Answer(a, getattr(thing, a), getattr(there, a)) for a in ("shape", "colour", "size")]
    for relation, one, other in zip(scene.relations, chosen, chosen[1:], strict=False):
        answers.append(Answer("relation", relation, relation_of(one, other) if one and other else MISSING))
    return tuple(answers)


def relation_of(one: Seen, other: Seen) -> str:
    """Where one thing is, seen from another: by the axis along which their middles are further apart."""
    down, right = (b - a for a, b in zip(one.middle, other.middle, strict=True))
    if abs(down) == abs(right):
        return NONE
    way = (np.sign(down), 0) if abs(down) > abs(right) else (0, np.sign(right))
    return next(relation for relation, of in RELATIONS.items() if of == way)


def read(image: UInt8[np.ndarray, "h w 3"]) -> Reading:
    """The things in a picture, the largest first, and its background."""
    unit = image.shape[0] / UNITS
    distance = np.sum((image[:, :, None].astype(np.int32) - PALETTE) ** 2, axis=-1)
    nearest = distance.argmin(axis=-1)
    smallest = min(stencil(shape, round(side * unit)).sum() for shape in SHAPES for side in SIZES.values())
    found, beside = [], np.ones(nearest.shape, bool)
    for i, colour in enumerate(COLOURS):
        parts, count = ndimage.label(nearest == i, np.ones((3, 3)))
        for k, box in enumerate(ndimage.find_objects(parts, count), start=1):
            part = parts[box] == k
            if (area := int(part.sum())) >= SPECK * smallest:
                size, shape, middle = _fitted(part, unit)
                corner = (box[0].start, box[1].start)
                found.append((area, Seen(Thing(size, colour, shape), (corner[0] + middle[0], corner[1] + middle[1]))))
                beside[box] &= ~part
    shares = [(nearest[beside] == i).mean() if beside.any() else 0.0 for i in range(len(COLOURS), len(PALETTE))]
    background = list(BACKGROUNDS)[int(np.argmax(shares))] if max(shares) >= GROUND else NONE
    found.sort(key=lambda of: -of[0])
    return Reading(tuple(seen for _, seen in found[:MOST]), len(found), background)


def _fitted(part: Bool[np.ndarray, "h w"], unit: float) -> tuple[str, str, tuple[float, float]]:
    """The size and shape whose stencil fits a thing best, and its middle in the thing's box."""
    best, answer = 0.0, (NONE, NONE)
    middle = tuple(float((side - 1) / 2) for side in part.shape)
    for size, units in SIZES.items():
        for shape in SHAPES:
            mask = stencil(shape, round(units * unit))
            common = signal.fftconvolve(part.astype(float), mask[::-1, ::-1].astype(float)).round()
            overlap = common / (part.sum() + mask.sum() - common)
            if overlap.max() > best:
                best = overlap.max()
                place = np.unravel_index(overlap.argmax(), overlap.shape)
                answer = (size, shape)
                middle = tuple(float(at - (side - 1) / 2) for at, side in zip(place, mask.shape, strict=True))
    return (*(answer if best >= OVERLAP else (NONE, NONE)), middle)
