"""A classifier of noisy examples, p(label | x_t), for classifier guidance."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.diffusion import EDM, Process, clock, normal, split
from diffjax.diffusion.fields import positive
from diffjax.diffusion.process import along
from diffjax.diffusion.target import F
from diffjax.diffusion.times import LogNormal, Times, independent
from diffjax.errors import UserError
from diffjax.methods.classifier import CrossEntropy
from diffjax.optim.state import Tree
from diffjax.parallel import Axis


@dataclass(frozen=True, kw_only=True)
class NoisyClassifier(CrossEntropy):
    """Cross-entropy on the labels of x_t, with t drawn as in diffusion (Dhariwal & Nichol 2021, section 4.1).

    Works with any image classifier, whose input is x_t at unit variance with the clock as an additional channel.
    """

    process: Process = EDM()
    times: Times = LogNormal()
    clock: Callable = clock.log_noise
    sigma_data: float = 0.5  # standard deviation of the data, in model units

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.process, Process):
            raise UserError("method.process: must not be learned; use the process that the denoiser was trained with")
        if not isinstance(self.times, Times):
            raise UserError("method.times: must not keep a history of losses; use another density of t")
        self.times.init(self.process.steps)  # checks the number of steps
        positive("method.sigma_data", self.sigma_data, "it is the standard deviation of the data")

    def training_input(self, x0, keys):
        key_t, key_eps = split(keys)
        t = self.times.quantile(independent(key_t), self.process)
        return self.network_input(self.process.corrupt(x0, normal(key_eps, x0), t), t)

    def network_input(self, x_t: Array, t: Float[Array, "b"]) -> Array:
        """[b, h, w, c + 1]: x_t at unit variance, and the clock."""
        plane = jnp.broadcast_to(along(self.clock(self.process, t), x_t), (*x_t.shape[:-1], 1))
        return jnp.concatenate([F(self.sigma_data).input(x_t, t, self.process), plane], axis=-1)

    def log_class(self, variables: dict[str, Tree]) -> Callable[[Array, Array], Float[Array, "b k"]]:
        """(x_t [b, ...] in model units, t [b]) -> log p(label | x_t)."""
        network = self.make(self.network, Axis())
        return lambda x_t, t: jax.nn.log_softmax(network.apply(variables["classifier"], self.network_input(x_t, t)))
