"""A DCGAN with R1 on scikit-learn's 1,797 digits, 8x8: no download, about a minute and a half on 2 cores.

Variants: "all" (the default), "conditional" (by label).
"""

from configs import base
from diffjax.config import component


def get_config(variant="all"):
    base.check_variant(variant, ("all", "conditional"))
    c = base.get_config()
    c.data = component("data", "digits")
    c.method = component("method", "gan", generator="dcgan_generator", discriminator="dcgan_discriminator")
    c.method.conditional = variant == "conditional"
    c.method.discriminator.width = 64  # narrower ones miss details, having few resolutions
    c.method.penalty.gamma = 0.2
    c.train.update(steps=4_000, batch_size=64, log_every=200, sample_every=1_000, checkpoint_every=1_000)
    c.optim.update(learning_rate=5e-4, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=10_000.0)
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("frechet_pixels",), num=1_438)
    return c
