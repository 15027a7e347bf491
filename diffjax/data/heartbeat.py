"""The binary heartbeat of Sohl-Dickstein et al. 2015: a periodic beat with a random phase."""

import math
from dataclasses import dataclass

import numpy as np

from diffjax.data.source import Examples, Synthetic, in_memory, random
from diffjax.data.space import Space
from diffjax.errors import UserError


@dataclass(frozen=True)
class Heartbeat(Synthetic):
    """Sequences [length] uint8 with a 1 every `period` entries, 0 elsewhere, and a uniformly random phase.

    Raises UserError for invalid sizes.
    """

    length: int = 20  # entries (Sohl-Dickstein et al. 2015, section 3.1.2)
    period: int = 5  # entries from one beat to the next (ibid.)
    num_train: int = 10_000
    num_heldout: int = 2_000
    seed: int = 0  # of the phases; training and held-out sequences use different random streams

    def __post_init__(self):
        if not 1 <= self.period <= self.length:
            raise UserError(f"data.period: {self.period}; must be between 1 and data.length={self.length}")
        self._check_counts()

    @property
    def space(self) -> Space:
        return Space("categories", (self.length,), shift=0.0, scale=1.0, values=2)

    @property
    def sequences(self) -> np.ndarray:
        """All possible sequences, one for each phase, [period, length]."""
        return (np.arange(self.length) % self.period == np.arange(self.period)[:, None]).astype(np.uint8)

    @property
    def log_likelihood(self) -> float:
        """log p(x) of every sequence, in nats; for the paper's sequences it is log(1/5), which is -2.3219 bits."""
        return -math.log(self.period)

    def _draw(self, n: int, stream: int) -> Examples:
        phase = random(self.seed, stream, field="data.seed").randint(self.period, size=n)
        return in_memory(self.sequences[phase], np.zeros(n))
