"""A DCGAN with R1 on MNIST, 28x28, by label; meant for a GPU. Variants: "conditional" (the default), "all" (no labels).

On 2 cores, use `--config.method.generator.width=16` and a tenth of the steps.
"""

from configs import base
from diffjax.config import component


def get_config(variant="conditional"):
    base.check_variant(variant, ("conditional", "all"))
    c = base.get_config()
    c.data = component("data", "tfds:mnist")
    c.method = component("method", "gan", generator="dcgan_generator", discriminator="dcgan_discriminator")
    c.method.conditional = variant == "conditional"
    c.method.penalty.gamma = 10.0
    c.train.update(steps=10_000, batch_size=64, sample_every=1_000, checkpoint_every=1_000)
    c.optim.update(learning_rate=3e-4, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=20_000.0)
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("frechet_pixels",), num=2_000)
    return c
