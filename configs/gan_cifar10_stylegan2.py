"""StyleGAN2 with adaptive augmentation on CIFAR-10 (Karras et al. 2020, "StyleGAN2-ADA"): its released preset "cifar".

Of StyleGAN2 it leaves out path lengths, mixed styles and the discriminator's shortcuts. Its code slows the generator
down for path lengths all the same: by 4 / 5, and b2 to that power. It computes the larger sides in float16 with values
cut at 256; `--config.precision.compute=bfloat16`, which has float32's range, needs no cut.

Variants: "cifar10", "cifar10_conditional" (by label), and both as "digits"... `--config.sampler.psi=0.7` trades variety
for fidelity.
"""

from ml_collections import ConfigDict

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, conditional = base.variant_of(variant, "conditional")
    players = "stylegan2_generator", "stylegan2_discriminator"
    c = base.gan(*players, penalty="r1", lazy=16, conditional=bool(conditional))
    c.method.penalty.gamma = 0.01
    c.method.augment = component("augment", "ada")  # target 0.6, every 4 updates, 500,000 images from 0 to 1
    c.method.generator.mapping_layers = 2
    c.method.discriminator.update(architecture="orig", minibatch_std=32)
    c.train.update(steps=1_562_500, batch_size=64)  # 100 million images
    adam = {"learning_rate": 2.5e-3, "b1": 0.0, "b2": 0.99}
    if small:
        c.method.augment = component("augment", "none")  # a digit that is turned or mirrored is another one
        c.method.penalty.gamma = 0.1
        own = {"channel_base": 256, "channel_max": 64}
        c = base.gan_on_digits(
            c,
            {"latent": 32, "style": 32, **own},
            {"minibatch_std": 4, "mapping_layers": 2, **own},
            **adam,
        )
        return c
    slower = adam | {"learning_rate": 2.5e-3 * 4 / 5, "b2": 0.99 ** (4 / 5)}
    c.optim = ConfigDict(
        {"generator": component("optim", "adam", **slower), "discriminator": component("optim", "adam", **adam)}
    )
    c.ema = component("ema", "half_life", images=500_000.0, ramp=0.05)
    return c
