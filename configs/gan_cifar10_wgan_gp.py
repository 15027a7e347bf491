"""WGAN-GP's residual networks on CIFAR-10, without labels (Gulrajani et al. 2017, appendix F).

The released code's generator has batches twice as large as the discriminator's; here they have the same size. The code
adds noise from U[0, 1/128) to real images and normalises samples with the moments of their own batch; here real images
have no noise, and samples are normalised with running moments.

Variants: "cifar10", "digits".
"""

from configs import base


def get_config(variant="cifar10"):
    small, _ = base.variant_of(variant)
    c = base.gan("res_generator", "res_discriminator", loss="wasserstein", penalty="wgan_gp", d_steps=5)
    c.method.generator.width = c.method.discriminator.width = 128
    c.method.discriminator.update(spectral_norm=False, pooling="mean")
    c.train.update(steps=100_000, batch_size=64)
    c.optim.update(learning_rate=2e-4, b1=0.0, b2=0.9, decay="linear")  # both networks; to 0 at the end
    if small:
        c.method.d_steps = 2
        blocks = {"multipliers": (1, 1), "halvings": 1}
        return base.gan_on_digits(c, {"latent": 32, "width": 32}, {"width": 32, **blocks}, learning_rate=5e-4)
    return c
