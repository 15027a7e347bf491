"""Optimisers, from optax. Rates and ramps are counted in images, so that a recipe survives a change of batch size."""

from dataclasses import dataclass

import optax

from diffjax.errors import UserError

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
    decay: str = "constant"  # after the warm-up: "constant", "cosine" or "linear" to 0
    decay_images: float = 0.0  # images at which a decay has reached 0; 0: those of the whole run

    def __post_init__(self):
        if self.decay not in DECAYS:
            raise UserError(f"optim.decay: {self.decay!r} is not one of {', '.join(DECAYS)}")
        if self.decay != "constant" and 0 < self.decay_images <= self.warmup:
            raise UserError(
                f"optim.decay_images: {self.decay_images:g} must be more than the warm-up's {self.warmup:g}"
            )

    def schedule(self, batch_size: int, images: int) -> optax.Schedule:
        """The learning rate as a function of the number of updates done, in a run of so many images."""
        warmup = round(self.warmup / batch_size)
        rest = max(round(((self.decay_images or images) - self.warmup) / batch_size), 1)
        after = {
            "constant": optax.constant_schedule(self.learning_rate),
            "cosine": optax.cosine_decay_schedule(self.learning_rate, rest),
            "linear": optax.linear_schedule(self.learning_rate, 0.0, rest),
        }[self.decay]
        # An update at a rate of 0 would be lost: the ramp's first update is already on its way up.
        ramp = optax.linear_schedule(self.learning_rate / (warmup + 1), self.learning_rate, max(warmup, 1))
        return optax.join_schedules([ramp, after], [warmup]) if warmup else after

    def build(self, batch_size: int, images: int) -> optax.GradientTransformation:
        """The optax transformation for a global batch of this size, in a run of so many images."""
        clip = [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        adam = optax.scale_by_adam(self.b1, self.b2, self.eps)
        return optax.chain(*clip, adam, *decay, optax.scale_by_learning_rate(self.schedule(batch_size, images)))


OPTIMIZERS = {"adam": Adam}
