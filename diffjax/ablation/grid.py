"""What to run, as a product of choices. Each point of a grid has a place in the table, and sets keys of a config.

    trained("configs/digits.py", seeds=3) * vary("eta", {...}) * vary("steps", {...}) + ...

`*` combines every point of one grid with every point of the other, `+` has the points of both. Two choices that
disagree about a key, or about a place, are an error: nothing is overridden silently.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffjax.errors import UserError
from diffjax.metrics.protocol import Metric

Numbers = Mapping[str, float | Metric]  # by name; a Metric brings its protocol


@dataclass(frozen=True)
class Run:
    """Another run that a point needs. As the value of a key it stands for that run's directory."""

    config: str  # FILE.py[:VARIANT]
    keys: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, config: str, **keys: Any) -> "Run":
        """A run of a config with some keys changed, which have "__" for their dots, as in `train__steps`."""
        return cls(config, tuple((_dotted(key), value) for key, value in keys.items()))


@dataclass(frozen=True)
class Point:
    """One place in a table and one seed, with what to run for it."""

    where: Mapping[str, str] = field(default_factory=dict)  # {"eta": "0.0", "steps": "10"}
    config: str = ""  # FILE.py[:VARIANT]
    seed: int | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)  # {"sampler.eta": 0.0}; a value may be a Run
    compute: Callable[..., Numbers] | None = None  # instead of a config: a function of the seed and the keys

    def __mul__(self, other: "Point") -> "Point":
        return Point(
            _together("the places", self.where, other.where),
            _one_of("configs", self.config, other.config),
            other.seed if self.seed is None else self.seed,
            _together("the keys", self.keys, other.keys),
            _one_of("functions", self.compute, other.compute),
        )


def _one_of(what: str, first: Any, second: Any) -> Any:
    if first and second:
        first, second = (getattr(each, "__name__", each) for each in (first, second))
        raise UserError(f"grid: {first} and {second} are two {what} for one point; use + between them")
    return first or second


def _together(what: str, first: Mapping, second: Mapping) -> dict:
    clash = sorted(key for key in first.keys() & second.keys() if first[key] != second[key])
    if clash:
        key = clash[0]
        raise UserError(f"grid: {what} of two choices disagree on {key}: {first[key]!r} and {second[key]!r}")
    return {**first, **second}


@dataclass(frozen=True)
class Grid:
    """Points, in the order in which they were given."""

    points: tuple[Point, ...]

    def __mul__(self, other: "Grid") -> "Grid":
        return Grid(tuple(left * right for left in self.points for right in other.points))

    def __add__(self, other: "Grid") -> "Grid":
        return Grid(self.points + other.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def where(self, wanted: Callable[[Mapping[str, str]], bool]) -> "Grid":
        """The points whose place satisfies `wanted`."""
        return Grid(tuple(point for point in self.points if wanted(point.where)))


def trained(config: str, seeds: int = 1, **keys: Any) -> Grid:
    """A training run of a config for each seed, from 0 on; keys with "__" for their dots, as in `train__steps`."""
    if seeds < 1:
        raise UserError(f"grid: seeds={seeds} must be at least 1")
    dotted = {_dotted(key): value for key, value in keys.items()}
    return Grid(tuple(Point(config=config, seed=seed, keys=dotted) for seed in range(seeds)))


def computed(function: Callable[..., Numbers], seeds: int = 1) -> Grid:
    """A computation that needs no training, a function of the experiment's file: `(seed, **keys) -> {score: value}`.

    If the value of a key is a Run, that is made first, and the function gets its directory.
    """
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise UserError(
            f"grid: computed must get a named function that the experiment's file defines, not {function!r}"
        )
    if seeds < 1:
        raise UserError(f"grid: seeds={seeds} must be at least 1")
    return Grid(tuple(Point(compute=function, seed=seed) for seed in range(seeds)))


def vary(name: str, choices: Mapping[Any, Mapping[str, Any] | Grid]) -> Grid:
    """One place along the axis `name` for each choice: {label: the keys it sets, or a grid of its own}."""
    points = []
    for label, choice in choices.items():
        labelled = Point(where={name: str(label)})
        if isinstance(choice, Grid):
            points += [labelled * point for point in choice]
        else:
            points.append(labelled * Point(keys=dict(choice)))
    return Grid(tuple(points))


def setting(**keys: Any) -> Grid:
    """One choice for all points: keys with "__" for their dots, as in `eval__num=2000`."""
    return Grid((Point(keys={_dotted(key): value for key, value in keys.items()}),))


def _dotted(key: str) -> str:
    return key.replace("__", ".")
