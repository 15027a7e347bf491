"""R3GAN on CIFAR-10, by label (Huang et al. 2024, and the preset of its released code): RpGAN with R1 and R2.

Rates, b2, gamma, the half-life of the average and the probability of augmentation follow half a cosine over the first
20 million images.

Variants: "cifar10", "digits" (with a shorter ramp, neither augmented nor mirrored).
"""

from configs import base
from diffjax.config import component

RAMP = 20_000_000.0  # images


def get_config(variant="cifar10"):
    small, _ = base.variant_of(variant)
    c = base.gan("r3gan_generator", "r3gan_discriminator", loss="relativistic", penalty="r1_r2", conditional=True)
    c.data.flip = True
    c.train.update(steps=488_281, batch_size=512)  # 250 million images
    c.optim.update(learning_rate=2e-4, learning_rate_last=5e-5, b1=0.0, b2=0.9, b2_last=0.99, decay="cosine")
    c.method.penalty.update(gamma=0.05, gamma_last=0.005)
    colour = dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), 0.5)
    c.method.augment = component("augment", "ada", target=0.0, p=0.0, p_last=0.55, cutout=1.0, **colour)
    c.ema.update(images=5_000_000.0, ramp=0.0)
    if small:
        widths = {"widths": (64, 32), "blocks": (1, 1), "group": 8}
        c = base.gan_on_digits(c, {"latent": 32, "embedding": 16, **widths}, widths, learning_rate=5e-4)
        c.method.augment = component("augment", "none")  # a rotated or mirrored digit is not the same digit
        c.method.penalty.update(gamma=1.0, gamma_last=0.1)
    ramp = c.train.steps * c.train.batch_size / 2 if small else RAMP
    c.method.penalty.ramp_images = ramp
    c.optim.decay_images = ramp
    c.ema.warmup = ramp
    if not small:
        c.method.augment.ramp_images = ramp
    return c
