"""When a game of two networks is lost: what its steps look like then, and for how long they may."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError

OFTEN = 0.5  # the share of steps beyond which they are a run's rule: what holds for their median step


@dataclass(frozen=True)
class Watchman:
    """Names the ways in which a GAN fails without a number going bad. Raises UserError for limits that are none.

    It judges every step, by `diversity`, the spread of generated examples over that of real ones (1 at best),
    `logit_gap`, how much larger real examples' logits are than generated ones', and `g_gradient_norm`, what the
    generator is still told; and a run by the share of its steps that are bad, which one wild step does not move far.
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

    def signs(self, metrics: dict[str, Array]) -> dict[str, Float[Array, ""]]:
        """Of a step that measures these: 1 for each way in which it looks lost, 0 for the others."""
        diversity, gap = metrics["diversity"], metrics["logit_gap"]
        signs = {
            "collapsed": diversity < self.least_diversity,
            "diverged": (diversity > self.most_diversity) | (jnp.abs(gap) > self.largest_gap),
            "starved": metrics["g_gradient_norm"] < self.least_gradient,
        }
        return {name: sign.astype(diversity.dtype) for name, sign in signs.items()}

    def __call__(self, values: dict[str, float]) -> str:
        """What is wrong with steps whose means are these, signs among them, in a few words; "" where nothing is."""
        meanings = {
            "collapsed": f"samples spread less than {self.least_diversity:g} times as far as real examples do",
            "diverged": f"samples spread more than {self.most_diversity:g} times as far as real examples do, or logits "
            f"are more than {self.largest_gap:g} apart",
            "starved": f"the generator's gradient is shorter than {self.least_gradient:g}",
        }
        for name, meaning in meanings.items():
            if (share := values.get(name, 0.0)) > OFTEN:
                said = ", ".join(f"{n} {values[n]:.2g}" for n in ("diversity", "logit_gap", "g_gradient_norm"))
                return f"{name} in {share:.0%} of steps: {meaning} (means: {said})"
        return ""
