"""Image data sets of TensorFlow Datasets in ArrayRecord form. Reading them needs no TensorFlow; preparing them does."""

import contextlib
import difflib
import importlib.util
import logging
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diffjax.data.source import Examples, check_size, check_split, read_image
from diffjax.data.space import Space
from diffjax.data.text import distinct, encode, fits, longest, sentences
from diffjax.errors import UserError
from diffjax.progress import aside

SHOWN = 64  # captions of the held-out split that samples are drawn by where none are asked for
HELDOUT_PERCENT = 10  # of the training split, its end, where the data set has neither "test" nor "validation"


@dataclass(frozen=True)
class TFDS:
    """`dataset` as TFDS names it: "mnist", "cifar10:3.0.2", "name/config". `read_image` says how images are decoded.

    Raises UserError when it is unknown, not prepared, has no 8-bit images, or images of several sizes and no `size`.
    """

    dataset: str
    data_dir: str = ""  # where data sets are prepared; "": the environment's TFDS_DATA_DIR, or ~/tensorflow_datasets
    size: int = 0  # pixels, height and width after resizing and cropping; 0: as they are, all alike
    flip: bool = False  # training sees mirrored twins too
    train: str = "train"  # TFDS split to train on
    heldout: str = ""  # TFDS split; "": "test", or "validation", or the last 10 % of `train`
    image: str = "image"  # name of the image feature
    label: str = "label"  # name of the class feature; "": no labels, nor are there any where it does not exist
    caption: str = ""  # name of a text feature; or a sentence with {} for the class, "a handwritten {}"; "": none
    caption_bytes: int = 128  # of a text feature's UTF-8 that are read; a longer caption is cut

    def __post_init__(self):
        check_size(self.size)
        if self.caption_bytes < 1:
            raise UserError(f"data.caption_bytes: {self.caption_bytes} is not a number of bytes; at least 1")

    @property
    def directory(self) -> str | None:
        """Where to look for it; None is TFDS's own choice."""
        place = self.data_dir or os.environ.get("TFDS_DATA_DIR")
        return os.path.expanduser(place) if place else None

    @cached_property
    def space(self) -> Space:
        from tensorflow_datasets import features

        known = dict(self._builder.info.features.items())
        image, label = known.get(self.image), known.get(self.label)
        if not isinstance(image, features.Image) or image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
            has = f"'tfds:{self.dataset}' has {', '.join(known)}"
            raise UserError(f"data.image: {self.image!r} is no grey or RGB 8-bit image; {has}")
        if label is not None and not isinstance(label, features.ClassLabel):
            raise UserError(f"data.label: {self.label!r} of 'tfds:{self.dataset}' is no class; '' does without labels")
        if label is None and self.label not in ("", "label"):
            raise UserError(f"data.label: 'tfds:{self.dataset}' has no {self.label!r}; it has {', '.join(known)}")
        *sides, channels = image.shape
        if self.size:
            sides = [self.size, self.size]
        elif None in sides:
            raise UserError(f"data.size: 0, but the images of 'tfds:{self.dataset}' differ in size; give data.size")
        names = tuple(label.names or ()) if label else ()
        space = Space("images", (*sides, channels), num_classes=label.num_classes if label else 0, class_names=names)
        return replace(space, **self._words(known, names)) if self.caption else space

    def _words(self, known: dict, names: tuple[str, ...]) -> dict[str, Any]:
        """The space's fields about captions: of a feature, or of the classes' names."""
        from tensorflow_datasets import features

        if self._is_template:
            if not names:
                raise UserError(f"data.caption: {self.caption!r} names classes, and 'tfds:{self.dataset}' has none")
            texts = tuple(sentences(self.caption, names))
            return {"caption": longest(texts), "prompts": texts}
        if not isinstance(known.get(self.caption), features.Text):
            has = f"'tfds:{self.dataset}' has {', '.join(sorted(known))}"
            raise UserError(f"data.caption: {self.caption!r} is no text feature, nor a sentence with {{}}; {has}")
        source = self._builder.as_data_source(self._names()["heldout"], decoders=self._encoded)
        some = source.__getitems__(list(range(min(SHOWN, len(source)))))
        return {"caption": self.caption_bytes, "prompts": distinct(self._text(example) for example in some)}

    @property
    def _is_template(self) -> bool:
        return "{}" in self.caption

    @property
    def _encoded(self) -> dict[str, Any]:
        """Images are left encoded: TFDS would decode with OpenCV where there is one, to other pixels."""
        from tensorflow_datasets import decode

        return {self.image: decode.SkipDecoding()}

    def _text(self, example: dict) -> str:
        """An example's caption; says it once if some are cut. Raises UserError if it is not UTF-8."""
        text = example[self.caption]
        try:
            text = " ".join((text.decode() if isinstance(text, bytes) else str(text)).split())
        except UnicodeDecodeError as error:
            raise UserError(f"data.caption: {text!r} of 'tfds:{self.dataset}' is not UTF-8") from error
        if not fits(text, self.caption_bytes):
            _ = self._some_are_cut
        return text

    @cached_property
    def _some_are_cut(self) -> None:
        """Says so, once: of examples that are read as they are needed nobody knows how many it is true of."""
        which = f"some captions of 'tfds:{self.dataset}' are longer than the {self.caption_bytes} bytes"
        aside(f"data.caption: {which} that are read; what comes after is cut (data.caption_bytes)")

    def split(self, name: str) -> Examples:
        check_split(name)
        space = self.space
        shape, classes, length = space.shape, space.num_classes, space.caption
        source = self._builder.as_data_source(self._names()[name], decoders=self._encoded)

        def take(indices):
            found = source.__getitems__([int(i) for i in indices])  # one read for all: half the time of one by one
            x, label = np.empty((len(found), *shape), np.uint8), np.zeros(len(found), np.int32)
            for i, example in enumerate(found):
                title = f"example {indices[i]} of 'tfds:{self.dataset}'"
                x[i] = read_image(example[self.image], shape[-1], self.size, title)
                label[i] = example[self.label] if classes else 0
            if not length:
                return {"x": x, "label": label}
            by_class = self._is_template
            texts = [space.prompts[i] for i in label] if by_class else [self._text(example) for example in found]
            return {"x": x, "label": label, "caption": encode(texts, length)}

        return Examples(len(source), take)

    def _names(self) -> dict[str, str]:
        """Our two splits in the language of TFDS."""
        there = list(self._builder.info.splits)
        for field, value in (("train", self.train), ("heldout", self.heldout)):
            if value and value.split("[")[0] not in there:
                has = f"'tfds:{self.dataset}' has {', '.join(there)}"
                raise UserError(f"data.{field}: {value!r} is no split; {has}")
        other = self.heldout or next((name for name in ("test", "validation") if name in there), "")
        if other:
            return {"train": self.train, "heldout": other}
        if "[" in self.train:
            raise UserError(f"data.heldout: name what data.train={self.train!r} leaves of 'tfds:{self.dataset}'")
        return {
            "train": f"{self.train}[:{100 - HELDOUT_PERCENT}%]",
            "heldout": f"{self.train}[{100 - HELDOUT_PERCENT}%:]",
        }

    @cached_property
    def _builder(self) -> Any:
        builder = _find(self)
        if _format(builder) != "array_record":
            raise UserError(_unprepared(self, str(builder.data_path)))
        return builder


def prepare(source: TFDS) -> str:
    """Downloads a data set and writes it in ArrayRecord form; returns where it is. Does nothing if it is there already.

    Raises UserError when TensorFlow is missing, when the place holds it in another form, or when TFDS wants files that
    only the user may download.
    """
    if not isinstance(source, TFDS):
        raise UserError("data.name: only tfds:NAME is prepared; other sources need no preparation")
    builder = _find(source)
    form = _format(builder)
    if form == "array_record":
        return str(builder.data_path)
    if form:
        where = f"{builder.data_path} holds 'tfds:{source.dataset}' as {form}"
        raise UserError(f"data.data_dir: {where}, and ArrayRecord is needed; give another data_dir or TFDS_DATA_DIR")
    if importlib.util.find_spec("tensorflow") is None:
        how = 'pip install "diffjax[prepare]"'
        raise UserError(f"data.name: preparing 'tfds:{source.dataset}' needs TensorFlow: {how}")
    builder = _find(source, file_format="array_record")
    try:
        builder.download_and_prepare()
    except AssertionError as error:  # TFDS's way to say that files must be downloaded by hand, and where to
        raise UserError(f"data.name: 'tfds:{source.dataset}': {_one_line(error)}") from error
    return str(builder.data_path)


def _find(source: TFDS, **options) -> Any:
    """The TFDS builder, or a UserError that says what the name or its version, or configuration, should have been."""
    import tensorflow_datasets as tfds

    try:
        with _quiet():
            builder = tfds.builder(source.dataset, data_dir=source.directory, **options)
            _ = builder.info  # read on first use
            return builder
    except tfds.core.registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)  # the community's list needs the network
        close = difflib.get_close_matches(source.dataset, known, n=3, cutoff=0.5)
        hint = f"did you mean tfds:{' or tfds:'.join(close)}?" if close else "see tensorflow.org/datasets"
        raise UserError(f"data.name: 'tfds:{source.dataset}' is unknown; {hint}") from error
    except (AssertionError, ValueError) as error:  # a version or a configuration that does not exist
        raise UserError(f"data.name: 'tfds:{source.dataset}': {_one_line(error)}") from error
    except ImportError as error:  # some data sets' code imports TensorFlow or other packages, where no copy is prepared
        raise UserError(f"{_unprepared(source, source.directory or '~/tensorflow_datasets')} ({error})") from error


def _format(builder: Any) -> str:
    """The form in which a data set lies there, "" if it does not."""
    with _quiet():
        return builder.info.file_format.value if builder.is_prepared() else ""


def _unprepared(source: TFDS, place: str) -> str:
    return (
        f"data.name: 'tfds:{source.dataset}' is not prepared in ArrayRecord form at {place}; "
        "run `python launch.py prepare --config=...`, or point TFDS_DATA_DIR or data.data_dir to where it is"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).rpartition('}": ')[2].split())  # less TFDS's prefix of keyword arguments


@contextlib.contextmanager
def _quiet():
    """Without TFDS's warnings about folders that are not there: our error says it, in one line."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
