"""DCGAN on CIFAR-10 with the rates and latents of Radford et al. 2015, BatchNorm in both networks, and no penalty.

The networks differ slightly from the paper's (diffjax/models/dcgan.py).

Variants: "cifar10", "digits".
"""

from configs import base


def get_config(variant="cifar10"):
    small, _ = base.variant_of(variant)
    c = base.gan("dcgan_generator", "dcgan_discriminator")
    c.method.generator.update(latent=100, width=128)
    c.method.discriminator.update(width=128, norm="batch")
    c.train.update(steps=100_000, batch_size=128)
    c.optim.update(learning_rate=2e-4, b1=0.5, b2=0.999)
    return base.gan_on_digits(c, {"latent": 32, "width": 32}, {"width": 32}) if small else c
