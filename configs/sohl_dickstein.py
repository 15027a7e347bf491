"""Gaussian diffusion of Sohl-Dickstein et al. 2015: few steps, with learned betas and reverse variances.

Trained on the variational bound itself. Variants:

"swiss_roll"   40 steps, three to four minutes on 2 cores. K = 1.92 bits and K - L_null = 6.01, for points of unit
               variance whose noise has standard deviation 0.00368 (0.025 as stored) and whose true log likelihood is
               2.38 bits. The paper, which does not state its noise, has 2.35 and 6.45.
"dead_leaves"  8x8 patches of occluding discs, 100 steps; "dead_leaves_32": 32x32 and the 1,000 steps of the paper.
"digits"       8x8 digits, 100 steps, measured by a Parzen window.
"mnist"        28x28, 1,000 steps.

Each also with fixed betas: "..._start" keeps the initial ones, with evenly falling log-SNR; "..._erasing" removes the
same share of the signal's variance at every step, as the paper does for binary data and its released code for images.
"""

import math

from configs import base
from diffjax.config import component

SHAPES = {  # steps of the chain, and beta of the first step: the noise level at which K sees the data
    "swiss_roll": (40, 1e-6),
    "dead_leaves": (100, 1e-3),  # of the released code, for images
    "dead_leaves_32": (1_000, 1e-3),
    "digits": (100, 1e-3),
    "mnist": (1_000, 1e-3),
}
LEAST = -4.0  # initial log-SNR of the last step


def start(steps, first):
    """Betas with evenly falling log-SNR, from that of the first step to LEAST."""
    high = math.log1p(-first) - math.log(first)
    log_snr = [high + (LEAST - high) * i / (steps - 1) for i in range(steps)]
    return betas_of([1 / (1 + math.exp(-level)) for level in log_snr])


def erasing(steps, first):
    """Betas with evenly falling alpha^2 after the first step, down to 1/T: beta_n = 1 / (T - n + 2)."""
    return betas_of([(1 - first) * (1 - i / steps) for i in range(steps)])


def betas_of(alpha_bar):
    """The betas of alpha^2 at steps 1 .. T."""
    return tuple(1 - new / old for old, new in zip([1.0, *alpha_bar], alpha_bar, strict=False))


SCHEDULES = {"_start": start, "_erasing": erasing}


def get_config(variant="swiss_roll"):
    base.check_variant(variant, [f"{data}{schedule}" for data in SHAPES for schedule in ("", *SCHEDULES)])
    schedule = next((name for name in SCHEDULES if variant.endswith(name)), "")
    data = variant.removesuffix(schedule)
    c = chain(*SHAPES[data], schedule)
    if data == "swiss_roll":
        return on_swiss_roll(c)
    large = data in ("mnist", "dead_leaves_32")
    c = on_images(c, large)
    if data.startswith("dead_leaves"):
        return on_dead_leaves(c, large)
    c.data = component("data", {"mnist": "tfds:mnist", "digits": "digits"}[data])
    return c


def chain(steps, first, schedule):
    """The method and its sampler: a chain whose betas are learned, or follow one of SCHEDULES."""
    process = component("process", "learned_table", timesteps=steps, beta_first=first, log_snr_min=LEAST)
    if schedule:
        process = component("process", "table", betas=SCHEDULES[schedule](steps, first))
    c = base.get_config()
    c.method = component(
        "method", "diffusion", process=process, target="F", reverse_variance="learned", weighting="vlb",
        times="uniform", low_discrepancy=True, clock="index",
    )  # fmt: skip
    c.sampler = component("sampler", "ancestral", steps=steps, variance="learned")
    c.optim.update(decay="cosine", clip_norm=1.0)
    return c


def on_swiss_roll(c):
    c.data = component("data", "toy2d:swiss_roll")
    c.method.target.sigma_data = 1.0  # points are standardised
    c.method.network = component("network", "mlp", width=128, depth=4)
    c.train.update(steps=10_000, batch_size=512, log_every=500, sample_every=5_000, checkpoint_every=5_000)
    c.optim.update(learning_rate=5e-3, warmup=51_200.0)
    c.ema.update(images=100_000.0)
    c.eval.update(metrics=("K", "vlb"), num=10_000, batch_size=2_500)
    return c


def on_images(c, large):
    """Sizes for 8x8 images, minutes on 2 cores; or, if `large`, for 28x28 and 32x32."""
    c.method.network.update(channels=32, blocks=1, multipliers=(1, 2), attention=(4,))
    c.train.update(steps=1_000, batch_size=128, log_every=100, sample_every=500, checkpoint_every=500)
    c.optim.update(learning_rate=2e-3, warmup=12_800.0)
    c.ema.update(images=25_000.0)
    c.eval.update(metrics=("parzen", "vlb"), num=1_438)
    if large:
        c.method.network.update(multipliers=(1, 2, 2), attention=(7, 8))
        c.train.update(steps=20_000, sample_every=2_000, checkpoint_every=1_000)
        c.optim.update(learning_rate=1e-3, warmup=128_000.0)
        c.ema.update(images=200_000.0)
        c.eval.update(num=10_000)
    return c


def on_dead_leaves(c, large):
    """Patches of continuous grey values, which have a density: measured by K, not by a Parzen window."""
    c.data = component("data", "dead_leaves", num_heldout=500)
    if large:  # larger discs; fewer patches, because one takes a hundred thousand operations to draw
        c.data.update(size=32, radius_min=2.0, radius_max=32.0, num_train=20_000)
    c.method.target.sigma_data = 1.0  # patches are standardised
    c.eval.metrics = ("K", "vlb")
    return c
