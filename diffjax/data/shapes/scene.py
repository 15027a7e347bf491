"""Scenes of shapes and the grammar of their captions; `Scene.caption` and `parse` are inverses.

a large red circle on white
a large red circle above a small blue square on black
a large red circle above a small blue square which is left of a small green triangle on grey
three small blue squares on white
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from diffjax.errors import UserError

SIZES = {"small": 4, "large": 7}  # sides, in sixteenths of the image's side
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
SHAPES = ("circle", "square", "triangle")
BACKGROUNDS = {"black": (0, 0, 0), "grey": (128, 128, 128), "white": (255, 255, 255)}
RELATIONS = {"above": (1, 0), "below": (-1, 0), "left of": (0, 1), "right of": (0, -1)}  # (down, right) to the second
NUMBERS = {2: "two", 3: "three"}
ATTRIBUTES = ("count", "shape", "colour", "size", "relation", "background")


class Thing(NamedTuple):
    """One shape, described by words."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return " ".join(self)


@dataclass(frozen=True)
class Scene:
    """One to three things on a background: each in a relation to the next, or, without relations, all identical."""

    things: tuple[Thing, ...]
    relations: tuple[str, ...]
    background: str

    @property
    def caption(self) -> str:
        """The sentence that describes the scene."""
        if self.counted:
            subject = f"{NUMBERS[len(self.things)]} {self.things[0]}s"
        else:
            subject = f"a {self.things[0]}"
            for i, (relation, thing) in enumerate(zip(self.relations, self.things[1:], strict=True)):
                subject += f"{' which is' if i else ''} {relation} a {thing}"
        return f"{subject} on {self.background}"

    @property
    def counted(self) -> bool:
        """Whether the caption gives the number of identical things instead of their relations."""
        return len(self.things) > 1 and not self.relations


def across(relation: str) -> tuple[str, ...]:
    """The relations along the other axis: for "above", "left of" and "right of"."""
    vertical = bool(RELATIONS[relation][0])
    return tuple(name for name, (dy, _) in RELATIONS.items() if bool(dy) != vertical)


def parse(caption: str) -> Scene:
    """Parses a caption. Raises UserError for a sentence outside the grammar."""
    if match := _COUNTED.fullmatch(caption):
        number_word, *thing, background = match.groups()
        count = next(count for count, word in NUMBERS.items() if word == number_word)
        return Scene((Thing(*thing),) * count, (), background)
    if match := _CHAIN.fullmatch(caption):
        *groups, background = match.groups()
        things = tuple(Thing(*groups[i : i + 3]) for i in (0, 4, 8) if groups[i])
        return Scene(things, tuple(filter(None, (groups[3], groups[7]))), background)
    raise UserError(f"caption: {caption!r} is no sentence about shapes, such as {_EXAMPLE!r}")


def _any(words) -> str:
    return f"({'|'.join(words)})"


_EXAMPLE = "a large red circle above a small blue square on white"
_THING = f"{_any(SIZES)} {_any(COLOURS)} {_any(SHAPES)}"
_SECOND, _THIRD = (f" {which}{_any(RELATIONS)} a {_THING}" for which in ("", "which is "))
_CHAIN = re.compile(f"a {_THING}(?:{_SECOND}(?:{_THIRD})?)? on {_any(BACKGROUNDS)}")
_COUNTED = re.compile(f"{_any(NUMBERS.values())} {_THING}s on {_any(BACKGROUNDS)}")
