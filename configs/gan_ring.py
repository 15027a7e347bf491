"""A GAN on a ring of 8 Gaussians, fully connected; a minute on 2 cores.

Variants: "r1" (the default), which finds all modes; and the protocol of PacGAN (Lin et al. 2018, section 4.1; networks,
sizes and rates from their code), "paper_pac1" (no packing) to "paper_pac4", 400 epochs of 100,000 packs, which take
hours, and "pac1" to "pac4", the same for 20 epochs. PacGAN's variants have no average of the weights.
"""

from configs import base
from diffjax.config import component

PACKED = ("pac1", "pac2", "pac3", "pac4")


def get_config(variant="r1"):
    return game("ring", variant)


def game(mixture, variant):
    """The config of a variant on a mixture, "ring" or "grid"."""
    base.check_variant(variant, ("r1", *PACKED, *(f"paper_{packed}" for packed in PACKED)))
    c = base.get_config()
    long, packed = variant.startswith("paper_"), variant.removeprefix("paper_")
    c.data = component("data", f"toy2d:{mixture}")
    c.method = component("method", "gan", generator="mlp_generator", discriminator="mlp_discriminator")
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("modes", "energy"), num=2_500, batch_size=2_500)
    return with_r1(c, mixture) if variant == "r1" else pacgan(c, PACKED.index(packed) + 1, epochs=400 if long else 20)


def with_r1(c, mixture):
    """With R1, which keeps all modes, and a rate that decays to 0, so that samples become as narrow as the modes.

    Modes have 1/70 of the ring's spread.
    """
    c.method.generator.width = c.method.discriminator.width = 64
    c.method.penalty.gamma = {"ring": 1.0, "grid": 0.1}[mixture]
    c.train.update(steps=20_000, batch_size=256, log_every=1_000, sample_every=10_000, checkpoint_every=10_000)
    c.optim.update(learning_rate=2e-3, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=100_000.0)
    return c


def pacgan(c, packing, epochs):
    """PacGAN's protocol: 100 packs per batch, 1,000 batches per epoch; both networks are updated simultaneously."""
    c.data.update(standardised=False, num_train=100_000 * packing)
    c.method.update(packing=packing, simultaneous=True)
    c.method.penalty = component("penalty", "none")
    c.method.generator.update(latent=2, width=400, depth=4, norm="batch", initial=0.02)
    c.method.discriminator.update(width=200, depth=3, maxout=5, initial=0.02)
    c.train.update(steps=1_000 * epochs, batch_size=100 * packing, log_every=1_000, sample_every=5_000)
    c.train.checkpoint_every = 5_000
    c.optim.update(learning_rate=1e-4, b1=0.8, b2=0.999)
    c.ema.update(images=0.0)
    c.eval.every = 5_000
    return c
