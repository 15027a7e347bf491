"""Detects failed GAN training: per-step signs of failure, and how long a run may show them before it is stopped."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError

OFTEN = 0.5  # fraction of steps above which a sign holds for the run: it then holds for the median step


@dataclass(frozen=True)
class Watchman:
    """Detects the ways in which a GAN fails while every number stays finite. Raises UserError for invalid limits.

    It judges every step by three metrics: `diversity`, the spread of generated examples relative to that of real ones
    (1 is ideal); `logit_gap`, the mean logit of real examples minus that of generated ones; and `g_gradient_norm`, the
    size of the generator's training signal. It judges a run by the fraction of its steps that look bad, which one
    outlier hardly moves.
    """

    patience: float = 100_000.0  # images for which a sign must persist before the run is stopped; 0: never stop
    least_diversity: float = 0.01  # below: the generator has collapsed to one sample
    most_diversity: float = 100.0  # above: the samples have diverged
    largest_gap: float = 1e4  # above in absolute value: the logits have diverged
    least_gradient: float = 1e-9  # below: the discriminator is too confident to teach anything

    def __post_init__(self):
        for field in ("patience", "least_diversity", "largest_gap", "least_gradient"):
            if not getattr(self, field) >= 0:
                raise UserError(f"watchman.{field}: {getattr(self, field)} must not be negative")
        if not self.most_diversity > self.least_diversity:
            raise UserError(
                f"watchman.most_diversity: {self.most_diversity} must exceed least_diversity {self.least_diversity}"
            )

    def signs(self, metrics: dict[str, Array]) -> dict[str, Float[Array, ""]]:
        """The signs of failure in one step's metrics: 1 for each failure that the step shows, 0 for the others."""
        diversity, gap = metrics["diversity"], metrics["logit_gap"]
        signs = {
            "collapsed": diversity < self.least_diversity,
            "diverged": (diversity > self.most_diversity) | (jnp.abs(gap) > self.largest_gap),
            "starved": metrics["g_gradient_norm"] < self.least_gradient,
        }
        return {name: sign.astype(diversity.dtype) for name, sign in signs.items()}

    def __call__(self, values: dict[str, float]) -> str:
        """Describes what is wrong, given the mean metrics and signs of some steps; "" if nothing is."""
        meanings = {
            "collapsed": f"samples spread less than {self.least_diversity:g} times as far as real examples do",
            "diverged": f"samples spread more than {self.most_diversity:g} times as far as real examples do, or logits "
            f"are more than {self.largest_gap:g} apart",
            "starved": f"the generator's gradient is shorter than {self.least_gradient:g}",
        }
        for name, meaning in meanings.items():
            if (share := values.get(name, 0.0)) > OFTEN:
                means = ", ".join(
                    f"{metric} {values[metric]:.2g}" for metric in ("diversity", "logit_gap", "g_gradient_norm")
                )
                return f"{name} in {share:.0%} of steps: {meaning} (means: {means})"
        return ""
