"""Arranges samples on a sheet: in a grid, by class, by prompt, or above their captions."""

import dataclasses

import numpy as np

from diffjax.data import Space
from diffjax.data.text import decode
from diffjax.drawing import pictures
from diffjax.experiment import Experiment
from diffjax.inference.sampling import Drawn

SHOWN = {"images": 64, "points": 2_000, "categories": 48}  # samples on a sheet
GIVEN = "given"  # caption of the images on a sheet that are not samples, such as a photo
COLUMNS = 8  # samples of one prompt side by side
CONTRAST = 64.0  # greys per standard deviation of continuous pixels: black and white are two from the mean


def sheet_size(space: Space) -> int:
    """The number of samples on a sheet."""
    return SHOWN["images" if space.pictured else space.kind]


def first(drawn: Drawn, space: Space) -> Drawn:
    """The first samples, as many as a sheet shows."""
    return dataclasses.replace(drawn, x=drawn.x[: sheet_size(space)], label=drawn.label[: sheet_size(space)])


def by_class(drawn: Drawn, space: Space, each: int = 8, most: int = 20) -> np.ndarray:
    """A sheet with a row of the first samples of each class; at most `most` classes, evenly spaced."""
    classes = np.unique(drawn.label)
    classes = classes[np.unique(np.linspace(0, len(classes) - 1, min(most, len(classes))).round().astype(int))]
    indices = [np.flatnonzero(drawn.label == label)[:each] for label in classes]
    columns = min(map(len, indices))
    names = [space.class_names[label] if space.class_names else str(label) for label in classes]
    return pictures.grid(drawn.x[np.concatenate([row[:columns] for row in indices])], columns=columns, rows=names)


def captioned(drawn: Drawn, photos: np.ndarray | None = None) -> np.ndarray:
    """A sheet of the samples above the captions they were drawn with; edited `photos` come first."""
    x, captions = drawn.x, [pictures.wrapped(text, 18) for text in decode(drawn.label)]
    if photos is not None:
        x, captions = np.concatenate([photos, x]), [GIVEN] * len(photos) + captions
    return pictures.grid(x, columns=min(8, len(captions)), captions=captions)


def by_prompt(prompts: int, drawn: Drawn, photos: np.ndarray | None = None) -> np.ndarray:
    """A sheet with rows of at most COLUMNS samples for each prompt, the prompt at its left; `photos` are above."""
    groups = [drawn.x[i::prompts] for i in range(prompts)]
    names = [pictures.wrapped(text, 28) for text in decode(drawn.label[:prompts])]
    if photos is not None:
        groups, names = [photos, *groups], [GIVEN, *names]
    lines = [(group[i : i + COLUMNS], "" if i else name) for group, name in zip(groups, names, strict=True)
             for i in range(0, len(group), COLUMNS)]  # fmt: skip
    return pictures.table([images for images, _ in lines], rows=[name for _, name in lines])


def picture(experiment: Experiment, drawn: Drawn, photos: np.ndarray | None = None) -> np.ndarray:
    """A picture of the samples: a grid of images, rows of categories, or points over held-out ones.

    Edited `photos` come before their edits. Of points in space the first two coordinates are shown.
    """
    space = experiment.method.space
    if space.kind == "images" and experiment.method.reads_captions:
        return captioned(drawn, photos)
    if space.kind == "images":
        return pictures.grid(drawn.x if photos is None else np.concatenate([photos, drawn.x]))
    if space.kind == "categories":
        return pictures.rows(drawn.x.reshape(len(drawn.x), -1), space.values)
    if space.pictured:
        greys = 127.5 + CONTRAST * space.to_model(drawn.x)
        # NaN is shown black, and counted in the samples' `not_finite`.
        shown = np.where(np.isfinite(greys), greys, 0).clip(0, 255).round()
        return pictures.grid(shown.astype(np.uint8))
    return pictures.scatter(drawn.x[:, :2], experiment.source.split("heldout").arrays()["x"][:2000, :2])
