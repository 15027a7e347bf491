"""Score SDE, Table 1: predictors, correctors and both, at N and 2N steps, all from one network for each SDE.

P1000 and P2000 are predictors alone, PC1000 has one step of correction after each of 1,000 (Song et al. 2021), so that
P2000 and PC1000 cost as much; C2000 is the corrector alone. The networks see N = 1,000 times in training (100 on
digits, where the columns are 100 and 200 steps). At 2N steps half of the times are new to them: the table tells the
network of these, between those it knows. "rounded" tells it the nearest one that it knows, as the paper's appendix does
in its repetition for VP, which prints 3.10 to 3.11 for P2000 and so reverses what the table says of equal cost. A new
time lies halfway: here half of them are rounded up and half down; how the appendix rounds is not known here. The
networks of `day` and `paper` are NCSN++ and DDPM++, which the paper has at lower FIDs than any cell of this table.
"""

from diffjax.ablation import All, Axis, Budget, Claim, Less, Quantity, Table, setting, trained, vary

PREDICTORS = ("ancestral", "reverse diffusion", "probability flow")
ROWS = (
    *(f"VE {p}" for p in (*PREDICTORS, "none")),
    *(f"VP {p}" for p in (*PREDICTORS, "none")),
    *(f"VP {p}, rounded" for p in PREDICTORS),
)
COLUMNS = ("P1000", "P2000", "PC1000", "C2000")

PAPER = Table(
    source="Song et al. 2021, arXiv 2011.13456, table 1 and its repetition in the appendix, CIFAR-10, 50,000 samples",
    rows=Axis("predictor", ROWS),
    columns=Axis("steps", COLUMNS),
    quantities=(
        Quantity(
            "FID",
            mark="1",
            cells=(
                (4.98, 4.88, 3.62, None),
                (4.79, 4.74, 3.60, None),
                (15.41, 10.54, 3.51, None),
                (None, None, None, 20.43),
                (3.24, 3.24, 3.21, None),
                (3.21, 3.19, 3.18, None),
                (3.59, 3.23, 3.06, None),
                (None, None, None, 19.06),
                (None, "3.10-3.11", None, None),  # the two of them; which has which is not known here
                (None, "3.10-3.11", None, None),
                (None, None, None, None),
            ),
        ),
    ),
)


def at(predictor, steps):
    return {"predictor": predictor, "steps": steps}


def corrected_is_better_than(steps, kind):
    """With each predictor."""
    return All(tuple(Less("FID", at(f"{kind} {p}", "PC1000"), at(f"{kind} {p}", steps)) for p in PREDICTORS))


CLAIMS = (
    Claim("A corrector helps every predictor, VE", corrected_is_better_than("P1000", "VE")),
    Claim("A corrector helps every predictor, VP", corrected_is_better_than("P1000", "VP")),
    Claim("It helps more than twice the steps, at equal cost, VE", corrected_is_better_than("P2000", "VE")),
    Claim("It helps more than twice the steps, at equal cost, VP", corrected_is_better_than("P2000", "VP")),
    Claim("With rounded times the last is reversed: twice the steps help more than a corrector (appendix)",
          All(tuple(Less("FID", at(f"VP {p}, rounded", "P2000"), at(f"VP {p}", "PC1000")) for p in PREDICTORS[:2]))),
    Claim("Correction alone is worse than any predictor with it, VE and VP",
          All(tuple(Less("FID", at(f"{kind} {p}", "PC1000"), at(f"{kind} none", "C2000"))
                    for kind in ("VE", "VP") for p in PREDICTORS))),
)  # fmt: skip


def samplers(kind, N):
    """Every cell of one SDE."""
    snr = {"VE": 0.16, "VP": 0.01}[kind]  # the paper's r
    # Its ancestral sampler has the posterior's variance for VE, and beta for VP.
    predictors = {
        "ancestral": "ancestral" if kind == "VE" else "ancestral_large",
        "reverse diffusion": "reverse_diffusion",
        "probability flow": "probability_flow",
    }
    columns = {"P1000": (N, 0), "P2000": (2 * N, 0), "PC1000": (N, 1)}

    def cells(predictor, columns):
        sampler = {"sampler.name": "predictor_corrector", "sampler.predictor": predictor, "sampler.snr": snr}
        return vary("steps", {
            label: sampler | {"sampler.steps": steps, "sampler.corrector_steps": corrected}
            for label, (steps, corrected) in columns.items()
        })  # fmt: skip

    rows = {f"{kind} {p}": cells(name, columns) for p, name in predictors.items()}
    rows[f"{kind} none"] = cells("none", {"C2000": (2 * N, 1)})
    told = setting(sampler__guidance__name="rounded", sampler__guidance__steps=N)
    if kind == "VP":
        rows |= {f"VP {p}, rounded": cells(name, {"P2000": (2 * N, 0)}) * told for p, name in predictors.items()}
    return vary("predictor", rows)


def grid(size, N, seeds, metrics, num, reference, **keys):
    """One network for each SDE and seed, trained at N times."""
    trained_at = {"method__times__name": "discrete", "method__times__steps": N} | keys
    measured = setting(eval__metrics=metrics, eval__num=num, eval__reference=reference)
    ve, vp = (trained(f"configs/cifar10_score_sde.py:{size}{kind}", seeds, **trained_at) for kind in ("", "_vp"))
    return (ve * samplers("VE", N) + vp * samplers("VP", N)) * measured


PIXELS = (("frechet_pixels",), 359, "heldout")
TINY = {
    "method__network__channels": 16, "method__network__multipliers": (1,), "method__network__attention": (),
    "train__steps": 20, "train__batch_size": 32,
}  # fmt: skip
SHOWN = {"VE reverse diffusion", "VP reverse diffusion", "VP reverse diffusion, rounded"}
BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, tiny networks, N = 4, 20 steps of 32, 64 samples, reverse diffusion alone",
        grid("digits", 4, 1, ("frechet_pixels",), 64, "heldout", **TINY).where(
            lambda where: where["predictor"] in SHOWN and where["steps"] != "P1000"
        ),
        {"FID": "frechet_pixels"},
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, N = 100, 128,000 images of training, 359 samples, Frechet distance of pixels to held-out digits",
        grid("digits", 100, 3, *PIXELS, eval__batch_size=360),
        {"FID": "frechet_pixels"},
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, N = 1,000, 50,000 steps of 128, 2,000 samples, FID to the training images",
        grid("cifar10", 1_000, 1, ("fid",), 2_000, "train", train__steps=50_000),
        {"FID": "fid"},
        hours=48,
    ),
    "paper": Budget(
        "the paper's sizes: CIFAR-10, N = 1,000, 1,300,000 steps of 128, 50,000 samples",
        grid("cifar10", 1_000, 1, ("fid",), 50_000, "train"),
        {"FID": "fid"},
        hours=240,
    ),
}
