"""scikit-learn's 1,797 handwritten digits: real data without a download, for tests and laptops."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffjax.data.source import Examples, check_fraction, check_split, check_template, in_memory, random
from diffjax.data.space import Space
from diffjax.data.text import DIGIT_NAMES, encode, longest, sentences


@dataclass(frozen=True)
class Digits:
    """8x8 grey digits in ten classes (Alpaydin & Kaynak 1998, UCI's test set); 0..16 is stored as round(255/16 v)."""

    heldout: float = 0.2  # fraction of each class held out from training
    split_seed: int = 0  # selects the held-out examples
    caption: str = ""  # a sentence with {} for the digit's name, such as "a handwritten {}"; "": no captions

    flip = False  # a mirrored digit is not a digit

    def __post_init__(self):
        check_fraction(self.heldout)
        check_template(self.caption)
        random(self.split_seed, field="data.split_seed")

    @property
    def space(self) -> Space:
        texts = tuple(sentences(self.caption, DIGIT_NAMES))
        caption = {"caption": longest(texts), "prompts": texts} if self.caption else {}
        return Space("images", (8, 8, 1), num_classes=10, class_names=DIGIT_NAMES, **caption)

    def split(self, name: str) -> Examples:
        check_split(name)
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        from sklearn.datasets import load_digits

        data = load_digits()
        x, label = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None], data.target
        heldout = np.zeros(len(x), bool)
        for digit in range(10):
            generator = random(self.split_seed, digit, field="data.split_seed")
            class_indices = generator.permutation(np.flatnonzero(label == digit))
            heldout[class_indices[: round(self.heldout * len(class_indices))]] = True
        captions = encode(self.space.prompts, self.space.caption)[label] if self.caption else None

        def examples(chosen):
            extra = {} if captions is None else {"caption": captions[chosen]}
            return in_memory(x[chosen], label[chosen], **extra)

        return {"train": examples(~heldout), "heldout": examples(heldout)}
