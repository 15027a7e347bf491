"""Classifier-free guidance: FID and Inception Score by guidance scale, from one network (Ho & Salimans 2022).

The paper's w is `guidance.scale` - 1. w = 0 is the conditional model, which needs one network call instead of two. The
network saw no label in a tenth of its training. On CIFAR-10, IS and FID use the same network. On digits IS uses a
classifier that we trained, and FID is that of pixels, so that they measure different features; IS is 10 at most, which
strong guidance may reach, so the claim about its growth ends at w = 1. The paper also has w = 2, whose cells we do not
have.
"""

from diffjax.ablation import (
    All,
    AnyOf,
    Axis,
    Budget,
    Claim,
    Less,
    Printed,
    Quantity,
    Run,
    Table,
    increases,
    setting,
    trained,
    vary,
)

W = ("0", "0.1", "0.3", "1", "2", "4")

PAPER = Table(
    source="Ho & Salimans 2022, arXiv 2207.12598, table 1, ImageNet 64x64, p_uncond = 0.1, 50,000 samples",
    rows=Axis("w", W),
    quantities=(
        Quantity("FID", "T", (Printed("1.80"), 1.55, 3.03, 12.6, None, 26.2)),
        Quantity("IS", "T", (53.7, 66.1, 92.8, 170.1, None, 260.2), better="more"),
    ),
)


def between(w):
    """FID is less at `w` than at both ends."""
    return All(tuple(Less("FID", {"w": w}, {"w": end}) for end in (W[0], W[-1])))


CLAIMS = (
    Claim("FID has an interior optimum in w", AnyOf(tuple(map(between, W[1:-1])))),
    Claim("FID is worse at w = 4 than at w = 0", Less("FID", {"w": "0"}, {"w": "4"})),
    Claim(
        "The Inception Score increases with w, up to w = 1", increases("IS", along="w", over=("0", "0.1", "0.3", "1"))
    ),
)

SCALES = vary("w", {w: {"sampler.guidance.name": "classifier_free", "sampler.guidance.scale": 1 + float(w)} for w in W})


def on_digits(seeds, num, judge, **keys):
    """One network for each seed; one classifier for all."""
    judge = Run.of("configs/classifier.py:digits", **judge)
    metrics = ("frechet:pixels", "inception_score:classifier")
    judged = setting(eval__metrics=metrics, eval__num=num, eval__classifier=judge)
    return trained("configs/digits.py:conditional", seeds, **keys) * SCALES * judged


def on_cifar10(num, **keys):
    """EDM's conditional network, with labels dropped in a tenth of its training."""
    config = "configs/cifar10_edm.py:cifar10_conditional_mirrored"
    measured = setting(eval__metrics=("fid", "is"), eval__num=num, method__label_dropout=0.1)
    return trained(config, 1, **keys) * SCALES * measured


ON_DIGITS = {"FID": "frechet_pixels", "IS": "inception_score_classifier"}
ON_CIFAR10 = {"FID": "fid", "IS": "inception_score"}
BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, 20 training steps, 64 samples",
        on_digits(1, 64, {"train__steps": 20}, train__steps=20, train__batch_size=32).where(
            lambda at: at["w"] in ("0", "1")
        ),
        ON_DIGITS,
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8 by label, trained on 128,000 images; 1,438 samples, Frechet distance of pixels to held-out digits",
        on_digits(6, 1_438, {}),
        ON_DIGITS,
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10 by label, trained on 25,600,000 images, 10,000 samples, FID against the training images",
        on_cifar10(10_000, train__steps=50_000, optim__warmup=640_000.0),
        ON_CIFAR10,
        hours=24,
    ),
    "paper": Budget(
        "CIFAR-10 by label instead of ImageNet: trained on EDM's 200 million images, 50,000 samples",
        on_cifar10(50_000),
        ON_CIFAR10,
        hours=120,
    ),
}
