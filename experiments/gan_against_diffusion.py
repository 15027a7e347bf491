"""GANs against diffusion (ours): quality by network calls, training time and memorisation, at equal image budgets.

Six models, by this project's configs of their papers, are trained on the same data and number of images, and measured
by the same evaluator. DCGAN, R3GAN (without labels, like the others) and a denoising GAN of four steps are sampled as
they are; DDPM, EDM and a straight flow with 1 to 32 calls of DPM-Solver++ 2M, in steps even in t or with EDM's spacing.
On digits the denoising GAN uses R3GAN's loss, not its paper's. Networks have the sizes of their configs, which differ.
The number of images is batch size times steps; a loss that compares generated images with real ones, such as R3GAN's,
sees as many real images again. Speed and time count training steps alone, and are compared on equal hardware only.

A sample is authentic if it is farther from its nearest training image than that image is from its own nearest other
one. "excess copies" is by how many standard errors fewer samples than held-out images are authentic: from 4 on this is
not chance, but copies or blur. A low value is no merit. Noise is far from every image and so always authentic, and then
the value is at its floor, whatever the samples: -19.89 for 719 samples and our 359 held-out digits, where the diffusion
models are with one call. All seeds share the held-out images, which cause most of the standard error, so that no
interval over seeds includes it.
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

GANS = {"DCGAN": "1", "R3GAN": "1", "DDGAN": "4"}  # network calls for a sample
DIFFUSION = {"DDPM": "linear", "EDM": "karras", "flow": "linear"}  # the grid of times
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
    Claim("With one network call, a GAN is better than every diffusion model",
          AnyOf(tuple(all_less("Frechet, network", [at(gan)], [at(model, "1") for model in DIFFUSION])
                      for gan in ("DCGAN", "R3GAN")))),
    Claim("With four network calls, the denoising GAN is better than every diffusion model",
          all_less("Frechet, network", [at("DDGAN")], [at(model, "4") for model in DIFFUSION])),
    Claim("Every diffusion model is better with 4 network calls than with 1, and with 16 than with 4",
          decreases("Frechet, network", along="NFE", over=("1", "4", "16"))),
    Claim("With 32 network calls, every diffusion model is better than every GAN trained on as many images",
          all_less("Frechet, network", [at(model) for model in DIFFUSION], [at(model) for model in GANS])),
    Claim("No model, diffusion with 32 network calls, has excess copies above 4 (copies and blur raise them, noise and"
          " other bad samples lower them)",
          All(tuple(Within("excess copies", at(model), high=4) for model in (*GANS, *DIFFUSION)))),
    Claim("DCGAN trains faster than any other model",
          all_less("training time", [at("DCGAN")], [at(model) for model in (*GANS, *DIFFUSION) if model != "DCGAN"])),
)  # fmt: skip


def grid(rows, seeds, **keys):
    """`rows` are {model: (config, changes to it)}; one run serves all numbers of calls."""
    runs = {model: trained(config, seeds, **keys, **changes) for model, (config, changes) in rows.items()}
    return vary("model", {model: run * calls(model) for model, run in runs.items()})


def calls(model):
    if model in GANS:
        return vary("NFE", {GANS[model]: {}})
    solver = {"sampler.name": "dpm_solver_pp", "sampler.grid.name": DIFFUSION[model], "sampler.clip": True}
    return vary("NFE", {nfe: solver | {"sampler.steps": int(nfe)} for nfe in NFE})


def judged(num, **judge):
    """One evaluator for all: Frechet distances of pixels and of a classifier's features, and nearest neighbours."""
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
RAMP = 6_400_000.0  # length of R3GAN's schedules in images: half of all, instead of 20 million
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
        "digits 8x8, trained on 128,000 images; 719 samples against 359 held-out digits; network: our classifier",
        grid(DIGITS, 3) * judged(719),
        ON_DIGITS,
        hours=2,
    ),
    "day": Budget(
        "CIFAR-10, trained on 12,800,000 images; 10,000 samples against the training images; network: Inception",
        grid(CIFAR10, 1)
        * setting(eval__metrics=("fid", "memorisation:inception"), eval__num=10_000, eval__reference="train"),
        {"Frechet, network": "fid", "excess copies": "excess_copies_inception"} | COST,
        hours=12,
    ),
}
