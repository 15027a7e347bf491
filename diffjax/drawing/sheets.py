"""Samples as a person wants to see them: on a sheet, by class, above their captions."""

import dataclasses

import numpy as np

from diffjax import pictures
from diffjax.data import Space
from diffjax.data.text import decode
from diffjax.run import Experiment
from diffjax.sampling import Drawn

SHOWN = {"images": 64, "points": 2_000, "categories": 48}  # samples on a sheet
GIVEN = "given"  # what names a photo, and whatever else is no sample, among the samples
CONTRAST = 64.0  # greys for a standard deviation of continuous pixels: two of them reach from black to white


def pictured(space: Space) -> int:
    """How many samples are shown on a sheet."""
    return SHOWN["images" if space.pictured else space.kind]


def first(drawn: Drawn, space: Space) -> Drawn:
    """As many of the samples as are shown on a sheet."""
    return dataclasses.replace(drawn, x=drawn.x[: pictured(space)], label=drawn.label[: pictured(space)])


def by_class(drawn: Drawn, space: Space, each: int = 8, most: int = 20) -> np.ndarray:
    """The first samples of each class, a row a class; of many classes some from all over."""
    there = np.unique(drawn.label)
    classes = there[np.unique(np.linspace(0, len(there) - 1, min(most, len(there))).round().astype(int))]
    chosen = [np.flatnonzero(drawn.label == label)[:each] for label in classes]
    columns = min(map(len, chosen))
    names = [space.class_names[label] if space.class_names else str(label) for label in classes]
    return pictures.grid(drawn.x[np.concatenate([of[:columns] for of in chosen])], columns=columns, rows=names)


def captioned(drawn: Drawn, given: np.ndarray | None = None) -> np.ndarray:
    """The samples, each above the caption that it was drawn by; images that were `given` before them."""
    x, captions = drawn.x, [pictures.wrapped(text, 18) for text in decode(drawn.label)]
    if given is not None:
        x, captions = np.concatenate([given, x]), [GIVEN] * len(given) + captions
    return pictures.grid(x, columns=min(8, len(captions)), captions=captions)


def picture(experiment: Experiment, drawn: Drawn, given: np.ndarray | None = None) -> np.ndarray:
    """A grid of images, rows of categories, or points over the real ones.

    Images that were `given` to be edited stand before their edits. Of points in space the first two coordinates are
    shown.
    """
    space = experiment.method.space
    if space.kind == "images" and experiment.method.reads_captions:
        return captioned(drawn, given)
    if space.kind == "images":
        return pictures.grid(drawn.x if given is None else np.concatenate([given, drawn.x]))
    if space.kind == "categories":
        return pictures.rows(drawn.x.reshape(len(drawn.x), -1), space.values)
    if space.pictured:
        greys = 127.5 + CONTRAST * space.to_model(drawn.x)
        shown = np.where(np.isfinite(greys), greys, 0).clip(0, 255).round()  # what is no number is black, and counted
        return pictures.grid(shown.astype(np.uint8))
    return pictures.scatter(drawn.x[:, :2], experiment.source.split("heldout").arrays()["x"][:2000, :2])
