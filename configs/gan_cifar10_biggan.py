"""BigGAN on CIFAR-10, by label (Brock et al. 2019, appendix C.2), widths and rates of its authors' PyTorch version.

As in the paper, but not in that version's CIFAR-10 script, z is split into parts, all norms share the embedding of the
label, and initial weights are orthogonal. Samples use the norms' running statistics, also when z is truncated.

Variants: "cifar10", "digits". `--config.sampler.truncation=0.5` trades diversity for fidelity.
"""

from configs import base


def get_config(variant="cifar10"):
    small, _ = base.variant_of(variant)
    c = base.gan("biggan_generator", "biggan_discriminator", loss="hinge", d_steps=4, conditional=True)
    c.train.update(steps=125_000, batch_size=50)  # 500 epochs of the discriminator
    c.optim.update(learning_rate=2e-4, b1=0.0, b2=0.999)
    c.ema = base.decay_per_step(0.9999, c.train.batch_size)
    if small:
        c.method.d_steps = 2
        blocks = {"multipliers": (1, 1), "halvings": 1}
        generator = {"latent": 32, "width": 32, "embedding": 16}
        return base.gan_on_digits(c, generator, {"width": 32, **blocks}, learning_rate=4e-4)
    return c
