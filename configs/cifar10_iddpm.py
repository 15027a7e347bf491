"""Improved DDPM on CIFAR-10 (Nichol & Dhariwal 2021, tables 1 and 2, and its released code): T = 4000, cosine betas.

Dropout is 0.3 with cosine betas, and 0.1 with linear ones: the paper used less there (appendix F), not saying how much.

Variants: "cifar10" (L_hybrid), "cifar10_vlb" (L_vlb, importance-sampled), "cifar10_simple", "cifar10_linear" (L_hybrid,
linear betas scaled to T = 4000), and all of them with "digits" for "cifar10".
"""

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, objective = base.variant_of(variant, "vlb", "simple", "linear")
    c = base.get_config()
    c.data = component("data", "tfds:cifar10")
    process = component("process", "ddpm_cosine", timesteps=4_000)
    if objective == "linear":
        process = component("process", "ddpm_linear", timesteps=4_000, beta_start=1e-4 / 4, beta_end=0.02 / 4)
    c.method = base.ddpm(
        process=process,
        reverse_variance="large" if objective == "simple" else "learned_range",
        weighting="vlb" if objective == "vlb" else "simple",
        times="loss_second_moment" if objective == "vlb" else "uniform",
        clock="rescaled",
        network=component(
            "network", "unet", modulation="scale_shift", frequencies="open", eps=1e-5, downsample_padding=1
        ),
    )
    c.method.network.update(
        channels=128,
        multipliers=(1, 2, 2, 2),
        blocks=3,
        attention=(16, 8),
        head_dim=64,
        dropout=0.1 if objective == "linear" else 0.3,
    )
    c.train.update(steps=500_000, batch_size=128, log_every=500, sample_every=20_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=1e-4)
    c.ema = base.decay_per_step(0.9999, 128)
    c.sampler = component("sampler", "ancestral", steps=4_000, clip=True)
    c.sampler.variance = "large" if objective == "simple" else "learned"
    c.eval.update(metrics=("fid",), num=50_000, reference="train")
    if small:
        base.on_digits(c, head_dim=16)
        c.sampler.update(steps=200)
    return c
