"""DDPM on CIFAR-10, every number the paper's (Ho et al. 2020, appendix B and its released code): 35.7M parameters."""

import math

from configs import base
from diffjax.config import component


def get_config():
    c = base.get_config()
    c.data = component("data", "tfds:cifar10", flip=True)
    c.method = base.ddpm()
    c.method.network.update(channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), dropout=0.1)
    c.train.update(steps=800_000, batch_size=128, log_every=500, sample_every=20_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=2e-4, clip_norm=1.0, warmup=5_000 * 128.0)
    c.ema.update(images=128 * math.log(2) / -math.log(0.9999), ramp=0.0)  # a decay of 0.9999 a step at batch 128
    c.sampler = component("sampler", "ancestral", steps=1_000, variance="large", clip=True)
    c.eval.update(metrics=("frechet_pixels",), num=10_000)
    return c
