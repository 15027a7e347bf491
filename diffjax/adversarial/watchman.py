"""When a game of two networks is lost: what its logged values look like then, and for how long they may."""

import math
from dataclasses import dataclass

from diffjax.errors import UserError


@dataclass(frozen=True)
class Watchman:
    """Names the ways in which a GAN fails without a number going bad. Raises UserError for limits that are none.

    It reads `diversity`, the spread of generated examples over that of real ones (1 at best), `logit_gap`, how much
    larger real examples' logits are than generated ones', and `g_gradient_norm`, what the generator is still told.
    """

    patience: float = 100_000.0  # images for which something must be wrong before the run is given up; 0: for ever
    least_diversity: float = 0.01  # below: one sample, over and over
    most_diversity: float = 100.0  # above: samples that have flown apart
    largest_gap: float = 1e4  # beyond, either way: logits without bounds
    least_gradient: float = 1e-9  # below: a discriminator so sure that it teaches nothing

    def __post_init__(self):
        for field in ("patience", "least_diversity", "largest_gap", "least_gradient"):
            if not getattr(self, field) >= 0:
                raise UserError(f"watchman.{field}: {getattr(self, field)} must not be negative")
        if not self.most_diversity > self.least_diversity:
            raise UserError(f"watchman.most_diversity: {self.most_diversity} is not above {self.least_diversity}")

    def __call__(self, values: dict[str, float]) -> str:
        """What is wrong, with the value that says so; "" where nothing is."""
        names = "diversity", "logit_gap", "g_gradient_norm"
        diversity, gap, gradient = (values.get(name, math.nan) for name in names)  # nan: no complaint
        if diversity < self.least_diversity:
            return f"collapsed: samples spread {diversity:.2g} times as far as real examples do"
        if diversity > self.most_diversity:
            return f"diverged: samples spread {diversity:.2g} times as far as real examples do"
        if abs(gap) > self.largest_gap:
            return f"diverged: real and generated logits are {gap:.2g} apart"
        if gradient < self.least_gradient:
            return f"starved: the generator's gradient has norm {gradient:.2g}"
        return ""
