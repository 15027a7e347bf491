"""Optimisers, built from optax. Schedules are counted in images, so that a recipe survives a change of batch size."""

import abc
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import optax

from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

DECAYS = ("constant", "cosine", "linear")


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """The common fields: a learning rate with warm-up and decay, gradient clipping, decoupled weight decay."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0  # decoupled (Loshchilov & Hutter 2019), of all parameters, biases too
    clip_norm: float = 0.0  # largest global norm of a gradient; 0: no clipping
    warmup: float = 0.0  # images over which the rate rises linearly from 0
    decay: str = "constant"  # after the warm-up: "constant", or "cosine" or "linear" to `learning_rate_last`
    decay_images: float = 0.0  # images at which the decay ends; 0: the end of the run, if it outlasts the warm-up
    learning_rate_last: float = 0.0  # the rate at the end of the decay

    rates: ClassVar = ("learning_rate", "learning_rate_last")
    memories: ClassVar[tuple[str, ...]]  # fields with the decay of a running mean, the share that an update keeps
    ends: ClassVar[tuple[str, ...]] = ("learning_rate_last",)  # fields with a value at the end of the decay

    def __post_init__(self):
        for field in self.__dataclass_fields__:
            if isinstance(getattr(self, field), int | float) and not 0 <= getattr(self, field) < float("inf"):
                raise UserError(f"optim.{field}: {getattr(self, field)} must be finite and at least 0")
        if self.decay not in DECAYS:
            raise UserError(f"optim.decay: {self.decay!r} must be one of {', '.join(DECAYS)}")
        for field in self.memories:
            if not 0 <= getattr(self, field) < 1:
                raise UserError(f"optim.{field}: {getattr(self, field)} must be at least 0 and less than 1")
        for field in (*self.ends, "decay_images"):
            if getattr(self, field) and self.decay == "constant":
                raise UserError(
                    f"optim.{field}: {getattr(self, field)} needs a decay; optim.decay must not be 'constant'"
                )
        if self.decay != "constant" and 0 < self.decay_images <= self.warmup:
            raise UserError(f"optim.decay_images: {self.decay_images:g} must be above optim.warmup={self.warmup:g}")

    @abc.abstractmethod
    def direction(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        """The transformation of gradients to update directions, before the learning rate; arguments as in `build`."""

    def interleaved(self, share: float) -> "Optimizer":
        """The optimiser for lazy regularisation, where a fraction `share` of all updates are on a penalty alone.

        Rates are multiplied by c = 1 - share and betas raised to the power c. Then n updates, some of them on the
        penalty alone, move as far and remember as long as c n combined ones (Karras et al. 2020, "StyleGAN2",
        appendix B).
        """
        c = 1 - share
        rates = {field: getattr(self, field) * c for field in self.rates}
        return replace(self, **rates, **{field: getattr(self, field) ** c for field in self.memories})

    def schedule(self, images_per_update: float, images: int) -> optax.Schedule:
        """The learning rate as a function of the number of updates done, in a run of `images` images."""
        warmup = round(self.warmup / images_per_update)
        rest = max(round(((self.decay_images or images) - self.warmup) / images_per_update), 1)
        first, last = self.learning_rate, self.learning_rate_last
        decay = {
            "constant": optax.constant_schedule(first),
            "cosine": optax.cosine_decay_schedule(first, rest, alpha=last / first if first else 0.0),
            "linear": optax.linear_schedule(first, last, rest),
        }[self.decay]
        # The first update has a rate above 0, since an update at rate 0 would be wasted.
        ramp = optax.linear_schedule(first / (warmup + 1), first, max(warmup, 1))
        return optax.join_schedules([ramp, decay], [warmup]) if warmup else decay

    def build(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        """The optax transformation for a run of `images` images, with an update every `images_per_update`."""
        clip = [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        rate = optax.scale_by_learning_rate(self.schedule(images_per_update, images))
        return optax.chain(*clip, self.direction(images_per_update, images), *decay, rate)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), or AdamW when `weight_decay` is not 0, with warm-up, decay and gradient clipping."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    b2_last: float = 0.0  # value of b2 after a cosine ramp from the first image to the decay's last; 0: constant b2

    memories: ClassVar = ("b1", "b2", "b2_last")
    ends: ClassVar = ("learning_rate_last", "b2_last")

    def direction(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        if not self.b2_last:
            return optax.scale_by_adam(self.b1, self.b2, self.eps)
        over = (self.decay_images or images) / images_per_update
        b2 = partial(cosine_ramp, first=self.b2, last=self.b2_last, over=over)
        return optax.inject_hyperparams(optax.scale_by_adam)(self.b1, b2, self.eps)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """g / (sqrt(v) + eps), v <- b2 v + (1 - b2) g^2 from 0 (Tieleman & Hinton 2012), as PyTorch has it: that of WGAN.

    No momentum: Arjovsky et al. 2017, section 4.3, found that a critic whose loss moves with every update of the
    generator becomes unstable with it.
    """

    learning_rate: float = 5e-5  # WGAN's (Arjovsky et al. 2017, algorithm 1)
    b2: float = 0.99  # decay of the mean square; PyTorch's alpha
    eps: float = 1e-8

    memories: ClassVar = ("b2",)

    def direction(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        return optax.scale_by_rms(self.b2, self.eps, eps_in_sqrt=False)


OPTIMIZERS = {"adam": Adam, "rmsprop": RMSProp}
