"""StyleGAN2 with adaptive augmentation on CIFAR-10 (Karras et al. 2020, "StyleGAN2-ADA"): its released preset "cifar".

The preset has no path length regularisation, no style mixing and no shortcuts in the discriminator. Its code still
adapts the generator's optimiser for the path length regularisation: the rate times 4 / 5, and b2 to that power. It
computes high resolutions in float16 with activations clipped to 256; `--config.precision.compute=bfloat16`, which has
float32's range, needs no clipping.

Variants: "cifar10", "cifar10_conditional" (by label), and both with "digits" for "cifar10".
`--config.sampler.psi=0.7` trades diversity for fidelity.
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
        c.method.augment = component("augment", "none")  # a rotated or mirrored digit is not the same digit
        c.method.penalty.gamma = 0.1
        channels = {"channel_base": 256, "channel_max": 64}
        c = base.gan_on_digits(
            c,
            {"latent": 32, "style": 32, **channels},
            {"minibatch_std": 4, "mapping_layers": 2, **channels},
            **adam,
        )
        return c
    adam_g = adam | {"learning_rate": 2.5e-3 * 4 / 5, "b2": 0.99 ** (4 / 5)}
    c.optim = ConfigDict(
        {"generator": component("optim", "adam", **adam_g), "discriminator": component("optim", "adam", **adam)}
    )
    c.ema = component("ema", "half_life", images=500_000.0, ramp=0.05)
    return c
