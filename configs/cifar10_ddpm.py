"""DDPM on CIFAR-10 with every number of the paper (Ho et al. 2020, appendix B and released code); 35.7M parameters.

Variants: "cifar10" (L_simple), "cifar10_vlb" (the bound L with fixed variance beta~), and both on digits: "digits",
"digits_vlb".
"""

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, objective = base.variant_of(variant, "vlb")
    c = base.get_config()
    c.data = component("data", "tfds:cifar10", flip=True)
    variance = "small" if objective else "large"
    c.method = base.ddpm(weighting="vlb" if objective else "simple", reverse_variance=variance)
    c.method.network.update(channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), dropout=0.1)
    c.train.update(steps=800_000, batch_size=128, log_every=500, sample_every=20_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=2e-4, clip_norm=1.0, warmup=5_000 * 128.0)
    c.ema = base.decay_per_step(0.9999, 128)
    c.sampler = component("sampler", "ancestral", steps=1_000, variance=variance, clip=True)
    c.eval.update(metrics=("fid",), num=50_000, reference="train")
    if small:
        base.on_digits(c)
        c.sampler.update(steps=200)
    return c
