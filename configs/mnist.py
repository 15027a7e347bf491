"""EDM on MNIST, 28x28, by label; 1.1M parameters. Variants: "edm" (default), "ddpm" (eps, linear betas, DDIM-50)."""

from configs import base
from diffjax.config import component


def get_config(variant="edm"):
    base.check_variant(variant, ("edm", "ddpm"))
    c = base.get_config()
    c.data = component("data", "tfds:mnist")
    c.method = component("method", "diffusion", process="edm", target="F", weighting="edm", times="log_normal")
    c.method.conditional = True
    c.method.network.update(channels=32, multipliers=(1, 2, 2), blocks=1, attention=(7,))
    c.train.update(steps=20_000, batch_size=128, sample_every=2_000, checkpoint_every=1_000)
    c.optim.update(learning_rate=1e-3, warmup=128_000.0)
    c.ema.update(images=200_000.0)
    c.sampler = component("sampler", "heun", steps=18)
    c.eval.update(metrics=("frechet_pixels",), num=2_000)
    if variant == "ddpm":
        c.method = base.ddpm(network=c.method.network, conditional=c.method.conditional)
        c.sampler = component("sampler", "ddim", steps=50, clip=True)
    return c
