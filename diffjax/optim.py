"""Optimisers, from optax. Rates and ramps are counted in images, so that a recipe survives a change of batch size."""

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
    """What all have in common: a rate with warm-up and decay, gradient clipping, decoupled weight decay."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0  # decoupled (Loshchilov & Hutter 2019)
    clip_norm: float = 0.0  # longest gradient allowed; 0: not clipped
    warmup: float = 0.0  # images over which the rate rises from 0, linearly
    decay: str = "constant"  # after the warm-up: "constant", or "cosine" or "linear" to `learning_rate_last`
    decay_images: float = 0.0  # images at which a decay has come to its end; 0: those of the whole run
    learning_rate_last: float = 0.0  # where a decay ends

    rates: ClassVar = ("learning_rate", "learning_rate_last")
    memories: ClassVar[tuple[str, ...]]  # the fields that say which share of a running mean an update keeps
    ends: ClassVar[tuple[str, ...]] = ("learning_rate_last",)  # the fields that a decay ends at

    def __post_init__(self):
        for field in self.__dataclass_fields__:
            if isinstance(getattr(self, field), int | float) and not 0 <= getattr(self, field) < float("inf"):
                raise UserError(f"optim.{field}: {getattr(self, field)} must be a number from 0 on")
        if self.decay not in DECAYS:
            raise UserError(f"optim.decay: {self.decay!r} is not one of {', '.join(DECAYS)}")
        for field in self.memories:
            if not 0 <= getattr(self, field) < 1:
                raise UserError(f"optim.{field}: {getattr(self, field)} must be at least 0 and less than 1")
        for field in self.ends:
            if getattr(self, field) and self.decay == "constant":
                raise UserError(
                    f"optim.{field}: {getattr(self, field)} is never reached with optim.decay 'constant'; use cosine"
                )
        if self.decay != "constant" and 0 < self.decay_images <= self.warmup:
            raise UserError(
                f"optim.decay_images: {self.decay_images:g} must be more than the warm-up's {self.warmup:g}"
            )

    @abc.abstractmethod
    def direction(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        """What is made of a gradient before it is multiplied by the rate; the arguments are those of `build`."""

    def interleaved(self, share: float) -> "Optimizer":
        """The optimiser of an objective of which a term is left out of all updates but `share` of their number.

        The rate times c and the betas to the power c, c = 1 - share: then n updates, some of them on that term alone,
        move as far and remember as long as c n whole ones (Karras et al. 2020, "StyleGAN2", appendix B).
        """
        c = 1 - share
        rates = {field: getattr(self, field) * c for field in self.rates}
        return replace(self, **rates, **{field: getattr(self, field) ** c for field in self.memories})

    def schedule(self, images_per_update: float, images: int) -> optax.Schedule:
        """The learning rate as a function of the number of updates done, in a run of so many images."""
        warmup = round(self.warmup / images_per_update)
        rest = max(round(((self.decay_images or images) - self.warmup) / images_per_update), 1)
        first, last = self.learning_rate, self.learning_rate_last
        after = {
            "constant": optax.constant_schedule(first),
            "cosine": optax.cosine_decay_schedule(first, rest, alpha=last / first if first else 0.0),
            "linear": optax.linear_schedule(first, last, rest),
        }[self.decay]
        # An update at a rate of 0 would be lost: the ramp's first update is already on its way up.
        ramp = optax.linear_schedule(first / (warmup + 1), first, max(warmup, 1))
        return optax.join_schedules([ramp, after], [warmup]) if warmup else after

    def build(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        """The optax transformation for a run of so many images, each update being so many images after the last."""
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
    b2_last: float = 0.0  # where b2 goes, by a cosine over the images of the decay; 0: nowhere

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
    generator becomes unstable with any.
    """

    learning_rate: float = 5e-5  # WGAN's (Arjovsky et al. 2017, algorithm 1)
    b2: float = 0.99  # of the mean square, what an update keeps; PyTorch's alpha
    eps: float = 1e-8

    memories: ClassVar = ("b2",)

    def direction(self, images_per_update: float, images: int) -> optax.GradientTransformation:
        return optax.scale_by_rms(self.b2, self.eps, eps_in_sqrt=False)


OPTIMIZERS = {"adam": Adam, "rmsprop": RMSProp}
