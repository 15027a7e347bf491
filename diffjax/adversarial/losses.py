"""What the discriminator and the generator minimise, per example, as functions of the discriminator's logits.

A loss is a pair of methods that both see the logits of real and of generated examples, so that a loss that compares
the two (relativistic GANs) has the same shape as one that judges each alone.
"""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

Logits = Float[Array, "b"]


@dataclass(frozen=True)
class NonSaturating:
    """The original game, the generator following its non-saturating heuristic (Goodfellow et al. 2014, section 3).

    With D = sigmoid(logit): the discriminator minimises -log D(real) - log(1 - D(fake)), the generator -log D(fake).
    """

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(-real) + softplus(fake), in nats. Logits [b] -> [b]."""
        return jax.nn.softplus(-real) + jax.nn.softplus(fake)

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(-fake), in nats; `real` does not matter. Logits [b] -> [b]."""
        return jax.nn.softplus(-fake)
