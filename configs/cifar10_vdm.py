"""Variational diffusion models on CIFAR-10 (Kingma et al. 2021, appendix B, released code), without augmentation.

The two ends of the schedule are learned with the bound. The bound does not depend on the schedule between them (eq.
18), so log-SNR stays linear in t. Differences from the released code:

- its network adds x_t to its output, and takes log-SNR scaled to 0..1000; ours takes log-SNR itself
- its p(x0 | z_0) is a softmax over the 256 values, ours the mass of a normal in each bin
- its pixels are 2 / 256 apart, so that its finest sine is +-1 on each of them; ours are 2 / 255 apart, so that the
  finest sine fades towards black and white, and the cosine towards grey
- its blocks take the time through maps that start at zero and have no bias; ours start as in DDPM
- its weight decay spares biases

Variants: "cifar10", "digits".
"""

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, _ = base.variant_of(variant)
    c = base.get_config()
    c.data = component("data", "tfds:cifar10")
    c.method = component(
        "method", "diffusion", process=component("process", "learned_log_snr", width=0), target="eps", weighting="vlb",
        times=component("times", "uniform", t_min=0.0), low_discrepancy=True, clock="log_snr",
    )  # fmt: skip
    c.method.network.update(channels=128, multipliers=(1,), blocks=32, attention=(), dropout=0.1)
    c.method.network.fourier_features = (7, 8)
    c.train.update(steps=10_000_000, batch_size=128, log_every=500, sample_every=50_000, checkpoint_every=20_000)
    c.optim.update(learning_rate=2e-4, b2=0.99, weight_decay=0.01, warmup=100 * 128.0)
    c.ema = base.decay_per_step(0.9999, 128)
    c.sampler = component("sampler", "ancestral", steps=1_000)
    c.eval.update(metrics=("fid", "vlb"), num=50_000, reference="train")
    if small:
        base.on_digits(c, multipliers=(1,), blocks=3, attention=())
        c.sampler.update(steps=200)
        c.eval.metrics = ("frechet_pixels", "vlb")
    return c
