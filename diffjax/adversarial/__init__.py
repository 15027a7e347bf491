"""The mathematics of adversarial training: losses of logits, and penalties on the discriminator's gradient."""

from diffjax.adversarial import penalties
from diffjax.adversarial.losses import NonSaturating
from diffjax.adversarial.penalties import R1

LOSSES = {
    "non_saturating": NonSaturating,
}

PENALTIES = {
    "none": penalties.none,
    "r1": R1,
}
