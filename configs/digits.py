"""EDM on scikit-learn's 1,797 digits, 8x8: no download, 0.7M parameters, two to three minutes on 2 cores.

Variants: "edm" (the default), "conditional" (by label, can be guided), "ddpm" (eps, linear betas, DDIM-50),
"super_resolution" (SR3: sees the image reduced to 2x2 beside x_t; `sample --image` draws digits that match an image).
"""

from configs import base
from diffjax.config import component


def get_config(variant="edm"):
    base.check_variant(variant, ("edm", "conditional", "ddpm", "super_resolution"))
    c = base.get_config()
    c.data = component("data", "digits")
    c.method = component("method", "diffusion", process="edm", target="F", weighting="edm", times="log_normal")
    c.method.network.update(channels=32, multipliers=(1, 2), blocks=1, attention=(4,))
    c.train.update(steps=1_000, batch_size=128, log_every=100, sample_every=500, checkpoint_every=500)
    c.optim.update(learning_rate=2e-3, warmup=12_800.0, decay="cosine")
    c.ema.update(images=25_000.0)
    c.sampler = component("sampler", "heun", steps=18)
    c.eval.update(metrics=("frechet_pixels",), num=1_438)
    if variant == "conditional":
        c.method.conditional = True
    elif variant == "ddpm":
        c.method = base.ddpm(network=c.method.network, conditional=c.method.conditional)
        c.sampler = component("sampler", "ddim", steps=50, clip=True)
    elif variant == "super_resolution":
        c.method.super_resolution = 4
    return c
