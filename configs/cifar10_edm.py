"""EDM on CIFAR-10 (Karras et al. 2022, table 2, and its released code): configuration F, with augmentation.

Variants: "cifar10", "cifar10_conditional"; "cifar10_mirrored", "cifar10_conditional_mirrored" (configuration E, which
only mirrors images); "digits", "digits_conditional", which are neither mirrored nor augmented.
"""

from configs import base
from diffjax.config import component

VARIANTS = (
    "cifar10", "cifar10_conditional", "cifar10_mirrored", "cifar10_conditional_mirrored", "digits", "digits_conditional"
)  # fmt: skip


def get_config(variant="cifar10"):
    base.check_variant(variant, VARIANTS)
    small, mirrored = "digits" in variant, "mirrored" in variant
    c = base.get_config()
    c.data = component("data", "tfds:cifar10", flip=mirrored)
    c.method = component(
        "method", "diffusion", process="edm", target="F", weighting="edm", times="log_normal", network="ddpmpp"
    )
    c.method.update(conditional="conditional" in variant, label_dropout=0.0)
    c.method.augment = component("augment", "none" if mirrored or small else "edm")
    c.method.network.update(channels=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), dropout=0.13)
    c.train.update(steps=390_625, batch_size=512, log_every=100, sample_every=10_000, checkpoint_every=5_000)
    c.optim.update(learning_rate=1e-3, warmup=10_000_000.0)
    c.ema = component("ema", "half_life", images=500_000.0, ramp=0.05)
    c.sampler = component("sampler", "heun", steps=18)
    c.eval.update(metrics=("fid",), num=50_000, reference="train")
    return base.on_digits(c) if small else c
