"""A denoising diffusion GAN on a grid of 25 Gaussians (Xiao et al. 2021, mode coverage); 15 minutes on a core.

Variants, which differ in the number of steps only: "t4" (the default), "t1" (a GAN), "t2", "t8".
"""

from configs import base
from diffjax.config import component

STEPS = {"t1": 1, "t2": 2, "t4": 4, "t8": 8}


def get_config(variant="t4"):
    base.check_variant(variant, STEPS)
    c = base.get_config()
    c.data = component("data", "toy2d:grid")
    players = {"generator": "mlp_generator", "discriminator": "mlp_discriminator"}
    c.method = component("method", "denoising_gan", **players)
    c.method.process.timesteps = STEPS[variant]
    c.method.penalty.gamma = 0.001  # modes are narrow, so the discriminator must be steep
    for player in (c.method.generator, c.method.discriminator):
        player.update(width=256, depth=4)
    c.train.update(steps=20_000, batch_size=256, log_every=1_000, sample_every=10_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=5e-4, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=100_000.0)
    c.sampler = component("sampler", "denoising_gan", steps=STEPS[variant])
    c.eval.update(metrics=("modes", "energy"), num=2_500, batch_size=2_500)
    return c
