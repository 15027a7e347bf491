"""Stacked MNIST: three digits as the channels of one image, a thousand modes whose number found tells of collapse.

Metz et al. 2017 (Unrolled GAN) invented it; the sizes are those of Srivastava et al. 2017 (VEEGAN) and PacGAN: 128,000
training images, 26,000 samples. Everybody drew their own, so that no two papers trained on the same set: this one is a
function of its seed, and `sha256` names it.
"""

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffjax.data.digits import Digits
from diffjax.data.source import Batch, Examples, Synthetic, check_size, random
from diffjax.data.space import Space
from diffjax.data.tfds import TFDS
from diffjax.errors import UserError

SIZES = {"mnist": 28, "digits": 8}  # pixels, of the digits as they are
MODES = 1000
SPLITS = ("train", "heldout")
DRAWS = 2  # the stream of seeds that comes after those of the two splits
AT_ONCE = 4096  # images hashed at a time: 10 MB


@dataclass(frozen=True)
class StackedMNIST(Synthetic):
    """Images [size, size, 3] uint8: red, green and blue are three digits drawn independently, uniformly over the split.

    Mode, and label, is 100 r + 10 g + b. Training images are made of MNIST's training digits, held-out ones of its test
    digits. A `size` below the digits' own has MNIST resized as "tfds:mnist" resizes it (Lanczos), so that a classifier
    of `data.size` sees the same pixels; one above puts a black margin around, on all sides, as others do for 32.
    Kept in memory are the single digits and a table of three for each image (47 and 2 MB for the full set, not 301).
    """

    base: str = "mnist"  # or "digits": scikit-learn's, 8x8, no download (a fifth of each class is held out)
    num_train: int = 128_000  # VEEGAN, PacGAN
    num_heldout: int = 26_000  # as many as these papers count modes in
    seed: int = 0  # of the draws; train and held-out images come from different streams
    size: int = 0  # pixels, height and width; 0: the digits' own, 28 or 8
    labelled: bool = False  # a thousand classes; by default there are none
    data_dir: str = ""  # as in "tfds:mnist": where MNIST is prepared

    def __post_init__(self):
        if self.base not in SIZES:
            raise UserError(f"data.base: {self.base!r} is unknown; it is one of {', '.join(SIZES)}")
        check_size(self.size)
        if self.base == "digits" and 0 < self.size < SIZES["digits"]:
            raise UserError(f"data.size: {self.size} is less than the 8 pixels of data.base='digits'; 8 or more")
        self._check_counts()

    @cached_property
    def digits(self) -> TFDS | Digits:
        """The source of the single digits: what a classifier that is to judge the channels must be trained on."""
        if self.base == "digits":
            return Digits()
        return TFDS("mnist", data_dir=self.data_dir, size=self.size if self.size < SIZES["mnist"] else 0)

    def made_of(self, other: Any) -> bool:
        """Whether another source is that of these digits: the same pixels in the same splits, wherever kept."""
        ours, theirs = ({**asdict(source), "data_dir": "", "size": 0} for source in (self.digits, other))
        return type(other) is type(self.digits) and ours == theirs and other.space.shape == self.digits.space.shape

    @property
    def space(self) -> Space:
        side = max(self.size, self.digits.space.shape[0])
        names = tuple(f"{mode:03}" for mode in range(MODES)) if self.labelled else ()
        return Space("images", (side, side, 3), num_classes=len(names), class_names=names)

    def table(self, split: str) -> np.ndarray:
        """[n, 3] which digits of that split of MNIST are stacked: a function of the seed; a smaller n has the first."""
        n = {"train": self.num_train, "heldout": self.num_heldout}[split]
        generator = random(self.seed, SPLITS.index(split), field="data.seed")
        return generator.randint(len(self.digits.split(split)), size=(n, 3), dtype=np.int64)  # not C's long

    def restricted(self, modes: int, n: int) -> np.ndarray:
        """[n, 3] held-out digits of stacks that have only `modes` of the thousand modes: the oracle rows' real data.

        Drawn as the data are, given that the mode is one of the first in an order that is shuffled, and always the
        same. Numbers in their own order would be too kind to a classifier: the first 100 share their first digit, so
        that most of its mistakes lead from one of them to another.
        """
        label = self.heldout_digits["label"]
        count = np.bincount(label, minlength=10)
        chosen = random(0, field="seed").permutation(MODES)[:modes]
        three = np.stack([chosen // 100, chosen // 10 % 10, chosen % 10], axis=1)
        weight = count[three].prod(axis=1)
        generator = random(self.seed, DRAWS, field="data.seed")
        drawn = three[generator.choice(modes, size=n, p=weight / weight.sum())]
        place = (np.cumsum(count) - count)[drawn] + generator.randint(count[drawn], dtype=np.int64)
        return np.argsort(label, kind="stable")[place]

    @cached_property
    def heldout_digits(self) -> Batch:
        """The single digits that held-out images are made of."""
        return self.digits.split("heldout").arrays()

    def channels(self, images: np.ndarray) -> np.ndarray:
        """Stacked images [n, size, size, 3] -> their digits [3 n, h, w, 1], without the margin: r, g, b, r, g, ..."""
        side = self.digits.space.shape[0]
        first = (images.shape[1] - side) // 2
        inner = images[:, first : first + side, first : first + side]
        return np.moveaxis(inner, -1, 1).reshape(-1, side, side, 1)

    @cached_property
    def sha256(self) -> str:
        """Of the pixels of all training and then all held-out images, in hexadecimal: names this very set."""
        digest = hashlib.sha256()
        for examples in map(self.split, SPLITS):
            for first in range(0, len(examples), AT_ONCE):
                digest.update(examples.take(np.arange(first, min(first + AT_ONCE, len(examples))))["x"].tobytes())
        return digest.hexdigest()

    def _draw(self, n: int, stream: int) -> Examples:
        table, source = self.table(SPLITS[stream]), self.digits.split(SPLITS[stream])
        used, place = np.unique(table, return_inverse=True)  # a small set reads few of the 60,000
        digits = Examples(len(used), lambda indices: source.take(used[indices])).arrays()
        place, label = place.reshape(n, 3).astype(np.int32), digits["label"]
        margin = self.space.shape[0] - digits["x"].shape[1]
        around = (margin // 2, margin - margin // 2)
        x = np.pad(digits["x"][..., 0], ((0, 0), around, around))

        def take(indices):
            three = place[indices]
            hundreds, tens, ones = label[three].T
            mode = 100 * hundreds + 10 * tens + ones if self.labelled else np.zeros(len(three))
            return {"x": np.stack([x[one] for one in three.T], axis=-1), "label": mode.astype(np.int32)}

        return Examples(n, take)
