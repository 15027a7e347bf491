"""Image data sets of TensorFlow Datasets in ArrayRecord format. Only preparing them needs TensorFlow."""

import contextlib
import difflib
import importlib.util
import logging
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diffjax.data.images import check_size, read_image
from diffjax.data.source import Examples, check_split
from diffjax.data.space import Space
from diffjax.data.text import distinct, encode, fits, longest, sentences
from diffjax.errors import UserError
from diffjax.host.progress import to_stderr

SHOWN = 64  # held-out captions that are the default prompts of samples
HELDOUT_PERCENT = 10  # of the training split, from its end, if the data set has neither "test" nor "validation"


@dataclass(frozen=True)
class TFDS:
    """The data set that TFDS names `dataset`: "mnist", "cifar10:3.0.2", "name/config"; `read_image` decodes images.

    Raises UserError if it is unknown, not prepared, has no 8-bit images, or has images of several sizes and no `size`;
    and for splits that share examples, or have a label but none for some example.
    """

    dataset: str
    data_dir: str = ""  # where data sets are prepared; "": the environment's TFDS_DATA_DIR, or ~/tensorflow_datasets
    size: int = 0  # pixels, height and width after resizing and cropping; 0: unchanged, for images of one size
    flip: bool = False  # training also sees mirrored images
    train: str = "train"  # TFDS split to train on
    heldout: str = ""  # TFDS split; "": "test" or "validation", unless trained on, or the last 10 % of `train`
    image: str = "image"  # name of the image feature
    label: str = "label"  # name of the class feature; "", or no feature "label": no labels
    caption: str = ""  # name of a text feature; or a sentence with {} for the class, "a handwritten {}"; "": none
    caption_bytes: int = 128  # maximum length of a text feature in UTF-8; a longer caption is cut

    def __post_init__(self):
        check_size(self.size)
        if self.caption_bytes < 1:
            raise UserError(f"data.caption_bytes: {self.caption_bytes}; must be at least 1")

    @property
    def directory(self) -> str | None:
        """The directory of prepared data sets; None for TFDS's default."""
        path = self.data_dir or os.environ.get("TFDS_DATA_DIR")
        return os.path.expanduser(path) if path else None

    @cached_property
    def space(self) -> Space:
        from tensorflow_datasets import features

        feature_specs = dict(self._builder.info.features.items())
        image, label = feature_specs.get(self.image), feature_specs.get(self.label)
        if not isinstance(image, features.Image) or image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
            available = f"'tfds:{self.dataset}' has {', '.join(feature_specs)}"
            raise UserError(f"data.image: {self.image!r} is no grey or RGB 8-bit image; {available}")
        if label is not None and not isinstance(label, features.ClassLabel):
            raise UserError(
                f"data.label: {self.label!r} of 'tfds:{self.dataset}' must be a class feature, or '' for no labels"
            )
        if label is None and self.label not in ("", "label"):
            raise UserError(
                f"data.label: 'tfds:{self.dataset}' has no {self.label!r}; must be one of {', '.join(feature_specs)}"
            )
        *sides, channels = image.shape
        if self.size:
            sides = [self.size, self.size]
        elif None in sides:
            raise UserError(f"data.size: 0, but the images of 'tfds:{self.dataset}' differ in size; give data.size")
        names = tuple(label.names or ()) if label else ()
        space = Space("images", (*sides, channels), num_classes=label.num_classes if label else 0, class_names=names)
        return replace(space, **self._words(feature_specs, names)) if self.caption else space

    def _words(self, known: dict, names: tuple[str, ...]) -> dict[str, Any]:
        """The caption fields of the space, from a text feature or from class names."""
        from tensorflow_datasets import features

        if self._is_template:
            if not names:
                raise UserError(f"data.caption: {self.caption!r} needs class names; 'tfds:{self.dataset}' has none")
            texts = tuple(sentences(self.caption, names))
            return {"caption": longest(texts), "prompts": texts}
        if not isinstance(known.get(self.caption), features.Text):
            available = f"'tfds:{self.dataset}' has {', '.join(sorted(known))}"
            raise UserError(f"data.caption: {self.caption!r} is no text feature, nor a sentence with {{}}; {available}")
        source = self._builder.as_data_source(self._names()["heldout"], decoders=self._encoded)
        examples = source.__getitems__(list(range(min(SHOWN, len(source)))))
        return {"caption": self.caption_bytes, "prompts": distinct(self._text(example) for example in examples)}

    @property
    def _is_template(self) -> bool:
        return "{}" in self.caption

    @property
    def _encoded(self) -> dict[str, Any]:
        """TFDS decoders that leave images encoded, as TFDS may decode with OpenCV, which gives other pixels."""
        from tensorflow_datasets import decode

        return {self.image: decode.SkipDecoding()}

    def _text(self, example: dict) -> str:
        """An example's caption, and reports once if any is cut. Raises UserError if it is not UTF-8."""
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
        """Reports, once, that captions are cut: how many is unknown, as examples are read on demand."""
        summary = f"some captions of 'tfds:{self.dataset}' are longer than the {self.caption_bytes} bytes"
        to_stderr(f"data.caption: {summary} that are read; what comes after is cut (data.caption_bytes)")

    def split(self, name: str) -> Examples:
        check_split(name)
        space = self.space
        shape, classes, length = space.shape, space.num_classes, space.caption
        source = self._builder.as_data_source(self._names()[name], decoders=self._encoded)
        if classes and len(source):  # a test split without labels has none at all: known before hours of training
            self._label(source.__getitems__([0])[0], name)

        def take(indices):
            examples = source.__getitems__([int(i) for i in indices])  # a single read takes half the time of one by one
            x, label = np.empty((len(examples), *shape), np.uint8), np.zeros(len(examples), np.int32)
            for i, example in enumerate(examples):
                image_name = f"example {indices[i]} of 'tfds:{self.dataset}'"
                x[i] = read_image(example[self.image], shape[-1], self.size, image_name)
                label[i] = self._label(example, name) if classes else 0
            if not length:
                return {"x": x, "label": label}
            by_class = self._is_template
            texts = [space.prompts[i] for i in label] if by_class else [self._text(example) for example in examples]
            return {"x": x, "label": label, "caption": encode(texts, length)}

        return Examples(len(source), take)

    def _label(self, example: dict, split: str) -> int:
        """An example's class. Raises UserError if it is negative: so TFDS fills test splits whose labels are secret."""
        label = int(example[self.label])
        if label >= 0:
            return label
        names = self._names()
        used = {name.split("[")[0] for name in names.values()}
        other = next((name for name in self._builder.info.splits if name not in used), "")
        hint = f", such as data.{split}={other}" if other else ""
        raise UserError(
            f"data.{split}: {names[split]!r} of 'tfds:{self.dataset}' has examples without a label ({label}); must be a"
            f" split with labels{hint}, or give data.label='' for none"
        )

    def _names(self) -> dict[str, str]:
        """The TFDS names of our two splits. Raises UserError if one does not exist, or they share examples."""
        splits = list(self._builder.info.splits)
        for field, value in (("train", self.train), ("heldout", self.heldout)):
            if value and value.split("[")[0] not in splits:
                available = f"'tfds:{self.dataset}' has {', '.join(splits)}"
                raise UserError(f"data.{field}: {value!r} is no split; {available}")
        train = self._parts("train", self.train)
        if self.heldout and _overlap(train, self._parts("heldout", self.heldout)):
            shared = f"shares examples with data.train={self.train!r}; must have others"
            raise UserError(f"data.heldout: {self.heldout!r} of 'tfds:{self.dataset}' {shared}")
        usual = [name for name in ("test", "validation") if name in splits]
        unused = [name for name in usual if not _overlap(train, self._parts("heldout", name))]
        if heldout := self.heldout or next(iter(unused), ""):
            return {"train": self.train, "heldout": heldout}
        if "[" in self.train:
            raise UserError(
                f"data.heldout: is empty; must name the part of 'tfds:{self.dataset}' that data.train={self.train!r}"
                " leaves"
            )
        return {
            "train": f"{self.train}[:{100 - HELDOUT_PERCENT}%]",
            "heldout": f"{self.train}[{100 - HELDOUT_PERCENT}%:]",
        }

    def _parts(self, field: str, split: str) -> list[tuple[str, int, int]]:
        """What a TFDS split, such as "train[:90%]", reads: (file, number of the first example, that after the last)."""
        try:
            parts = self._builder.info.splits[split].file_instructions
        except Exception as error:  # TFDS raises several types
            form = "must be as in train[:90%], see www.tensorflow.org/datasets/splits"
            raise UserError(f"data.{field}: {split!r} is no part of 'tfds:{self.dataset}'; {form}") from error
        return [(part.filename, part.skip, part.skip + part.take) for part in parts]

    @cached_property
    def _builder(self) -> Any:
        builder = _find(self)
        if _format(builder) != "array_record":
            raise UserError(_unprepared(self, str(builder.data_path)))
        return builder


def _overlap(one: list[tuple[str, int, int]], other: list[tuple[str, int, int]]) -> bool:
    """Whether two splits, by their parts of files, share an example."""
    files = {file for file, _, _ in one}
    return any(
        file == other_file and first < other_end and other_first < end
        for other_file, other_first, other_end in other
        if other_file in files
        for file, first, end in one
    )


def prepare(source: TFDS) -> str:
    """Downloads a data set and writes it in ArrayRecord format, unless it is prepared already; returns its directory.

    Raises UserError if TensorFlow is missing, if the directory has the data set in another format, or if TFDS needs
    files that only the user may download.
    """
    if not isinstance(source, TFDS):
        raise UserError("data.name: must be tfds:NAME, as only tfds:NAME needs preparation")
    builder = _find(source)
    form = _format(builder)
    if form == "array_record":
        return str(builder.data_path)
    if form:
        location = f"{builder.data_path} holds 'tfds:{source.dataset}' as {form}"
        raise UserError(f"data.data_dir: {location}, and ArrayRecord is needed; give another data_dir or TFDS_DATA_DIR")
    if importlib.util.find_spec("tensorflow") is None:
        command = 'pip install "diffjax[prepare]"'
        raise UserError(f"data.name: preparing 'tfds:{source.dataset}' needs TensorFlow: {command}")
    builder = _find(source, file_format="array_record")
    try:
        builder.download_and_prepare()
    except AssertionError as error:  # TFDS raises it for files to be downloaded by hand, and says where to
        raise UserError(f"data.name: 'tfds:{source.dataset}': {_one_line(error)}") from error
    return str(builder.data_path)


def _find(source: TFDS, **options) -> Any:
    """The TFDS builder. Raises UserError, with suggestions, for an unknown name, version or configuration."""
    import tensorflow_datasets as tfds

    try:
        with _quiet():
            builder = tfds.builder(source.dataset, data_dir=source.directory, **options)
            _ = builder.info  # read on first use
            return builder
    except tfds.core.registered.DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)  # the community list needs the network
        matches = difflib.get_close_matches(source.dataset, names, n=3, cutoff=0.5)
        hint = f"did you mean tfds:{' or tfds:'.join(matches)}?" if matches else "see tensorflow.org/datasets"
        raise UserError(f"data.name: 'tfds:{source.dataset}' is unknown; {hint}") from error
    except (AssertionError, ValueError) as error:  # unknown version or configuration
        raise UserError(f"data.name: 'tfds:{source.dataset}': {_one_line(error)}") from error
    except ImportError as error:  # unprepared, some data sets import TensorFlow or other packages
        raise UserError(f"{_unprepared(source, source.directory or '~/tensorflow_datasets')} ({error})") from error


def _format(builder: Any) -> str:
    """The file format of a prepared data set; "" if it is not prepared."""
    with _quiet():
        return builder.info.file_format.value if builder.is_prepared() else ""


def _unprepared(source: TFDS, place: str) -> str:
    return (
        f"data.name: 'tfds:{source.dataset}' is not prepared in ArrayRecord form at {place}; "
        "run `python launch.py prepare --config=...`, or point TFDS_DATA_DIR or data.data_dir to where it is"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).rpartition('}": ')[2].split())  # without TFDS's prefix of keyword arguments


@contextlib.contextmanager
def _quiet():
    """Silences TFDS's warnings about missing folders, which our own error reports in one line."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
