"""A GAN on points in the plane, fully connected: about a minute on 2 cores. Variants: "ring" of 8 (the default), "grid" of 25.

Two things make the generated points as narrow as the modes: rates that fall to 0, and a latent of 2 dimensions.
"""

from configs import base
from diffjax.config import component


def get_config(variant="ring"):
    c = base.get_config()
    if variant not in ("ring", "grid"):
        raise ValueError(f"no variant {variant!r}; ring or grid")
    c.data = component("data", f"toy2d:{variant}")
    c.method = component("method", "gan", generator="mlp_generator", discriminator="mlp_discriminator")
    c.method.penalty.gamma = 0.1
    c.train.update(steps=12_000, batch_size=256, log_every=500, sample_every=6_000, checkpoint_every=6_000)
    c.optim = {player: adam(c.train) for player in ("generator", "discriminator")}
    c.ema.update(images=100_000.0)
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("modes", "energy"), num=2_500, batch_size=2_500)
    return c
