"""scikit-learn's 1,797 handwritten digits: real data that needs no download, for tests and for laptops."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffjax.data.source import Examples, check_fraction, check_split, in_memory, random
from diffjax.data.space import Space


@dataclass(frozen=True)
class Digits:
    """8x8 grey digits in ten classes (Alpaydin & Kaynak 1998, UCI's test set); 0..16 is stored as round(255/16 v)."""

    heldout: float = 0.2  # fraction of each class kept out of training
    split_seed: int = 0  # which ones

    flip = False  # a mirrored digit is none

    def __post_init__(self):
        check_fraction(self.heldout)
        random(self.split_seed, field="data.split_seed")

    @property
    def space(self) -> Space:
        return Space("images", (8, 8, 1), num_classes=10, class_names=tuple("0123456789"))

    def split(self, name: str) -> Examples:
        check_split(name)
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        from sklearn.datasets import load_digits

        data = load_digits()
        x, label = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None], data.target
        kept_out = np.zeros(len(x), bool)
        for digit in range(10):
            generator = random(self.split_seed, digit, field="data.split_seed")
            of_class = generator.permutation(np.flatnonzero(label == digit))
            kept_out[of_class[: round(self.heldout * len(of_class))]] = True
        return {"train": in_memory(x[~kept_out], label[~kept_out]), "heldout": in_memory(x[kept_out], label[kept_out])}
