"""Improved DDPM on CIFAR-10: NLL and FID by schedule, objective and number of steps (Nichol & Dhariwal 2021).

L_simple has the fixed variance beta. L_hybrid learns the variance by the bound, and the mean without it. L_vlb is the
bound alone, with times importance-sampled by the second moment of each time's past losses. Every sample takes all T
steps. On digits "1K" is T = 64 and "4K" is T = 256, with betas scaled to end with as much noise, and FID is the Frechet
distance of raw pixels.
"""

from diffjax.ablation import All, Axis, Budget, Claim, Less, Printed, Quantity, Table, greatest, least, trained, vary

OBJECTIVES = {  # row: the variant of configs/cifar10_iddpm.py, and whether to make its betas linear
    "linear, L_simple": ("_simple", True),
    "linear, L_hybrid": ("_linear", False),  # already linear
    "cosine, L_simple": ("_simple", False),
    "cosine, L_hybrid": ("", False),
    "cosine, L_vlb": ("_vlb", False),
}
STEPS = ("1K", "4K")

PAPER = Table(
    source="Nichol & Dhariwal 2021, arXiv 2102.09672, schedules and objectives on CIFAR-10, 500,000 steps of 128",
    rows=Axis.of("objective", OBJECTIVES),
    columns=Axis("steps", STEPS),
    quantities=(
        Quantity("NLL", "T", ((3.73, 3.37), (None, 3.26), (None, 3.26), (None, 3.17), (None, 2.94)), unit="bits/dim"),
        Quantity("FID", "T", ((3.29, Printed("2.90")), (None, 3.07), (None, 3.05), (None, 3.19), (None, 11.47))),
    ),
)


def at(row, steps="4K"):
    return {"objective": row, "steps": steps}


CLAIMS = (
    Claim("More steps give a lower NLL, with linear betas and L_simple",
          Less("NLL", at("linear, L_simple"), at("linear, L_simple", "1K"))),
    Claim("Cosine betas give a lower NLL than linear betas, with L_simple and with L_hybrid",
          All(tuple(Less("NLL", at(f"cosine, {loss}"), at(f"linear, {loss}")) for loss in ("L_simple", "L_hybrid")))),
    Claim("L_hybrid gives a lower NLL than L_simple, with linear and with cosine betas",
          All(tuple(Less("NLL", at(f"{kind}, L_hybrid"), at(f"{kind}, L_simple")) for kind in ("linear", "cosine")))),
    Claim("L_vlb gives the lowest NLL", least("NLL", along="objective", **at("cosine, L_vlb"))),
    Claim("L_vlb gives the worst FID", greatest("FID", along="objective", **at("cosine, L_vlb"))),
)  # fmt: skip


def grid(size, seeds, lengths, **keys):
    """`size` is "cifar10" or "digits"; `lengths` maps each column to its T."""
    process, sampler = "method.process", "sampler.steps"
    dropout = {"method.network.dropout": 0.1} if size == "cifar10" else {}  # less than cosine betas have; digits: none
    rows = {
        row: trained(f"configs/cifar10_iddpm.py:{size}{variant}", seeds, **keys)
        * vary("steps", {
            label: {f"{process}.timesteps": T, sampler: T} | (betas(process, T) if "linear" in row else {})
            | ({f"{process}.name": "ddpm_linear"} | dropout if renamed else {})
            for label, T in lengths.items()
        })
        for row, (variant, renamed) in OBJECTIVES.items()
    }  # fmt: skip
    return vary("objective", rows)


def betas(process, T):
    """Linear betas scaled as in the released code, so that any T ends with as much noise as 1,000 steps."""
    return {f"{process}.beta_start": 0.1 / T, f"{process}.beta_end": 20.0 / T}


DIGITS = {"NLL": "vlb", "FID": "frechet_pixels"}
OF_DIGITS = {"eval__metrics": ("vlb", "frechet_pixels"), "eval__num": 719}
TINY = OF_DIGITS | {
    "method__network__channels": 16, "method__network__multipliers": (1,), "method__network__attention": (),
    "train__steps": 20, "train__batch_size": 32, "eval__num": 64,
}  # fmt: skip
FULL = {"1K": 1_000, "4K": 4_000}
OF_IMAGES = {"eval__metrics": ("vlb", "fid"), "eval__reference": "train"}
BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, a tiny network, T = 32 in place of 4,000, 20 steps of 32, 64 samples",
        grid("digits", 1, {"4K": 32}, **TINY).where(
            lambda where: where["objective"] in ("linear, L_simple", "cosine, L_hybrid", "cosine, L_vlb")
        ),
        DIGITS,
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, T = 64 and 256, trained on 128,000 images, 719 samples, the bound of 359 held-out digits",
        grid("digits", 4, {"4K": 256}, **OF_DIGITS)
        + grid("digits", 4, {"1K": 64}, **OF_DIGITS).where(lambda where: where["objective"] == "linear, L_simple"),
        DIGITS,
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, 50,000 steps of 128, 10,000 samples in all T steps, the bound of the 10,000 test images",
        grid("cifar10", 1, FULL, train__steps=50_000, **OF_IMAGES | {"eval__num": 10_000}),
        {"NLL": "vlb", "FID": "fid"},
        hours=24,
    ),
    "paper": Budget(
        "the paper's sizes: CIFAR-10, 500,000 steps of 128, 50,000 samples in all T steps",
        grid("cifar10", 1, FULL, **OF_IMAGES | {"eval__num": 50_000}),
        {"NLL": "vlb", "FID": "fid"},
        hours=120,
    ),
}
