"""Optimisers, from optax. Rates and ramps are counted in images, so that a recipe survives a change of batch size."""

from dataclasses import dataclass, replace
from functools import partial

import optax

from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

DECAYS = ("constant", "cosine", "linear")


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015), or AdamW when `weight_decay` is not 0, with warm-up, decay and gradient clipping."""

    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  # decoupled (Loshchilov & Hutter 2019)
    clip_norm: float = 0.0  # longest gradient allowed; 0: not clipped
    warmup: float = 0.0  # images over which the rate rises from 0, linearly
    decay: str = "constant"  # after the warm-up: "constant", or "cosine" or "linear" to `learning_rate_last`
    decay_images: float = 0.0  # images at which a decay has come to its end; 0: those of the whole run
    learning_rate_last: float = 0.0  # where a decay ends
    b2_last: float = 0.0  # where b2 goes, by a cosine over the images of the decay; 0: nowhere

    def __post_init__(self):
        if self.decay not in DECAYS:
            raise UserError(f"optim.decay: {self.decay!r} is not one of {', '.join(DECAYS)}")
        for field in ("learning_rate_last", "b2_last"):
            if getattr(self, field) and self.decay == "constant":
                raise UserError(
                    f"optim.{field}: {getattr(self, field)} is never reached with optim.decay 'constant'; use cosine"
                )
        if self.decay != "constant" and 0 < self.decay_images <= self.warmup:
            raise UserError(
                f"optim.decay_images: {self.decay_images:g} must be more than the warm-up's {self.warmup:g}"
            )

    def interleaved(self, share: float) -> "Adam":
        """The optimiser of an objective of which a term is left out of all updates but `share` of their number.

        The rate times c and the betas to the power c, c = 1 - share: then n updates, some of them on that term alone,
        move as far and remember as long as c n whole ones (Karras et al. 2020, "StyleGAN2", appendix B).
        """
        c = 1 - share
        rates = {"learning_rate": self.learning_rate * c, "learning_rate_last": self.learning_rate_last * c}
        return replace(self, **rates, b1=self.b1**c, b2=self.b2**c, b2_last=self.b2_last**c if self.b2_last else 0.0)

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
        adam = optax.scale_by_adam(self.b1, self.b2, self.eps)
        if self.b2_last:
            over = (self.decay_images or images) / images_per_update
            b2 = partial(cosine_ramp, first=self.b2, last=self.b2_last, over=over)
            adam = optax.inject_hyperparams(optax.scale_by_adam)(self.b1, b2, self.eps)
        rate = optax.scale_by_learning_rate(self.schedule(images_per_update, images))
        return optax.chain(*clip, adam, *decay, rate)


OPTIMIZERS = {"adam": Adam}
