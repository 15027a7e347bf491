"""Methods: how to train. Each is one dataclass with `init`, `step` and `sample`, and no loop of its own."""

from diffjax.methods.classifier import Classifier
from diffjax.methods.diffusion import Diffusion
from diffjax.methods.gan import GAN
from diffjax.methods.method import Method

METHODS = {"diffusion": Diffusion, "gan": GAN, "classifier": Classifier}
SAMPLERS = {name: sampler for method in METHODS.values() for name, sampler in method.samplers.items()}

__all__ = ["GAN", "METHODS", "SAMPLERS", "Classifier", "Diffusion", "Method"]
