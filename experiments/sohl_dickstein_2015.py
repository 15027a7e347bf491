"""Sohl-Dickstein et al. 2015, tables 1 and 2: the bound K by data and schedule, and Parzen windows of MNIST.

K is a lower bound on the log likelihood; higher is better. It is in bits for a point, a sequence or a pixel, of data
with unit variance (heartbeat: of the data as they are), not of 8-bit pixels. K - L_null is the gain over an isotropic
Gaussian (heartbeat: over independent bits).

- "learned": the betas are learned with the network.
- "start": the betas with which that begins, kept fixed.
- "erasing": betas that remove the same share of the signal at every step, which the paper uses for binary data. The
  first beta, under which K sees the data, is always the same.
- "truth": the true log likelihood. For a heartbeat this is log2(1/5). For the roll it subtracts the entropy of points
  with noise of a standard deviation of 0.00368, which the paper does not state. For Parzen windows it is the score of
  training images in place of the samples, as many as those. For dead leaves it is unknown: the paper states neither
  their noise nor their radii; ours are in diffjax/data/dead_leaves.py.

At `hour` the rows of MNIST are of 8x8 digits. K of bark and CIFAR-10 is not measured. The CIFAR-10 numbers are the
corrected ones; 11.895 and 18.037 were withdrawn.
Parzen windows are in bits; the paper's quotes of other models are from Goodfellow et al. 2014, in nats, times 1 / ln 2.
"""

import numpy as np

from diffjax.ablation import (
    All,
    Axis,
    Budget,
    Claim,
    Less,
    Quantity,
    Table,
    Within,
    computed,
    setting,
    trained,
    vary,
)
from diffjax.data import TFDS, Digits, Heartbeat, Toy2D
from diffjax.evaluation.likelihood import VALIDATION
from diffjax.metrics import parzen

DATA = ("swiss roll", "binary heartbeat", "bark", "dead leaves", "CIFAR-10", "MNIST")
MODELS = ("learned", "start", "erasing", "truth", "MCGSM", "adversarial net", "stacked CAE", "DBN", "deep GSN")
ROLL, BEAT, LEAVES, MNIST = (
    (lambda model, data=data: {"data": data, "model": model})
    for data in ("swiss roll", "binary heartbeat", "dead leaves", "MNIST")
)


def row(**published):
    """The cells of a row, by model, with "_" for spaces."""
    return tuple(published.get(model.replace(" ", "_")) for model in MODELS)


PAPER = Table(
    source="Sohl-Dickstein et al. 2015, arXiv 1503.03585v8, tables 1 and 2",
    rows=Axis("data", DATA),
    columns=Axis("model", MODELS),
    quantities=(
        Quantity(
            "K",
            "T",
            (row(learned=2.35), row(erasing=-2.414), row(learned=-0.55), row(learned=1.489, MCGSM=1.244),
             row(learned=(5.4, 0.2)), row()),
            "more",
            "bits a point, sequence or pixel",
        ),
        Quantity(
            "K - L_null",
            "T",
            (row(learned=6.45), row(erasing=12.024), row(learned=1.5), row(learned=3.536), row(learned=(11.5, 0.2)),
             row()),
            "more",
            "bits a point, sequence or pixel",
        ),
        Quantity(
            "Parzen",
            "T",
            (*[row()] * 5,
             row(learned=(317, 2.7), truth=(349, 3.3), adversarial_net=(325, 2.9), stacked_CAE=(174, 2.3),
                 DBN=(199, 2.9), deep_GSN=(309, 1.6))),
            "more",
            "bits an image",
        ),
    ),
)  # fmt: skip

CLAIMS = (
    Claim("Swiss roll, heartbeat and dead leaves are learned: K exceeds the null model's",
          All(tuple(Within("K - L_null", where, low=0.0)
                    for where in (ROLL("learned"), BEAT("erasing"), LEAVES("learned"))))),
    Claim("The heartbeat is learned to within 0.1 bits of the truth, -2.3219",
          Within("K", BEAT("erasing"), low=-2.4219, high=-2.3219)),
    Claim("Learning the betas raises K (ours: the paper learns them without a comparison)",
          All(tuple(Less("K", data(other), data("learned"))
                    for data in (ROLL, LEAVES) for other in ("start", "erasing")))),
    Claim("By Parzen windows, diffusion is worse than an adversarial net",
          Less("Parzen", MNIST("learned"), MNIST("adversarial net"))),
)  # fmt: skip


def truth(seed, data, num=0):
    """The best possible scores on held-out data; `num` training images stand for the samples of a perfect model."""
    if data == "binary heartbeat":
        k, rate = Heartbeat().log_likelihood / np.log(2), 1 / 5
        return {"K": k, "K_gain": k - 20 * (rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))}
    if data == "swiss roll":
        source = Toy2D("swiss_roll", seed=seed)
        x, scale = source.split("heldout").arrays()["x"].astype(float), source.space.scale
        k = source.log_density(x).mean() + 2 * np.log(scale)
        null = -0.5 * np.mean(np.sum((x / scale) ** 2, axis=1)) - np.log(2 * np.pi)
        return {"K": k / np.log(2), "K_gain": (k - null) / np.log(2)}
    source = TFDS("mnist") if data == "mnist" else Digits()
    train, heldout = (
        x.reshape(len(x), -1) / 255 for x in (source.split(s).arrays()["x"] for s in ("train", "heldout"))
    )
    samples = train[np.random.RandomState(seed).permutation(len(train))[:num]]
    validation = np.arange(len(heldout)) % VALIDATION == 0
    return {"parzen": parzen(samples, heldout[validation], heldout[~validation]).log_likelihood / np.log(2)}


CONFIG = "configs/sohl_dickstein.py:"
SCHEDULES = {"learned": "", "start": "_start", "erasing": "_erasing"}
MEASURES = {"K": "K", "K - L_null": "K_gain", "Parzen": "parzen"}


def grid(seeds, schedules, given, leaves="dead_leaves", images="digits", num=1_438, net="", net_steps=0):
    """`given` are changes to the configs, by row; `leaves` and `images` are variants, `net` is a config.

    `net_steps`, of 64, give the adversarial net as many images as diffusion is trained on.
    """

    def runs(row, config, *metrics):
        return vary("data", {row: trained(config, seeds, eval__metrics=metrics, **given.get(row, {}))})

    rows = {
        model: runs("swiss roll", f"{CONFIG}swiss_roll{schedules[model]}", "K")
        + runs("dead leaves", f"{CONFIG}{leaves}{schedules[model]}", "K")
        for model in schedules
    }
    rows["erasing"] += runs("binary heartbeat", "configs/heartbeat.py", "bound")
    rows["learned"] += runs("MNIST", f"{CONFIG}{images}", "parzen") * setting(eval__num=num)
    if net:
        rows["adversarial net"] = runs("MNIST", net, "parzen") * setting(eval__num=num, train__steps=net_steps)
    data = {
        "swiss roll": {"data": "swiss roll"},
        "binary heartbeat": {"data": "binary heartbeat"},
        "MNIST": {"data": images, "num": num},
    }
    return vary("model", rows) + computed(truth, seeds) * vary("model", {"truth": {}}) * vary("data", data)


SHORT = {"train__steps": 20, "train__batch_size": 32}
FEW = SHORT | {"data__num_train": 1_000, "data__num_heldout": 100}
TINY = {"method__network__channels": 16, "method__network__multipliers": (1,), "method__network__attention": ()}
LARGE = {
    "leaves": "dead_leaves_32", "images": "mnist", "num": 10_000,
    "net": "configs/gan_mnist.py:all", "net_steps": 40_000,
}  # fmt: skip
BUDGETS = {
    "minute": Budget(
        "smoke test: 20 steps of 32, tiny networks, 100 held-out examples; digits 8x8 in MNIST's place, 100 samples",
        grid(
            1,
            {"learned": "", "erasing": "_erasing"},
            {"swiss roll": FEW, "binary heartbeat": FEW, "dead leaves": FEW | TINY, "MNIST": SHORT | TINY},
            num=100,
        ).where(lambda at: at["model"] != "erasing" or at["data"] == "binary heartbeat"),
        MEASURES,
        hours=0.1,
    ),
    "hour": Budget(
        "swiss roll 10,000 steps of 512, heartbeat 6,000 of 512; dead leaves 8x8 and, in MNIST's place, digits 8x8:"
        " 100 steps of diffusion, 1,438 samples; trained on 128,000 images, the adversarial net as well",
        grid(3, SCHEDULES, {}, net="configs/gan_digits.py", net_steps=2_000),
        MEASURES,
        hours=2,
    ),
    "day": Budget(
        "as hour, but dead leaves 32x32 trained on 640,000 patches, and MNIST on 2,560,000 images, the adversarial net"
        " as well: 1,000 steps of diffusion, 10,000 samples",
        grid(3, SCHEDULES, {"dead leaves": {"train__steps": 5_000}}, **LARGE),
        MEASURES,
        hours=12,
    ),
    "paper": Budget(
        "the paper's sizes as far as it states them; it states none for dead leaves and for training lengths",
        grid(3, SCHEDULES, {}, **LARGE),
        MEASURES,
        hours=48,
    ),
}
