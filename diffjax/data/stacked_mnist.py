"""Stacked MNIST: three digits as the channels of one image; the number of its 1000 modes covered measures collapse.

It is from Metz et al. 2017 (Unrolled GAN), with the sizes of Srivastava et al. 2017 (VEEGAN) and PacGAN: 128,000
training images, 26,000 samples. Papers draw their own sets, so that no two train on the same one: this one is a
function of its seed, and `sha256` identifies it.
"""

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffjax.data.digits import Digits
from diffjax.data.images import check_size
from diffjax.data.source import Batch, Examples, Synthetic, random
from diffjax.data.space import Space
from diffjax.data.tfds import TFDS
from diffjax.errors import UserError

SIZES = {"mnist": 28, "digits": 8}  # pixels, without resizing
MODES = 1000
SPLITS = ("train", "heldout")
DRAWS = 2  # index of the random stream after those of the two splits
AT_ONCE = 4096  # images hashed at a time: 10 MB


@dataclass(frozen=True)
class StackedMNIST(Synthetic):
    """Images [size, size, 3] uint8: red, green and blue are three digits drawn independently, uniformly over the split.

    The mode and label is 100 r + 10 g + b. Training images use MNIST's training digits, held-out ones its test digits.
    With `size` below that of the digits, MNIST is resized as in "tfds:mnist" (Lanczos), so that a classifier trained
    with `data.size` sees the same pixels; with `size` above, black margins are added on all sides, as is usual for 32.
    Memory holds the single digits and three indices for each image (47 and 2 MB for the full set, instead of 301).
    """

    base: str = "mnist"  # or "digits": scikit-learn's, 8x8, no download (a fifth of each class is held out)
    num_train: int = 128_000  # VEEGAN, PacGAN
    num_heldout: int = 26_000  # the number of samples in which these papers count modes
    seed: int = 0  # training and held-out images use different random streams
    size: int = 0  # pixels, height and width; 0: that of the digits, 28 or 8
    labelled: bool = False  # whether there are labels, of 1000 classes
    data_dir: str = ""  # where MNIST is prepared, as in "tfds:mnist"

    def __post_init__(self):
        if self.base not in SIZES:
            raise UserError(f"data.base: {self.base!r} is unknown; must be one of {', '.join(SIZES)}")
        check_size(self.size)
        if self.base == "digits" and 0 < self.size < SIZES["digits"]:
            raise UserError(f"data.size: {self.size} pixels; must be at least 8 for data.base='digits'")
        self._check_counts()

    @cached_property
    def digits(self) -> TFDS | Digits:
        """The source of the single digits, on which a classifier of the channels must be trained."""
        if self.base == "digits":
            return Digits()
        return TFDS("mnist", data_dir=self.data_dir, size=self.size if self.size < SIZES["mnist"] else 0)

    def made_of(self, other: Any) -> bool:
        """Whether another source has the same digits: equal pixels and splits, wherever they are stored."""
        own_fields, other_fields = ({**asdict(source), "data_dir": "", "size": 0} for source in (self.digits, other))
        return (
            type(other) is type(self.digits)
            and own_fields == other_fields
            and other.space.shape == self.digits.space.shape
        )

    @property
    def space(self) -> Space:
        side = max(self.size, self.digits.space.shape[0])
        names = tuple(f"{mode:03}" for mode in range(MODES)) if self.labelled else ()
        return Space("images", (side, side, 3), num_classes=len(names), class_names=names)

    def table(self, split: str) -> np.ndarray:
        """Indices [n, 3] of the stacked digits in a split: a function of the seed; a smaller n is a prefix."""
        n = {"train": self.num_train, "heldout": self.num_heldout}[split]
        generator = random(self.seed, SPLITS.index(split), field="data.seed")
        return generator.randint(len(self.digits.split(split)), size=(n, 3), dtype=np.int64)  # not the platform's long

    def restricted(self, modes: int, n: int) -> np.ndarray:
        """Indices [n, 3] of held-out digits, in stacks with only `modes` of the thousand modes.

        They are the real data of reference scores: drawn as the data, conditional on the mode being among the first of
        a fixed, shuffled order. In numerical order the first 100 modes share their first digit, so that most mistakes
        of a classifier would stay among them, and a count would be too favourable.
        """
        label = self.heldout_digits["label"]
        count = np.bincount(label, minlength=10)
        kept_modes = random(0, field="seed").permutation(MODES)[:modes]
        mode_digits = np.stack([kept_modes // 100, kept_modes // 10 % 10, kept_modes % 10], axis=1)
        weight = count[mode_digits].prod(axis=1)
        generator = random(self.seed, DRAWS, field="data.seed")
        digits = mode_digits[generator.choice(modes, size=n, p=weight / weight.sum())]
        rank = (np.cumsum(count) - count)[digits] + generator.randint(count[digits], dtype=np.int64)
        return np.argsort(label, kind="stable")[rank]

    @cached_property
    def heldout_digits(self) -> Batch:
        """The single digits of held-out images."""
        return self.digits.split("heldout").arrays()

    def channels(self, images: np.ndarray) -> np.ndarray:
        """Splits images [n, size, size, 3] into digits [3 n, h, w, 1], without margins, in the order r, g, b, r, ..."""
        side = self.digits.space.shape[0]
        first = (images.shape[1] - side) // 2
        cropped = images[:, first : first + side, first : first + side]
        return np.moveaxis(cropped, -1, 1).reshape(-1, side, side, 1)

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the pixels of all training, then all held-out images, which identifies the set."""
        digest = hashlib.sha256()
        for examples in map(self.split, SPLITS):
            for first in range(0, len(examples), AT_ONCE):
                digest.update(examples.take(np.arange(first, min(first + AT_ONCE, len(examples))))["x"].tobytes())
        return digest.hexdigest()

    def _draw(self, n: int, stream: int) -> Examples:
        table, source = self.table(SPLITS[stream]), self.digits.split(SPLITS[stream])
        unique, inverse = np.unique(table, return_inverse=True)  # a small set needs few of the 60,000
        digits = Examples(len(unique), lambda indices: source.take(unique[indices])).arrays()
        inverse, label = inverse.reshape(n, 3).astype(np.int32), digits["label"]
        margin = self.space.shape[0] - digits["x"].shape[1]
        padding = (margin // 2, margin - margin // 2)
        x = np.pad(digits["x"][..., 0], ((0, 0), padding, padding))

        def take(indices):
            rows = inverse[indices]
            hundreds, tens, ones = label[rows].T
            mode = 100 * hundreds + 10 * tens + ones if self.labelled else np.zeros(len(rows))
            return {"x": np.stack([x[row] for row in rows.T], axis=-1), "label": mode.astype(np.int32)}

        return Examples(n, take)
