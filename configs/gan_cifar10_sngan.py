"""SNGAN's residual networks on CIFAR-10 (Miyato et al. 2018, table 4), hinge loss, and its code's 50,000 steps.

The paper's generator has batches twice as large as the discriminator's; here they have the same size. Its code adds
noise from U[0, 1/128) to real images and gives the discriminator's last layer no bias; here there is no noise, and a
bias.

Variants: "cifar10", "cifar10_conditional" (Miyato & Koyama 2018: projection and conditional batch normalisation), and
both with "digits" for "cifar10".
"""

from configs import base


def get_config(variant="cifar10"):
    small, conditional = base.variant_of(variant, "conditional")
    c = base.gan("res_generator", "res_discriminator", loss="hinge", d_steps=5, conditional=bool(conditional))
    c.train.update(steps=50_000, batch_size=64)
    c.optim.update(learning_rate=2e-4, b1=0.0, b2=0.9, decay="linear")  # both networks; to 0 at the end
    if small:
        c.method.d_steps = 2
        blocks = {"multipliers": (1, 1), "halvings": 1}
        return base.gan_on_digits(c, {"latent": 32, "width": 32}, {"width": 32, **blocks}, learning_rate=4e-4)
    return c
