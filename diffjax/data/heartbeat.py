"""The binary heartbeat of Sohl-Dickstein et al. 2015: a beat every so often, starting anywhere."""

import math
from dataclasses import dataclass

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError


@dataclass(frozen=True)
class Heartbeat(Synthetic):
    """Sequences [length] uint8 with a 1 every `period` entries and 0 between, all phases equally likely.

    Raises UserError for sizes that make no sense.
    """

    length: int = 20  # entries (Sohl-Dickstein et al. 2015, section 3.1.2)
    period: int = 5  # entries from one beat to the next (ibid.)
    num_train: int = 10_000
    num_heldout: int = 2_000
    seed: int = 0  # of the phases; train and held-out sequences come from different streams

    def __post_init__(self):
        if not 1 <= self.period <= self.length:
            raise UserError(f"data.period: {self.period} is not between 1 and data.length={self.length}")
        self._check_counts()

    @property
    def space(self) -> Space:
        return Space("categories", (self.length,), shift=0.0, scale=1.0, values=2)

    @property
    def sequences(self) -> np.ndarray:
        """[period, length] all that there are, one for each phase."""
        return (np.arange(self.length) % self.period == np.arange(self.period)[:, None]).astype(np.uint8)

    @property
    def log_likelihood(self) -> float:
        """log p(x) in nats of every sequence: log(1/5) = -2.3219 bits for the paper's."""
        return -math.log(self.period)

    def _draw(self, n: int, stream: int) -> Examples:
        phase = random(self.seed, stream, field="data.seed").randint(self.period, size=n)
        return in_memory(self.sequences[phase], np.zeros(n))
