"""Training methods: dataclasses with `init`, `step` and `sample`. They share one loop (`diffjax.training.loop`)."""

from diffjax.methods.classifier import Classifier
from diffjax.methods.denoising_gan import DenoisingGAN
from diffjax.methods.diffusion import Diffusion
from diffjax.methods.discrete import DiscreteDiffusion
from diffjax.methods.gan import GAN
from diffjax.methods.method import Method
from diffjax.methods.noisy_classifier import NoisyClassifier

METHODS = {
    "diffusion": Diffusion,
    "discrete_diffusion": DiscreteDiffusion,
    "gan": GAN,
    "denoising_gan": DenoisingGAN,
    "classifier": Classifier,
    "noisy_classifier": NoisyClassifier,
}
SAMPLERS = {name: sampler for method in METHODS.values() for name, sampler in method.samplers.items()}

__all__ = [
    "GAN", "METHODS", "SAMPLERS", "Classifier", "DenoisingGAN", "Diffusion", "DiscreteDiffusion", "Method",
    "NoisyClassifier",
]  # fmt: skip
