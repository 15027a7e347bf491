"""Score SDE, Table 1: predictors, correctors and both, at N and 2N steps, from one network for each SDE.

P1000 and P2000 are predictors alone. PC1000 has one corrector step at each of 1,000 noise levels; C2000 has two at each
and no predictor. P2000, PC1000 and C2000 therefore cost the same (Song et al. 2021, appendix G). The networks are
trained at N = 1,000 timesteps (100 on digits, where the columns have 100 and 200 steps), so that half of the timesteps
of 2N steps are new to them. "rounded" is table 4: the network gets the next noisier timestep that it knows, which is
floor(i / 2) at step i of 2N. In table 1 it gets i / 2, which for VP is half a step of N noisier than x_t; here it gets
the exact noise level of x_t.

Each sampler's signal-to-noise ratio r is the paper's choice, by FID, for N = 1,000 (table 5). A corrector moves in
proportion to r^2 at each level, so on digits, with a tenth of the levels, VP's r = 0.01 corrects next to nothing. The
networks of `day` and `paper` are NCSN++ and DDPM++, for which the paper reports lower FIDs than any cell of this table.
"""

from diffjax.ablation import All, Axis, Budget, Claim, Less, Marked, Quantity, Table, setting, trained, vary

PREDICTORS = ("ancestral", "reverse diffusion", "probability flow")
ROWS = (
    *(f"VE {p}" for p in (*PREDICTORS, "none")),
    *(f"VP {p}" for p in (*PREDICTORS, "none")),
    *(f"VE {p}, rounded" for p in PREDICTORS),
    *(f"VP {p}, rounded" for p in PREDICTORS),
)
COLUMNS = ("P1000", "P2000", "PC1000", "C2000")

PAPER = Table(
    source="Song et al. 2021, arXiv 2011.13456, tables 1 and 4, CIFAR-10, 50,000 samples, five times",
    rows=Axis("predictor", ROWS),
    columns=Axis("steps", COLUMNS),
    quantities=(
        Quantity(
            "FID",
            mark="T",
            cells=(
                ((4.98, 0.06), (4.88, 0.06), (3.62, 0.03), None),
                ((4.79, 0.07), (4.74, 0.08), (3.60, 0.02), None),
                ((15.41, 0.15), (10.54, 0.08), (3.51, 0.04), None),
                (None, None, None, (20.43, 0.07)),
                ((3.24, 0.02), (3.24, 0.02), (3.21, 0.02), None),
                ((3.21, 0.02), (3.19, 0.02), (3.18, 0.01), None),
                ((3.59, 0.04), (3.23, 0.03), (3.06, 0.03), None),
                (None, None, None, (19.06, 0.06)),
                (None, Marked((4.92, 0.02), "1"), None, None),
                (None, Marked((4.72, 0.07), "1"), None, None),
                (None, Marked((12.87, 0.09), "1"), None, None),
                (None, Marked((3.11, 0.03), "1"), None, None),
                (None, Marked((3.10, 0.03), "1"), None, None),
                (None, Marked((3.25, 0.04), "1"), None, None),
            ),
        ),
    ),
)


def at(predictor, steps):
    return {"predictor": predictor, "steps": steps}


def corrected_is_better_than(steps, kind):
    """For each predictor, PC1000 is better than `steps`."""
    return All(tuple(Less("FID", at(f"{kind} {p}", "PC1000"), at(f"{kind} {p}", steps)) for p in PREDICTORS))


CLAIMS = (
    Claim("A corrector improves every predictor, VE", corrected_is_better_than("P1000", "VE")),
    Claim("A corrector improves every predictor, VP", corrected_is_better_than("P1000", "VP")),
    Claim("At equal cost, a corrector improves more than twice the steps, VE", corrected_is_better_than("P2000", "VE")),
    Claim("At equal cost, a corrector improves more than twice the steps, VP", corrected_is_better_than("P2000", "VP")),
    Claim("With rounded times, twice the steps are better than a corrector for two predictors, VP (ours, from table 4)",
          All(tuple(Less("FID", at(f"VP {p}, rounded", "P2000"), at(f"VP {p}", "PC1000")) for p in PREDICTORS[:2]))),
    Claim("A corrector alone is worse than with any predictor, VE and VP",
          All(tuple(Less("FID", at(f"{kind} {p}", "PC1000"), at(f"{kind} none", "C2000"))
                    for kind in ("VE", "VP") for p in PREDICTORS))),
)  # fmt: skip


SNR = {  # table 5's r, for N = 1,000
    "VE": {"ancestral": 0.17, "reverse diffusion": 0.16, "probability flow": 0.17, "none": 0.22},
    "VP": {"ancestral": 0.01, "reverse diffusion": 0.01, "probability flow": 0.04, "none": 0.27},
}


def samplers(kind, N):
    """Every cell of one SDE."""
    # The paper's ancestral sampler has the posterior's variance for VE, and beta for VP.
    predictors = {
        "ancestral": "ancestral" if kind == "VE" else "ancestral_large",
        "reverse diffusion": "reverse_diffusion",
        "probability flow": "probability_flow",
        "none": "none",
    }
    columns = {"P1000": (N, 0), "P2000": (2 * N, 0), "PC1000": (N, 1)}

    def cells(predictor, columns):
        sampler = {
            "sampler.name": "predictor_corrector",
            "sampler.predictor": predictors[predictor],
            "sampler.snr": SNR[kind][predictor],
        }
        return vary("steps", {
            label: sampler | {"sampler.steps": steps, "sampler.corrector_steps": corrector_steps}
            for label, (steps, corrector_steps) in columns.items()
        })  # fmt: skip

    rows = {f"{kind} {p}": cells(p, columns) for p in PREDICTORS}
    rows[f"{kind} none"] = cells("none", {"C2000": (N, 2)})
    rounded = setting(sampler__guidance__name="rounded", sampler__guidance__steps=N)
    rows |= {f"{kind} {p}, rounded": cells(p, {"P2000": (2 * N, 0)}) * rounded for p in PREDICTORS}
    return vary("predictor", rows)


def grid(size, N, seeds, metrics, num, reference, **keys):
    """One network for each SDE and seed, trained at N times."""
    discrete = {"method__times__name": "discrete", "method__times__steps": N} | keys
    measured = setting(eval__metrics=metrics, eval__num=num, eval__reference=reference)
    ve, vp = (trained(f"configs/cifar10_score_sde.py:{size}{kind}", seeds, **discrete) for kind in ("", "_vp"))
    return (ve * samplers("VE", N) + vp * samplers("VP", N)) * measured


PIXELS = (("frechet_pixels",), 719, "heldout")
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
        "digits 8x8, N = 100, trained on 128,000 images, 719 samples, Frechet distance of pixels to held-out digits",
        grid("digits", 100, 5, *PIXELS, eval__batch_size=360),
        {"FID": "frechet_pixels"},
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, N = 1,000, 50,000 steps of 128, 10,000 samples, FID against the training images",
        grid("cifar10", 1_000, 1, ("fid",), 10_000, "train", train__steps=50_000),
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
