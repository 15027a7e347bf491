"""Random image transformations: for the discriminator of a GAN, and with labels for diffusion models.

A library of pure functions: an image's key decides what happens to it.
"""

from diffjax.augment.ada import Ada
from diffjax.augment.augment import Augment, NoAugment
from diffjax.augment.diff_augment import DiffAugment
from diffjax.augment.edm import EdmAugment

AUGMENTS = {
    "none": NoAugment,
    "diff_augment": DiffAugment,
    "ada": Ada,
    "edm": EdmAugment,
}

__all__ = ["AUGMENTS", "Ada", "Augment", "DiffAugment", "EdmAugment", "NoAugment"]
