"""Min-SNR weighting: quality during training for four weightings of one loss (Hang et al. 2023).

The network predicts x0. Its squared error is weighted by 1 ("constant"), by SNR (the error of eps), by max(SNR, 1) or
by min(SNR, 5). Columns are shares of the training, all from one run at a constant learning rate, sampled with the EMA
weights of that time. 5/17 is the whole divided by 3.4, the factor by which the paper's network that predicts x0 reaches
FID 10 sooner than with constant weights (figure 5, ImageNet 256 in latents) [A]. The paper's table 1 is of a UNet on
the same data after 200,000 and 1,000,000 steps: min-SNR-5 has 7.99 and 4.28, against the baseline's 25.93 and 8.33, for
networks that predict x0; and 7.32 and 4.14 against 8.55 and 4.21 for eps [1]. No column of ours corresponds to it.
Gradients are not clipped, because clipping would affect some weightings more often than others; the optimiser is
invariant to the gradients' scale.
"""

from diffjax.ablation import Axis, Budget, Claim, Less, Quantity, Table, decreases, least, setting, trained, vary

WEIGHTINGS = {"constant": "uniform", "SNR": "simple", "max-SNR": "truncated_snr", "min-SNR-5": "min_snr"}
SHARES = ("1/17", "2/17", "5/17", "10/17", "17/17")

PAPER = Table(
    source="Hang et al. 2023, arXiv 2303.09556, figure 5, whose curves are published without numbers",
    rows=Axis.of("weighting", WEIGHTINGS),
    columns=Axis("share of training", SHARES),
    quantities=(Quantity("FID"),),
)


def at(weighting, share):
    return {"weighting": weighting, "share of training": share}


CLAIMS = (
    *(Claim(f"Min-SNR-5 is better than the other weightings {when} of training",
            least("FID", along="weighting", **at("min-SNR-5", share)))
      for share, when in (("2/17", "after 2/17"), ("17/17", "at the end"))),
    Claim("Min-SNR-5 is 3.4 times as fast as constant weights: better after 5/17 of training than they are at the end",
          Less("FID", at("min-SNR-5", "5/17"), at("constant", "17/17"))),
    Claim("Every weighting improves with training", decreases("FID", along="share of training")),
)  # fmt: skip


def grid(config, seventeenth, seeds, **keys):
    """`seventeenth` is a seventeenth of the training in steps; a checkpoint is kept after each."""
    shares = {share: {"checkpoint.step": seventeenth * int(share.partition("/")[0])} for share in SHARES}
    runs = trained(config, seeds, train__steps=17 * seventeenth, train__checkpoint_every=seventeenth, **keys)
    weightings = {label: {"method.weighting.name": name} for label, name in WEIGHTINGS.items()}
    return runs * vary("weighting", weightings) * vary("share of training", shares) * OBJECTIVE


OBJECTIVE = setting(
    method__process__name="ddpm_cosine",
    method__target__name="x0",
    optim__decay="constant",
    optim__clip_norm=0.0,
    train__keep=17,
    sampler__name="ddim",
    sampler__steps=50,
    sampler__clip=True,
)

BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, 17 training steps, 64 samples; two weightings after 10/17 and all of training",
        (grid("configs/cifar10_ddpm.py:digits", 1, 1, train__batch_size=32) * setting(eval__num=64)).where(
            lambda at: at["weighting"] in ("SNR", "min-SNR-5") and at["share of training"] in ("10/17", "17/17")
        ),
        {"FID": "frechet_pixels"},
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, trained on 130,560 images; 719 samples, Frechet distance of pixels to 359 held-out digits",
        grid("configs/cifar10_ddpm.py:digits", 60, 5, eval__num=719, optim__warmup=2_560.0),
        {"FID": "frechet_pixels"},
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, 85,000 steps of 128, 10,000 samples, FID against the training images",
        grid("configs/cifar10_ddpm.py", 5_000, 1, eval__num=10_000, optim__warmup=64_000.0, ema__ramp=0.05),
        {"FID": "fid"},
        hours=12,
    ),
    "paper": Budget(
        "CIFAR-10 instead of ImageNet: 799,000 steps of 128 (DDPM's 800,000 in seventeenths), 50,000 samples",
        grid("configs/cifar10_ddpm.py", 47_000, 1),
        {"FID": "fid"},
        hours=72,
    ),
}
