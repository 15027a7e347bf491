"""EDM, Table 2: from the score SDE's training to EDM's, one change after another (Karras et al. 2022).

- A: the baseline: Song et al. 2021's continuous objective and network, sampled with EDM's deterministic Heun sampler
- B: other hyper-parameters: five times the learning rate, larger batches, no gradient clipping
- C: capacity moved to higher resolutions: the lowest level dropped, the highest twice as wide
- D: EDM's preconditioning: the network predicts F, and is conditioned on ln(sigma) / 4
- E: EDM's loss: its weighting and its distribution of noise levels
- F: augmentation on which the network is conditioned

Up to D, "VP" is DDPM++ with the VP process and "VE" is NCSN++ with the VE process; E and F use EDM's process in both.
Every sample has NFE 35. "A" without labels is the score SDE's published network, not one that EDM's authors trained.
All published FIDs are of the best snapshot, and the lowest of three evaluations. On digits the batch size does not
change, so that B means five times the learning rate and no clipping, and nothing is mirrored, not even in F. B's rate
is that of all our configs on digits. A's runs are as short, so that much of what B and F gain on A is this rate alone.
Claims are about VP without labels, the one column of `hour` and `day`.
"""

from diffjax.ablation import Axis, Budget, Claim, Less, Marked, Printed, Quantity, Table, least, setting, trained, vary

CONFIGS = ("A", "B", "C", "D", "E", "F")
COLUMNS = ("VP", "VP, by label", "VE")

VP = (3.01, Marked(2.51, "1"), Marked(2.31, "1"), Marked(2.29, "1"), 2.05, 1.97)
BY_LABEL = (2.48, Marked(2.18, "1"), Marked(2.08, "1"), Marked(2.09, "1"), 1.88, 1.79)
VE = tuple(Marked(fid, "M") for fid in (3.77, 2.94, 2.83, Printed("3.10"), 1.99, 1.98))

PAPER = Table(
    source="Karras et al. 2022, arXiv 2206.00364, table 2, CIFAR-10",
    rows=Axis("config", CONFIGS),
    columns=Axis("network", COLUMNS),
    quantities=(Quantity("FID", "T", tuple(zip(VP, BY_LABEL, VE, strict=True))),),
)


def better(config, before):
    return Less("FID", {"config": config, "network": "VP"}, {"config": before, "network": "VP"})


CLAIMS = (
    Claim("VP: hyper-parameters alone (B) improve on the baseline (A)", better("B", "A")),
    Claim("VP: moving capacity to higher resolutions (C) improves on B", better("C", "B")),
    Claim("VP: EDM's weighting and noise levels (E) improve on preconditioning alone (D)", better("E", "D")),
    Claim("VP: non-leaky augmentation (F) improves on E", better("F", "E")),
    Claim("VP: all changes together (F) improve on the baseline (A)", better("F", "A")),
    Claim("VP: F is the best configuration", least("FID", along="config", config="F", network="VP")),
)

PRECONDITIONED = {"method.target.name": "F", "method.clock.name": "log_noise"}
LOSS = {"method.process.name": "edm", "method.weighting.name": "edm", "method.times.name": "log_normal"}


def ladder(a, b, c, f):
    """Each configuration adds its changes to those before it, or replaces them."""
    configs, changes = {}, {}
    for config, change in zip(CONFIGS, (a, b, c, PRECONDITIONED, LOSS, f), strict=True):
        changes = changes | change
        configs[config] = changes
    return vary("config", configs)


DIGITS = ladder(
    a={"optim.learning_rate": 4e-4, "method.network.channels": 16, "method.network.multipliers": (1, 4, 4)},
    b={"optim.learning_rate": 2e-3, "optim.clip_norm": 0.0},
    c={"method.network.multipliers": (2, 4)},
    f={"method.augment.name": "edm", "method.augment.mirror": False},  # a mirrored digit is a different image
)


def cifar10(a, b):
    """The published changes; `a` and `b` set the training length before and after the batches grow."""
    larger = {
        "train.batch_size": 512, "optim.learning_rate": 1e-3, "optim.clip_norm": 0.0,
        "method.network.dropout": 0.13, "ema.images": 500_000.0, "ema.ramp": 0.05,
    }  # fmt: skip
    wider = {"method.network.multipliers": (2, 2, 2)}
    return ladder(a, larger | b, wider, {"method.augment.name": "edm", "data.flip": False})


def columns(size, names, seeds, **keys):
    """The columns `names`; `size` is "cifar10" or "digits", a prefix of the variants of the score SDE's config."""
    by_label = {"method__conditional": True, "method__label_dropout": 0.0}
    column = {
        "VP": trained(f"configs/cifar10_score_sde.py:{size}_vp", seeds, **keys),
        "VP, by label": trained(f"configs/cifar10_score_sde.py:{size}_vp", seeds, **by_label, **keys),
        "VE": trained(f"configs/cifar10_score_sde.py:{size}", seeds, **keys),
    }
    return vary("network", {name: column[name] for name in names}) * setting(sampler__name="heun", sampler__steps=18)


BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, 20 training steps, 64 samples; C and F",
        (columns("digits", ["VP"], 1, train__steps=20, train__batch_size=32, eval__num=64) * DIGITS).where(
            lambda at: at["config"] in ("C", "F")
        ),
        {"FID": "frechet_pixels"},
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, trained on 128,000 images; 719 samples, Frechet distance of pixels to 359 held-out digits",
        columns("digits", ["VP"], 3, eval__num=719) * DIGITS,
        {"FID": "frechet_pixels"},
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, trained on 10 million images, 10,000 samples, FID against the training images",
        columns("cifar10", ["VP"], 1, eval__num=10_000, optim__warmup=640_000.0)
        * cifar10({"train.steps": 78_125}, {"train.steps": 19_531}),
        {"FID": "fid"},
        hours=12,
    ),
    "paper": Budget(
        "the paper's sizes: CIFAR-10, trained on 200 million images, 50,000 samples",
        columns("cifar10", COLUMNS, 1)
        * cifar10({"train.steps": 1_562_500}, {"train.steps": 390_625, "optim.warmup": 10_000_000.0}),
        {"FID": "fid"},
        hours=120,
    ),
}
