"""GAN losses: what the discriminator and the generator minimise, per example, as functions of the logits.

A loss is a pair of methods. Both take the logits of real and of generated examples, so that losses that compare the two
(relativistic GANs) have the same signature as those that score each on its own. A logit is the raw output of the
discriminator network: D = sigmoid(logit) in the cross-entropy games, an unbounded score in the others. `even` is the
logit of an undecided discriminator; it is None where the loss is invariant to a constant added to all logits.
"""

from dataclasses import dataclass
from typing import ClassVar

from jax.nn import relu, softplus
from jaxtyping import Array, Float

from diffjax.errors import UserError

Logits = Float[Array, "b"]


def cross_entropy(real: Logits, fake: Logits) -> Logits:
    """-log D(real) - log(1 - D(fake)) with D = sigmoid(logit), in nats. [b] -> [b]."""
    return softplus(-real) + softplus(fake)


@dataclass(frozen=True)
class Minimax:
    """The original zero-sum game (Goodfellow et al. 2014, eq. 1): the generator minimises what D maximises.

    The generator's gradient is exp(logit) times the non-saturating one: it vanishes where the discriminator is
    confident.
    """

    even: ClassVar[float | None] = 0.0

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(-real) + softplus(fake), in nats. Logits [b] -> [b]."""
        return cross_entropy(real, fake)

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """log(1 - D(fake)) = -softplus(fake), in nats, never positive. `real` is unused. Logits [b] -> [b]."""
        return -softplus(fake)


@dataclass(frozen=True)
class NonSaturating:
    """The original game with the generator's non-saturating heuristic (Goodfellow et al. 2014, section 3).

    With D = sigmoid(logit), the discriminator minimises -log D(real) - log(1 - D(fake)), the generator -log D(fake).
    """

    even: ClassVar[float | None] = 0.0

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(-real) + softplus(fake), in nats. Logits [b] -> [b]."""
        return cross_entropy(real, fake)

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(-fake), in nats. `real` is unused. Logits [b] -> [b]."""
        return softplus(-fake)


@dataclass(frozen=True)
class LeastSquares:
    """LSGAN (Mao et al. 2017, eq. 2): regresses the logits on targets a, b and c.

    The defaults are the paper's 0-1 coding (eq. 9). With b - c = 1 and b - a = 2, as in a = -1, b = 1, c = 0 (eq. 8),
    the generator minimises half the Pearson chi^2 divergence between p + q and 2 q, where p is the density of the data
    and q that of the generator.
    """

    a: float = 0.0  # the discriminator's target for generated images
    b: float = 1.0  # the discriminator's target for real images
    c: float = 1.0  # the generator's target for generated images

    def __post_init__(self):
        if not self.a < self.b:  # d_accuracy, d_pairs and ADA's r_t take a higher logit to mean more real
            raise UserError(
                f"loss.a: {self.a} must be below loss.b {self.b}, the target for real images; the paper uses 0 and 1"
            )

    @property
    def even(self) -> float:
        return (self.a + self.b) / 2

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """(real - b)^2 / 2 + (fake - a)^2 / 2. Logits [b] -> [b]."""
        return 0.5 * (real - self.b) ** 2 + 0.5 * (fake - self.a) ** 2

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """(fake - c)^2 / 2. `real` is unused. Logits [b] -> [b]."""
        return 0.5 * (fake - self.c) ** 2


@dataclass(frozen=True)
class Wasserstein:
    """WGAN (Arjovsky et al. 2017, eq. 2 and 3): minus the discriminator's loss bounds Wasserstein-1 from below.

    The bound holds for a critic with Lipschitz constant 1. The loss does not enforce that; use weight clipping or a
    gradient penalty.
    """

    even: ClassVar[float | None] = None

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """fake - real. Logits [b] -> [b]."""
        return fake - real

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """-fake. `real` is unused. Logits [b] -> [b]."""
        return -fake


@dataclass(frozen=True)
class Hinge:
    """The hinge loss (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17): D gains nothing beyond its margin."""

    even: ClassVar[float | None] = 0.0

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """max(0, 1 - real) + max(0, 1 + fake). Logits [b] -> [b]."""
        return relu(1 - real) + relu(1 + fake)

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """-fake. `real` is unused. Logits [b] -> [b]."""
        return -fake


@dataclass(frozen=True)
class Relativistic:
    """RpGAN: depends only on the difference of a pair's logits (Jolicoeur-Martineau 2018; Huang et al. 2024, eq. 2).

    Each player minimises softplus of the other's lead. This is minus the f(t) = -softplus(-t) of eq. 2, in the
    non-saturating form, with the sign that makes high logits mean real. Real example i is paired with generated example
    i. The two are independent, except that they share a label in a conditional game, so every pairing has the same
    expectation.
    """

    even: ClassVar[float | None] = None

    def discriminator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(fake - real), in nats. Logits [b] -> [b]."""
        return softplus(fake - real)

    def generator(self, real: Logits, fake: Logits) -> Logits:
        """softplus(real - fake), in nats. Its gradient in `fake` depends on `real`. Logits [b] -> [b]."""
        return softplus(real - fake)
