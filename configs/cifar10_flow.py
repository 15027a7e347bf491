"""Flow matching with straight paths on CIFAR-10 (Lipman et al. 2023, table 3): ADM's network, velocities, Dopri5.

Variants: "cifar10", "cifar10_diffusion" (the diffusion path of table 1: VP, with the same network and sampler), and
both on digits: "digits", "digits_diffusion".
"""

from configs import base
from diffjax.config import component


def get_config(variant="cifar10"):
    small, path = base.variant_of(variant, "diffusion")
    c = base.get_config()
    c.data = component("data", "tfds:cifar10")
    c.method = component(
        "method", "diffusion", process="vp_linear" if path else "flow", target="velocity",
        weighting="plain", times="uniform", clock="scaled", network="adm",
    )  # fmt: skip
    c.method.network.update(channels=256, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), head_dim=64, dropout=0.0)
    c.train.update(steps=391_000, batch_size=256, log_every=100, sample_every=10_000, checkpoint_every=5_000)
    c.optim.update(learning_rate=5e-4, warmup=45_000 * 256.0, decay="linear", decay_images=391_000 * 256.0)
    c.ema = base.decay_per_step(0.9999, 256)
    c.sampler = component("sampler", "adaptive", solver="dopri5")
    c.eval.update(metrics=("fid",), num=50_000, reference="train")
    return base.on_digits(c, head_dim=16) if small else c
