"""Score-based models through SDEs on CIFAR-10 (Song et al. 2021, and its released code), continuous objectives.

Variants: "cifar10" (NCSN++, VE), "cifar10_vp" and "cifar10_subvp" (DDPM++), and all of them with "digits" for
"cifar10". The paper's VE noise levels, 0.01 to 50, are for data in [0, 1]; for data in [-1, 1] they are doubled here.
"""

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, kind = base.variant_of(variant, "vp", "subvp")
    process = {"": component("process", "ve", sigma_min=0.02, sigma_max=100.0), "vp": "vp_linear", "subvp": "sub_vp"}
    c = base.get_config()
    c.data = component("data", "tfds:cifar10", flip=True)
    c.method = component(
        "method", "diffusion", process=process[kind], target="eps", weighting="simple", times="uniform",
        clock="scaled" if kind else "log_sigma", network="ddpmpp" if kind else "ncsnpp",
    )  # fmt: skip
    c.method.network.update(channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention=(16,), dropout=0.1)
    c.train.update(steps=1_300_000, batch_size=128, log_every=500, sample_every=20_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=2e-4, clip_norm=1.0, warmup=5_000 * 128.0)
    c.ema = base.decay_per_step(0.9999 if kind else 0.999, 128)
    c.sampler = component("sampler", "predictor_corrector", steps=1_000)
    if kind:
        c.sampler = component("sampler", "euler_maruyama", steps=1_000)
    c.eval.update(metrics=("fid",), num=50_000, reference="train")
    if small:
        base.on_digits(c)
        c.sampler.update(steps=200)
    return c
