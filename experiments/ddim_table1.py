"""DDIM, Table 1: FID by number of steps and eta, all cells from one network (Song et al. 2020).

eta = 0 is the deterministic sampler and eta = 1 is DDPM's, with the variance beta~. sigma-hat is DDPM's sampler with
the larger variance beta, whose x0 the authors' code clips to [-1, 1]. The last column takes all T steps of the chain:
250 at `hour`, 1,000 in the paper and at all longer budgets. In the other columns the times of `day` and `paper` are the
paper's for CIFAR-10, as its released code spaces them: quadratically, up to 0.8 T. With these, 50 steps are 49 network
calls and 100 are 96, because some times coincide (`ddim_quadratic` in diffjax/diffusion/grid.py). The smaller budgets
space them evenly.
"""

from diffjax.ablation import (
    All,
    Axis,
    Budget,
    Claim,
    Less,
    Quantity,
    Run,
    Table,
    decreases,
    greatest,
    increases,
    least,
    setting,
    trained,
    vary,
)

ETA = ("0.0", "0.2", "0.5", "1.0", "sigma-hat")
STEPS = ("10", "20", "50", "100", "T")

PAPER = Table(
    source="Song et al. 2020, arXiv 2010.02502, table 1, CIFAR-10, 50,000 samples",
    rows=Axis("eta", ETA),
    columns=Axis("steps", STEPS),
    quantities=(
        Quantity(
            "FID",
            mark="T",
            cells=(
                (13.36, 6.84, 4.67, 4.16, 4.04),
                (14.04, 7.11, 4.77, 4.25, 4.09),
                (16.66, 8.35, 5.25, 4.46, 4.29),
                (41.07, 18.36, 8.01, 5.78, 4.73),
                (367.43, 133.37, 32.72, 9.99, 3.17),
            ),
        ),
    ),
)

CLAIMS = (
    Claim("FID increases with eta at every number of steps", increases("FID", along="eta", over=ETA[:4])),
    Claim("With 10 and 20 steps, eta = 0 is better than eta = 1 and sigma-hat",
          All(tuple(Less("FID", {"eta": "0.0", "steps": steps}, {"eta": eta, "steps": steps})
                    for steps in STEPS[:2] for eta in ETA[3:])),
          added="after the cells of hour were seen"),
    Claim("FID decreases with the number of steps for every eta", decreases("FID", along="steps")),
    Claim("sigma-hat is the worst at 10 steps", greatest("FID", along="eta", eta="sigma-hat", steps="10")),
    Claim("sigma-hat is the best at T steps", least("FID", along="eta", eta="sigma-hat", steps="T")),
)  # fmt: skip


def samplers(T, spacing):
    """The grids of both axes. DDIM's sigma-hat is the ancestral sampler with the larger variance.

    `spacing`: keys for the time grid of all columns but the last, which leaves no time out.
    """
    ddim = {eta: {"sampler.name": "ddim", "sampler.eta": float(eta)} for eta in ETA[:4]}
    ancestral = {"sampler.name": "ancestral", "sampler.variance": "large", "sampler.clip": True}
    steps = {label: {"sampler.steps": int(label)} | spacing for label in STEPS[:-1]} | {"T": {"sampler.steps": T}}
    return vary("eta", {**ddim, "sigma-hat": ancestral}), vary("steps", steps)


def grid(config, T, seeds, spacing=None, **keys):
    etas, steps = samplers(T, spacing or {})
    return trained(config, seeds=seeds, **keys) * etas * steps


DIGITS = {
    "method__process__timesteps": 250,
    # Betas scaled as in Improved DDPM, so that any T ends with as much noise as 1,000 steps.
    "method__process__beta_start": 4e-4,
    "method__process__beta_end": 0.08,
    "eval__metrics": ("frechet:pixels",),
    "eval__num": 719,
}

CIFAR10_TIMES = {"sampler.grid.name": "ddim_quadratic"}
BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, 40 training steps, 64 samples, 10 and 20 steps",
        grid("configs/cifar10_ddpm.py:digits", 250, 1, train__steps=40, **DIGITS | {"eval__num": 64}).where(
            lambda at: at["steps"] in ("10", "20") and at["eta"] in ("0.0", "1.0", "sigma-hat")
        ),
        {"FID": "frechet_pixels"},
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, T = 250, trained on 128,000 images, 719 samples, Frechet distance of pixels to held-out digits",
        grid("configs/cifar10_ddpm.py:digits", 250, 3, **DIGITS),
        {"FID": "frechet_pixels"},
        hours=2,
    ),
    "quarter": Budget(
        "MNIST 28x28, trained on 512,000 images, 2,000 samples; Frechet distance to held-out digits in our classifier",
        grid("configs/mnist.py:ddpm", 1000, 1, method__conditional=False, train__steps=4_000, train__sample_every=0)
        * setting(
            eval__metrics=("frechet:classifier",), eval__num=2_000, eval__batch_size=1_000,
            eval__classifier=Run.of("configs/classifier.py:mnist"),
        ),
        {"FID": "frechet_classifier"},
        hours=0.25,
    ),
    "day": Budget(
        "CIFAR-10, 100,000 steps of 128, 10,000 samples, FID against the training images",
        grid("configs/cifar10_ddpm.py", 1000, 1, CIFAR10_TIMES, train__steps=100_000)
        * setting(eval__metrics=("fid",), eval__num=10_000, eval__reference="train"),
        {"FID": "fid"},
        hours=24,
    ),
    "paper": Budget(
        "CIFAR-10, 800,000 steps of 128, 50,000 samples",
        grid("configs/cifar10_ddpm.py", 1000, 1, CIFAR10_TIMES)
        * setting(eval__metrics=("fid",), eval__num=50_000, eval__reference="train"),
        {"FID": "fid"},
        hours=72,
    ),
}  # fmt: skip
