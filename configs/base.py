"""The keys of every config, with defaults and units. A component's keys are documented at its class or function."""

import math

from ml_collections import ConfigDict

from diffjax.config import component, did_you_mean
from diffjax.errors import UserError


def get_config():
    c = ConfigDict()
    c.seed = 0  # of initial weights, data order, noise and samples

    c.data = component("data", "digits")
    c.method = component("method", "diffusion")
    c.optim = component("optim", "adam")  # or a section with one per network, as in some GANs
    c.ema = component("ema", "half_life")
    c.sampler = component("sampler", "heun")

    c.train = ConfigDict()
    c.train.steps = 10_000  # updates (of the generator, in a GAN)
    c.train.batch_size = 128  # examples per update over all devices and parts of `accumulate`
    c.train.accumulate = 1  # parts a batch is split into, processed one after the other to save memory
    c.train.log_every = 100  # steps; logs the means since the last line
    c.train.sample_every = 2_000  # steps between pictures in samples/; 0: only at the end
    c.train.checkpoint_every = 2_000  # steps; 0: only at the end
    c.train.keep = 2  # number of last checkpoints to keep, besides the best
    c.train.init_from = ""  # run directory whose networks to start with
    c.train.profile = 0  # steps to trace for TensorBoard, from the tenth on

    c.precision = ConfigDict()
    c.precision.compute = "float32"  # inside the networks; "bfloat16" on GPU and TPU
    c.precision.params = "float32"
    c.precision.matmul = "default"  # or "tensorfloat32", "highest"
    c.precision.deterministic = False  # on GPU: sums in a fixed order; slower

    c.parallel = ConfigDict()
    c.parallel.mode = "jit"  # or "pmap"
    c.parallel.devices = 0  # 0: all
    c.parallel.fsdp = 1  # number of devices that parameters are split over; jit only

    c.eval = ConfigDict()
    c.eval.every = 0  # steps; 0: only at the end
    c.eval.num = 1_000  # samples to draw
    c.eval.batch_size = 256  # samples drawn at once
    c.eval.metrics = ()  # names such as "fid", or "kid:pixels" with its feature network (docs/evaluation.md)
    c.eval.features = "inception"  # feature network of the metrics that name none (docs/evaluation.md has the others)
    c.eval.precision = "highest"  # of that network's products on a GPU; or "tensorfloat32", PyTorch's default, faster
    c.eval.weights = ""  # file of that network's weights; "": the cache, or a download
    c.eval.reference = "heldout"  # split to compare samples with; most papers use "train"
    c.eval.classifier = ""  # run directory of the classifier of the metric and the features "classifier"
    c.eval.best = ""  # logged value by which the best checkpoint is kept, such as "eval/frechet_pixels"
    return c


def ddpm(**fields):
    """The method of Ho et al. 2020: linear betas over 1,000 steps, target eps, L_simple."""
    paper = {"process": "ddpm_linear", "target": "eps", "weighting": "simple", "times": "uniform", "clock": "index"}
    return component("method", "diffusion", **paper | fields)


def on_digits(c, **network):
    """Shrinks an experiment so that it trains in minutes on two CPU cores: 8x8 digits, a narrow network, few steps."""
    c.data = component("data", "digits")
    small = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "dropout": 0.0}
    c.method.network.update(small | network)
    c.train.update(steps=1_000, batch_size=128, log_every=100, sample_every=500, checkpoint_every=500)
    c.optim.update(learning_rate=2e-3, warmup=12_800.0, decay="cosine", decay_images=0.0)
    c.ema = component("ema", "half_life", images=25_000.0)
    c.eval.update(metrics=("frechet_pixels",), num=1_438, reference="heldout")
    return c


def gan(generator, discriminator, loss="non_saturating", penalty="none", **fields):
    """The basis of the configs of GANs: two networks on CIFAR-10, without an average of the weights."""
    c = get_config()
    c.data = component("data", "tfds:cifar10")
    players = {"generator": generator, "discriminator": discriminator}
    c.method = component("method", "gan", loss=loss, penalty=penalty, **players, **fields)
    c.sampler = component("sampler", "generator")
    c.ema = component("ema", "half_life", images=0.0)
    c.train.update(log_every=100, sample_every=5_000, checkpoint_every=5_000)
    c.eval.update(metrics=("fid",), num=50_000, reference="train")  # as in the papers
    return c


def gan_on_digits(c, generator, discriminator, **optim):
    """Shrinks a GAN so that it trains in minutes on two CPU cores: 8x8 digits, the given sizes of the networks."""
    c.data = component("data", "digits")
    c.method.generator.update(generator)
    c.method.discriminator.update(discriminator)
    c.train.update(steps=2_000, batch_size=64, log_every=200, sample_every=1_000, checkpoint_every=1_000)
    c.optim.update({"decay_images": 0.0} | optim)
    c.ema = component("ema", "half_life", images=10_000.0)
    c.eval.update(metrics=("frechet_pixels",), num=1_438, reference="heldout")
    return c


def decay_per_step(decay, batch_size):
    """An EMA with a constant `decay` per step, as most papers specify it."""
    return component("ema", "half_life", images=batch_size * math.log(2) / -math.log(decay), ramp=0.0)


def check_variant(variant, names):
    """Raises UserError, with a suggestion, for a variant that the config does not have."""
    if variant not in names:
        suggestion = did_you_mean(variant, names)
        raise UserError(f"no variant {variant!r}; it is one of {', '.join(names)}{suggestion}")


def variant_of(variant, *known):
    """Splits a variant into whether it is the small one on digits, and the rest: "digits_vlb" -> (True, "vlb")."""
    endings = ["", *(f"_{ending}" for ending in known)]
    check_variant(variant, [f"{size}{ending}" for ending in endings for size in ("cifar10", "digits")])
    size, _, rest = variant.partition("_")
    return size == "digits", rest
