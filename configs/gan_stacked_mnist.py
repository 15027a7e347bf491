"""GANs on Stacked MNIST, whose images have three digits as red, green and blue: how many of 1,000 modes do they find?

Variants:

"rpgan_r1_r2"      the default, and "rpgan_r1", "gan_r1_r2", "gan_r1": the losses of R3GAN (Huang et al. 2024, table 1)
                   with networks, batches, lengths and gamma of our own.
"small_..."        these on 14x14 images, with narrow networks, smaller batches and fewer steps: 20 minutes on one core.
"digits_..."       these on stacks of 8x8 digits.
"published_..."    these as in the paper's own run on Stacked MNIST (its table 9).
"pac1" to "pac4"   our DCGAN with the images, batches and 50 epochs of PacGAN (Lin et al. 2018), but not its networks, z
                   or order of updates, so its table is no comparison.
"digits_pac1" ...  these on stacks of 8x8 digits, with narrow networks and a tenth of the steps.

First train the classifier that recognises the modes, on the same single digits:
`train --config=configs/classifier.py:mnist --workdir=runs/judge_mnist` (mnist14 for "small_", digits for "digits_").
"""

from configs import base
from diffjax.config import component

TABLE = {
    "rpgan_r1_r2": ("relativistic", "r1_r2"),
    "rpgan_r1": ("relativistic", "r1"),
    "gan_r1_r2": ("non_saturating", "r1_r2"),
    "gan_r1": ("non_saturating", "r1"),
}
SIZES = {  # digits, side (0: the digits' own), widths, batch, steps, gamma, and the classifier that counts
    "": ("mnist", 0, (256, 256, 256), 512, 100_000, 1.0, "mnist"),
    "small_": ("mnist", 14, (32, 16), 64, 10_000, 1.0, "mnist14"),
    "digits_": ("digits", 0, (64, 48), 64, 10_000, 0.3, "digits"),
}
PUBLISHED = tuple(f"published_{loss}" for loss in TABLE)
PACKED = tuple(f"{size}pac{m}" for size in ("", "digits_") for m in (1, 2, 3, 4))


def get_config(variant="rpgan_r1_r2"):
    base.check_variant(variant, (*(size + loss for size in SIZES for loss in TABLE), *PUBLISHED, *PACKED))
    if variant in PUBLISHED:
        c = published(variant.removeprefix("published_"))
    elif variant in PACKED:
        c = pacgan(int(variant[-1]), variant.removesuffix(f"pac{variant[-1]}"))
    else:
        c = r3gan(variant)
    c.eval.update(metrics=("stacked_modes",), num=26_000, reference="heldout")
    return c


def r3gan(variant):
    """One of the four losses in one of the three sizes."""
    loss = next(name for name in TABLE if variant in [size + name for size in SIZES])
    digits, side, widths, batch, steps, gamma, judge = SIZES[variant.removesuffix(loss)]
    c = base.gan("r3gan_generator", "r3gan_discriminator", *TABLE[loss])
    c.data = component("data", "stacked_mnist", base=digits, size=side)
    blocks = (1,) * len(widths)
    c.method.generator.update(latent=64, widths=widths, blocks=blocks)
    c.method.discriminator.update(widths=widths, blocks=blocks)
    c.method.penalty.gamma = gamma
    c.train.update(steps=steps, batch_size=batch)
    c.optim.update(learning_rate=2e-4, b1=0.0, b2=0.99)
    c.ema.update(images=20_000.0, ramp=0.05)
    c.eval.classifier = f"runs/judge_{judge}"
    return c


def published(loss):
    """The column of table 9: 32x32, two blocks of 768 channels per resolution, 10 million images, 2 million of burn-in.

    The networks have the 20.73 and 20.68 million parameters stated there. Those of table 1 are described only as "a
    small ResNet".
    """
    c = base.gan("r3gan_generator", "r3gan_discriminator", *TABLE[loss])
    c.data = component("data", "stacked_mnist", base="mnist", size=32)
    c.method.penalty.update(gamma=1.0, gamma_last=0.1, ramp_images=2_000_000.0)
    c.train.update(steps=19_531, batch_size=512)
    c.optim.update(learning_rate=2e-4, learning_rate_last=2e-4, b1=0.0, b2=0.9, b2_last=0.99)
    c.optim.update(decay="cosine", decay_images=2_000_000.0)  # of b2 only: the rate is constant
    c.ema.update(images=500_000.0, ramp=0.0, warmup=2_000_000.0)
    c.eval.classifier = "runs/judge_mnist"
    return c


def pacgan(packing, size):
    """VEEGAN's setting: 128,000 images, 50 epochs with batches of 64 packs; a tenth of the steps on small digits."""
    digits, width, steps = ("digits", 16, 10_000) if size else ("mnist", 64, 100_000)
    c = base.gan("dcgan_generator", "dcgan_discriminator", packing=packing)
    c.data = component("data", "stacked_mnist", base=digits)
    c.method.generator.update(latent=100, width=width)
    c.method.discriminator.width = width
    c.train.update(steps=steps, batch_size=64 * packing)
    c.optim.update(learning_rate=2e-4, b1=0.5, b2=0.999)
    c.eval.classifier = f"runs/judge_{digits}"
    return c
