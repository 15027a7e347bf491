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


def get_config(variant="swiss_roll"):
    base.check_variant(variant, [f"{data}{schedule}" for data in SHAPES for schedule in ("", "_start", "_erasing")])
    data, schedule = variant, ""
    for name in ("start", "erasing"):
        if variant.endswith(f"_{name}"):
            data, schedule = variant.removesuffix(f"_{name}"), name
    steps, first = SHAPES[data]
    c = base.get_config()
    names = {"swiss_roll": "toy2d:swiss_roll", "mnist": "tfds:mnist", "dead_leaves_32": "dead_leaves"}
    c.data = component("data", names.get(data, data))
    process = component("process", "learned_table", timesteps=steps, beta_first=first, log_snr_min=LEAST)
    if schedule:
        process = component("process", "table", betas={"start": start, "erasing": erasing}[schedule](steps, first))
    c.method = component(
        "method", "diffusion", process=process, target="F", reverse_variance="learned", weighting="vlb",
        times="uniform", low_discrepancy=True, clock="index", network="mlp" if data == "swiss_roll" else "unet",
    )  # fmt: skip
    c.sampler = component("sampler", "ancestral", steps=steps, variance="learned")
    c.optim.update(learning_rate=5e-3, warmup=51_200.0, decay="cosine", clip_norm=1.0)
    if data == "swiss_roll":
        c.method.target.sigma_data = 1.0  # points are standardised
        c.method.network.update(width=128, depth=4)
        c.train.update(steps=10_000, batch_size=512, log_every=500, sample_every=5_000, checkpoint_every=5_000)
        c.ema.update(images=100_000.0)
        c.eval.update(metrics=("K", "vlb"), num=10_000, batch_size=2_500)
        return c
    leaves, large = data.startswith("dead_leaves"), data in ("mnist", "dead_leaves_32")
    c.method.target.sigma_data = 1.0 if leaves else 0.5
    c.method.network.update(channels=32, blocks=1, multipliers=(1, 2), attention=(4,))
    c.train.update(steps=1_000, batch_size=128, log_every=100, sample_every=500, checkpoint_every=500)
    c.optim.update(learning_rate=2e-3, warmup=12_800.0)
    c.ema.update(images=25_000.0)
    c.eval.update(metrics=("K", "vlb") if leaves else ("parzen", "vlb"), num=1_438)
    if large:
        c.method.network.update(multipliers=(1, 2, 2), attention=(7, 8))
        c.train.update(steps=20_000, sample_every=2_000, checkpoint_every=1_000)
        c.optim.update(learning_rate=1e-3, warmup=128_000.0)
        c.ema.update(images=200_000.0)
        c.eval.update(num=10_000)
    if leaves:
        c.data.update(num_heldout=500)
    if leaves and large:  # larger discs; fewer patches, because one takes a hundred thousand operations to draw
        c.data.update(size=32, radius_min=2.0, radius_max=32.0, num_train=20_000)
    return c
