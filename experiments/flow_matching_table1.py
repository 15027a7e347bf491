"""Flow matching, Table 1: likelihood, FID and network calls of five objectives on one network (Lipman et al. 2023).

All five train ADM's network for the same time, and sample with Dopri5 at a tolerance of 1e-5. Likelihoods use the same
ODE, from t = 1e-5 on, in bits for one uniform dequantisation. The paper's NLL is its table 4 with K = 1, which is
measured likewise; its table 1 has the importance-weighted NLL with K = 50, which is 0.12 to 0.13 lower. DDPM is the
plain error of eps. In both score objectives the network predicts the score itself, weighted by sigma^2 (SM) or by beta
(ScoreFlow: likelihood weighting at uniform t). FM is the plain error of the velocity, on the VP path of the first three
or on straight lines ("OT"). NFE is the mean over samples, each of which has its own adaptive steps.
"""

from diffjax.ablation import All, Axis, Budget, Claim, Less, Quantity, Table, least, setting, trained, vary

OBJECTIVES = ("DDPM", "SM", "ScoreFlow", "FM, diffusion", "FM, OT")

PAPER = Table(
    source="Lipman et al. 2023, arXiv 2210.02747, table 1, and table 4 for NLL, CIFAR-10",
    rows=Axis("objective", OBJECTIVES),
    quantities=(
        Quantity("NLL", "T", (3.24, 3.28, 3.21, 3.23, 3.11), unit="bits/dim"),
        Quantity("FID", "T", (7.48, 19.94, 20.78, 8.06, 6.35)),
        Quantity("NFE", "T", (274, 242, 428, 183, 142)),
    ),
)


def less(quantity, low, *highs):
    return All(tuple(Less(quantity, {"objective": low}, {"objective": high}) for high in highs))


CLAIMS = (
    Claim("Straight paths have the best likelihood", least("NLL", "objective", objective="FM, OT")),
    Claim("Straight paths have the best FID", least("FID", "objective", objective="FM, OT")),
    Claim("Straight paths need the fewest network calls", least("NFE", "objective", objective="FM, OT")),
    Claim("On the diffusion path, flow matching needs fewer network calls than the other three objectives",
          less("NFE", "FM, diffusion", "DDPM", "SM", "ScoreFlow")),
    Claim("ScoreFlow has a better likelihood than DDPM and SM, which use the same diffusion path",
          less("NLL", "ScoreFlow", "DDPM", "SM")),
    Claim("Score matching has a worse FID than DDPM, with either weighting",
          All((less("FID", "DDPM", "SM"), less("FID", "DDPM", "ScoreFlow")))),
)  # fmt: skip


def switches(process, target, weighting):
    return {"method.process.name": process, "method.target.name": target, "method.weighting.name": weighting}


ROWS = vary(
    "objective",
    {
        "DDPM": switches("vp_linear", "eps", "simple"),
        "SM": switches("vp_linear", "score", "simple"),
        "ScoreFlow": switches("vp_linear", "score", "vlb"),
        "FM, diffusion": switches("vp_linear", "velocity", "plain"),
        "FM, OT": switches("flow", "velocity", "plain"),
    },
)


def grid(config, seeds, num, features, **keys):
    """`num` is the number of samples, and of held-out images for the likelihood, if there are as many."""
    metrics = (f"frechet:{features}", "likelihood_ode", "nfe")
    return trained(config, seeds, **keys) * ROWS * setting(eval__metrics=metrics, eval__num=num)


def measures(fid):
    return {"NLL": "likelihood_ode", "FID": fid, "NFE": "nfe"}


TINY = {"method__network__channels": 16, "method__network__multipliers": (1,), "method__network__attention": ()}
BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, a network of one level, 30 training steps, 16 samples, tolerance 1e-2",
        grid("configs/cifar10_flow.py:digits", 1, 16, "pixels", train__steps=30, train__batch_size=32, **TINY).where(
            lambda at: at["objective"] in ("DDPM", "FM, OT")
        )
        * setting(eval__batch_size=16, sampler__rtol=1e-2, sampler__atol=1e-2),
        measures("frechet_pixels"),
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, trained on 128,000 images; 719 samples, Frechet distance of pixels to 359 held-out digits",
        grid("configs/cifar10_flow.py:digits", 3, 719, "pixels", eval__batch_size=360, train__sample_every=0),
        measures("frechet_pixels"),
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, 50,000 steps of 128, 10,000 samples, FID against the training images",
        grid(
            "configs/cifar10_flow.py",
            1,
            10_000,
            "inception",
            train__steps=50_000,
            train__batch_size=128,
            optim__warmup=640_000.0,
            optim__decay_images=6_400_000.0,
            ema__ramp=0.05,
        )
        * setting(eval__reference="train", eval__batch_size=1_000),
        measures("fid"),
        hours=12,
    ),
    "paper": Budget(
        "the paper's sizes: CIFAR-10, 391,000 steps of 256, 50,000 samples",
        grid("configs/cifar10_flow.py", 1, 50_000, "inception")
        * setting(eval__reference="train", eval__batch_size=1_000),
        measures("fid"),
        hours=120,
    ),
}
