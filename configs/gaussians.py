"""Variance-preserving diffusion on the point clouds of the course's pictures. A few minutes on 2 cores.

Variants: "splash" (the default), a drop of ink that spreads in a bowl, sampled by reversed Brownian motion; "people",
points (height, weight), and "winged", with wing span as third coordinate, sampled by the probability-flow ODE.
"""

from configs import base
from diffjax.config import component


def get_config(variant="splash"):
    base.check_variant(variant, ("splash", "people", "winged"))
    c = base.get_config()
    c.data = component("data", f"gaussians:{variant}")
    c.method = component("method", "diffusion", process="vp_linear", network="mlp")
    c.method.network.update(width=64, depth=2)
    c.method.target.sigma_data = c.method.weighting.sigma_data = 1.0  # people are standardised
    c.train.update(steps=4_000, batch_size=256, log_every=500, sample_every=0, checkpoint_every=1_000)
    c.optim.update(learning_rate=2e-3, warmup=25_600.0, decay="cosine")
    c.ema.update(images=25_000.0)
    c.sampler = component("sampler", "heun", steps=32)
    c.eval.update(metrics=("energy",), num=2_500, batch_size=2_500)
    if variant == "splash":  # its small drops are 20 times narrower than the bowl
        c.method.network.update(width=128, depth=3)
        c.train.update(steps=6_000, batch_size=512)
        c.optim.warmup, c.ema.images = 51_200.0, 50_000.0
        c.method.target.sigma_data = c.method.weighting.sigma_data = 0.6  # of the drop, in units of the bowl
        c.sampler = component("sampler", "ancestral", steps=250, grid="quadratic")
    return c
