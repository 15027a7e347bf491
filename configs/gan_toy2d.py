"""A GAN on points in the plane, fully connected; a minute on 2 cores. Variants: "ring" of 8 (default) and "grid" of 25.

The modes are narrow, 1/70 of the data's spread on the ring. What makes the samples as narrow is a rate that falls to 0;
what keeps all modes is R1.
"""

from configs import base
from diffjax.config import component


def get_config(variant="ring"):
    c = base.get_config()
    if variant not in ("ring", "grid"):
        raise ValueError(f"no variant {variant!r}; ring or grid")
    c.data = component("data", f"toy2d:{variant}")
    c.method = component("method", "gan", generator="mlp_generator", discriminator="mlp_discriminator")
    c.method.generator.width = c.method.discriminator.width = 64
    c.method.penalty.gamma = {"ring": 1.0, "grid": 0.1}[variant]
    c.train.update(steps=20_000, batch_size=256, log_every=1_000, sample_every=10_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=2e-3, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=100_000.0)
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("modes", "energy"), num=2_500, batch_size=2_500)
    return c
