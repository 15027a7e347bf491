"""The mathematics of adversarial training: losses of the logits, and penalties on the discriminator's gradient."""

from diffjax.adversarial.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from diffjax.adversarial.packing import pack, unpack
from diffjax.adversarial.path_length import path_lengths, running_mean
from diffjax.adversarial.penalties import DRAGAN, R1, R1R2, R2, GradientPenalty, NoPenalty, PenaltyInputs, clip_weights
from diffjax.adversarial.watchman import Watchman

LOSSES = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
    "hinge": Hinge,
    "relativistic": Relativistic,
}

PENALTIES = {
    "none": NoPenalty,
    "r1": R1,
    "r2": R2,
    "r1_r2": R1R2,
    "wgan_gp": GradientPenalty,
    "dragan": DRAGAN,
}

__all__ = [
    "DRAGAN", "LOSSES", "PENALTIES", "R1", "R1R2", "R2", "GradientPenalty", "Hinge", "LeastSquares", "Minimax",
    "NoPenalty", "NonSaturating", "PenaltyInputs", "Relativistic", "Wasserstein", "Watchman", "clip_weights", "pack",
    "path_lengths", "running_mean", "unpack",
]  # fmt: skip
