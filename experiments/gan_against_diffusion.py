"""GANs against diffusion (ours): quality by calls, training time and memorisation, on the same data and image budget.

Six models, by this project's configs of their papers, see as many images and are measured by one evaluator: DCGAN,
R3GAN (without labels, as the others) and a denoising GAN of four steps, as they draw; DDPM, EDM and a straight flow by
1 to 32 calls of DPM-Solver++ 2M, in steps even in t, or EDM's. On digits the denoising GAN plays R3GAN's game, not its
paper's. Networks have the sizes of their configs, which differ. Images are those of a batch times steps; where a
generator is compared with real images of its own, as in R3GAN's game, as many again are looked at. Speed and time are
of training steps alone, and compared on equal hardware only; excess copies are standard errors by which samples are
nearer to training images than held-out images are: from 4 on it is no chance, but copies, or blur. The held-out images
are the same for all seeds, and most of that error is theirs, so that no interval over seeds has it.
"""

from diffjax.ablation import (
    All,
    AnyOf,
    Axis,
    Budget,
    Claim,
    Less,
    Quantity,
    Run,
    Table,
    Within,
    decreases,
    setting,
    trained,
    vary,
)

GANS = {"DCGAN": "1", "R3GAN": "1", "DDGAN": "4"}  # with the network calls of a sample
DIFFUSION = {"DDPM": "linear", "EDM": "karras", "flow": "linear"}  # with the grid of times
NFE = ("1", "4", "8", "16", "32")

PAPER = Table(
    source="ours; nobody published this table",
    rows=Axis("model", (*GANS, *DIFFUSION)),
    columns=Axis("NFE", NFE),
    quantities=(
        Quantity("Frechet, network"),
        Quantity("Frechet, pixels"),
        Quantity("excess copies"),
        Quantity("training time", unit="seconds"),
        Quantity("training speed", better="more", unit="images/s"),
    ),
)


def at(model, nfe=""):
    return {"model": model, "NFE": nfe or GANS.get(model, NFE[-1])}


def all_less(quantity, lows, highs):
    return All(tuple(Less(quantity, low, high) for low in lows for high in highs))


CLAIMS = (
    Claim("In one network call a GAN is better than every diffusion model",
          AnyOf(tuple(all_less("Frechet, network", [at(gan)], [at(model, "1") for model in DIFFUSION])
                      for gan in ("DCGAN", "R3GAN")))),
    Claim("In four, the denoising GAN is better than every diffusion model",
          all_less("Frechet, network", [at("DDGAN")], [at(model, "4") for model in DIFFUSION])),
    Claim("Every diffusion model is better in 4 calls than in 1, and in 16 than in 4",
          decreases("Frechet, network", along="NFE", over=("1", "4", "16"))),
    Claim("In 32 calls every diffusion model is better than every GAN of as many images",
          all_less("Frechet, network", [at(model) for model in DIFFUSION], [at(model) for model in GANS])),
    Claim("No model's excess copies exceed 4 (copies raise them, and so does blur)",
          All(tuple(Within("excess copies", at(model), high=4) for model in (*GANS, *DIFFUSION)))),
    Claim("DCGAN trains faster than any of the others",
          all_less("training time", [at("DCGAN")], [at(model) for model in (*GANS, *DIFFUSION) if model != "DCGAN"])),
)  # fmt: skip


def grid(rows, seeds, **keys):
    """`rows` are {model: (its config, what its training is told besides)}; one run serves all numbers of calls."""
    return vary(
        "model", {model: trained(config, seeds, **keys, **own) * calls(model) for model, (config, own) in rows.items()}
    )


def calls(model):
    if model in GANS:
        return vary("NFE", {GANS[model]: {}})
    solver = {"sampler.name": "dpm_solver_pp", "sampler.grid.name": DIFFUSION[model], "sampler.clip": True}
    return vary("NFE", {nfe: solver | {"sampler.steps": int(nfe)} for nfe in NFE})


def judged(num, **judge):
    """The same evaluator for all: pixels, what a classifier of digits sees, and the nearest training images."""
    metrics = ("frechet:pixels", "frechet:classifier", "memorisation:pixels")
    judge = Run.of("configs/classifier.py:digits", **judge)
    return setting(eval__metrics=metrics, eval__num=num, eval__classifier=judge)


DIGITS = {  # 128,000 images each: the GANs 2,000 steps of 64, the others 1,000 of 128
    "DCGAN": ("configs/gan_cifar10_dcgan.py:digits", {}),
    "R3GAN": ("configs/gan_cifar10_r3gan.py:digits", {"method__conditional": False}),
    "DDGAN": ("configs/ddgan_cifar10.py:digits", {}),
    "DDPM": ("configs/cifar10_ddpm.py:digits", {}),
    "EDM": ("configs/cifar10_edm.py:digits", {}),
    "flow": ("configs/cifar10_flow.py:digits", {}),
}
RAMP = 6_400_000.0  # images over which R3GAN's schedules go, half of all, instead of 20 million
CIFAR10 = {  # 12,800,000 images each, in batches as large as the papers'
    "DCGAN": ("configs/gan_cifar10_dcgan.py", {"train__steps": 100_000}),
    "R3GAN": (
        "configs/gan_cifar10_r3gan.py",
        {
            "train__steps": 25_000, "method__conditional": False, "optim__decay_images": RAMP, "ema__images": 256_000.0,
            "ema__warmup": RAMP,
            "method__penalty__ramp_images": RAMP, "method__augment__ramp_images": RAMP,
        },
    ),
    "DDGAN": ("configs/ddgan_cifar10.py", {"train__steps": 50_000}),
    "DDPM": ("configs/cifar10_ddpm.py", {"train__steps": 100_000}),
    "EDM": ("configs/cifar10_edm.py", {"train__steps": 25_000, "optim__warmup": 640_000.0}),
    "flow": ("configs/cifar10_flow.py", {"train__steps": 50_000, "optim__warmup": 640_000.0,
                                        "optim__decay_images": 12_800_000.0}),
}  # fmt: skip
COST = {"training time": "training_seconds", "training speed": "images_per_second"}
ON_DIGITS = {
    "Frechet, network": "frechet_classifier",
    "Frechet, pixels": "frechet_pixels",
    "excess copies": "excess_copies_pixels",
} | COST

BUDGETS = {
    "minute": Budget(
        "smoke test: digits 8x8, 20 steps of DCGAN and EDM, 64 samples, 1 and 4 calls",
        (
            grid({model: DIGITS[model] for model in ("DCGAN", "EDM")}, 1, train__steps=20, train__batch_size=32)
            * setting(train__log_every=10)
            * judged(64, train__steps=20)
        ).where(lambda at: at["NFE"] in ("1", "4")),
        ON_DIGITS,
        hours=0.1,
    ),
    "hour": Budget(
        "digits 8x8, 128,000 images of training; 719 samples against 359 held-out digits, the network our classifier",
        grid(DIGITS, 3) * judged(719),
        ON_DIGITS,
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, 12,800,000 images of training; 10,000 samples against the training images, the network Inception",
        grid(CIFAR10, 1)
        * setting(eval__metrics=("fid", "memorisation:inception"), eval__num=10_000, eval__reference="train"),
        {"Frechet, network": "fid", "excess copies": "excess_copies_inception"} | COST,
        hours=12,
    ),
}
