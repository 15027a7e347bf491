"""EDM on points in the plane.

Variants: "swiss_roll" (the default), "ring" (8 Gaussians), "grid" (25 Gaussians), "moons" (two).
"""

from configs import base
from diffjax.config import component
from diffjax.data.toy2d import KINDS


def get_config(variant="swiss_roll"):
    base.check_variant(variant, KINDS)
    c = base.get_config()
    c.data = component("data", f"toy2d:{variant}")
    c.method = component("method", "diffusion", network="mlp")
    c.method.target.sigma_data = 1.0  # points are standardised
    c.method.weighting.sigma_data = 1.0
    c.train.update(steps=10_000, batch_size=512, log_every=500, sample_every=5_000, checkpoint_every=5_000)
    c.optim.update(learning_rate=1e-3, warmup=51_200.0, decay="cosine")
    c.ema.update(images=100_000.0)
    c.sampler = component("sampler", "heun", steps=32)
    c.eval.update(metrics=("energy",), num=2_500, batch_size=2_500)
    if variant in ("ring", "grid"):
        c.eval.metrics = ("modes", "energy")
    return c
