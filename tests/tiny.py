"""Runs small enough for tests: the same configs as everyone's, with tiny networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from diffjax import config as configs
from diffjax import parallel
from diffjax.experiment import Experiment
from diffjax.training.loop import carry_shapes

ROOT = Path(__file__).parent.parent
SMALL = {"train.sample_every": "0", "eval.num": "64", "eval.batch_size": "64", "parallel.devices": "1"}
POINTS = SMALL | {
    "data.num_train": "4096", "data.num_heldout": "256", "method.network.width": "16", "method.network.depth": "1",
    "optim.decay": "constant",
    "train.batch_size": "64", "train.log_every": "5", "train.checkpoint_every": "7", "sampler.steps": "4",
}  # fmt: skip
LONG = POINTS | {"train.steps": "2400", "train.log_every": "50", "train.checkpoint_every": "170"}
MOONS = ["train", "--config=configs/toy2d.py:moons", *(f"--config.{key}={value}" for key, value in LONG.items())]


def points(**changes: str):
    """Diffusion on two moons with a tiny MLP. Double underscores stand for dots: `train__steps=20`."""
    return changed("configs/toy2d.py:moons", POINTS, changes)


def chain(**changes: str):
    """Improved DDPM's chain on two moons: learned variances, and steps drawn as their remembered losses say."""
    small = POINTS | {
        "method.process.name": "ddpm_cosine", "method.process.timesteps": "8", "method.target.name": "eps",
        "method.reverse_variance.name": "learned_range", "method.weighting.name": "vlb", "method.clock.name": "index",
        "method.times.name": "loss_second_moment", "method.times.history": "3",
        "sampler.name": "ancestral", "sampler.variance": "learned",
    }  # fmt: skip
    return changed("configs/toy2d.py:moons", small, changes)


def variational(**changes: str):
    """A variational diffusion model of two moons: a learned schedule, one draw of t shared by the batch."""
    small = POINTS | {
        "method.process.name": "learned_log_snr", "method.process.width": "8", "method.target.name": "v",
        "method.weighting.name": "vlb", "method.clock.name": "log_snr", "method.low_discrepancy": "true",
        "method.times.name": "uniform", "sampler.name": "ancestral",
    }  # fmt: skip
    return changed("configs/toy2d.py:moons", small, changes)


def digits(**changes: str):
    """Diffusion on the digits with a UNet of one level and 4 channels that has dropout, labels and attention."""
    small = SMALL | {
        "method.network.channels": "4", "method.network.multipliers": "(1,)", "method.network.dropout": "0.1",
        "train.batch_size": "16", "sampler.steps": "3",
    }  # fmt: skip
    return changed("configs/digits.py:conditional", small, changes)


def shapes(**changes: str):
    """Diffusion on scenes of shapes with a UNet of one level that reads captions, a few features wide."""
    small = SMALL | {
        "data.num_train": "64", "data.num_heldout": "16", "method.network.channels": "4",
        "method.network.multipliers": "(1,)", "method.network.attention": "()", "method.network.head_dim": "0",
        "method.network.text.width": "8", "method.network.text.heads": "1", "optim.warmup": "0.0",
        "train.batch_size": "8", "eval.num": "8", "eval.batch_size": "8",
        "sampler.name": "ddim", "sampler.steps": "2", "sampler.guidance.name": "none",
    }  # fmt: skip
    return changed("configs/shapes.py", small, changes)


def gan(**changes: str):
    """A DCGAN on the digits, small, with batch normalisation."""
    small = SMALL | {
        "method.generator.width": "4", "method.discriminator.width": "4", "train.batch_size": "16",
    }  # fmt: skip
    return changed("configs/gan_digits.py", small, changes)


def ring(**changes: str):
    """A GAN on a ring of Gaussians, tiny."""
    small = SMALL | {
        "method.generator.width": "8", "method.discriminator.width": "8", "train.batch_size": "64",
        "optim.decay": "constant",
    }  # fmt: skip
    return changed("configs/gan_ring.py", small, changes)


def game(**changes: str):
    """A GAN with everything that has a state, or looks at neighbours: two updates of D, a lazy penalty, ADA, packs."""
    small = {
        "method.discriminator.spectral_norm": "true", "method.discriminator.minibatch_std": "2", "method.packing": "2",
        "method.d_steps": "2", "method.lazy": "3", "method.loss.name": "hinge", "method.augment.name": "ada",
        "method.augment.p": "0.3", "method.augment.every": "2", "method.augment.images": "400",
        "optim.b2_last": "0.999", "train.batch_size": "32",
    }  # fmt: skip
    return gan(**small | changes)


def bridge(**changes: str):
    """A denoising GAN of two steps on the digits: lazy penalties, minibatch deviation, labels, noise of every kind."""
    small = SMALL | {
        "method.generator.channels": "4", "method.generator.multipliers": "(1,)", "method.generator.latent": "4",
        "method.generator.style": "8", "method.generator.mapping": "1", "method.discriminator.width": "4",
        "method.discriminator.multipliers": "(1,2)", "method.discriminator.embedding": "8",
        "method.discriminator.minibatch_std": "2", "method.process.timesteps": "2", "sampler.steps": "2",
        "method.lazy": "3", "method.conditional": "true", "train.batch_size": "16",
        "optim.generator.decay_images": "320", "optim.discriminator.decay_images": "320",  # for any length
    }  # fmt: skip
    return changed("configs/ddgan_cifar10.py:digits", small, changes)


def styled(**changes: str):
    """A StyleGAN2 on the digits, tiny: styles and their mean, noise, mixing, path lengths, a lazy penalty."""
    own = {"channel_base": "32", "channel_max": "4", "mapping_layers": "1"}
    small = {f"method.{player}.{field}": v for player in ("generator", "discriminator") for field, v in own.items()}
    small |= SMALL | {
        "method.generator.latent": "4", "method.generator.style": "4", "method.generator.mixing": "0.5",
        "method.path_length": "2", "method.path_length_every": "2", "method.lazy": "3",
        "method.discriminator.minibatch_std": "2", "train.batch_size": "16",
    }  # fmt: skip
    return changed("configs/gan_cifar10_stylegan2.py:digits", small, changes)


def changed(path, small, changes):
    changes = {key.replace("__", "."): str(value) for key, value in changes.items()}
    return configs.override(configs.load(str(ROOT / path)), (small | changes).items())


def steps(config, count: int):
    """`count` steps without the loop around them: the losses of each, and what the last state holds."""
    experiment = Experiment.of(config)
    shapes = carry_shapes(experiment)["state"]
    state = experiment.initial_state(shapes)
    compiled = parallel.compile_step(experiment.method.step, experiment.layout, shapes)
    stream = experiment.stream()
    history = []
    for _ in range(count):
        state, metrics = compiled(state, next(stream), jax.random.key(config.seed))
        history.append(jax.device_get(metrics))
    return history, jax.device_get((state.params, state.ema, state.extra))


def losses(workdir) -> list[dict]:
    """The lines of metrics.jsonl, without what a clock had to do with."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second", "load")} for line in lines]


def launch(*words: str, before: str = ":", stdout: int = subprocess.PIPE) -> subprocess.Popen:
    """The front door, in a process of its own on one CPU device, after the shell command `before`."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    command = ["bash", "-c", f'{before}; exec "$@"', "launch", sys.executable, "launch.py", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=stdout, stderr=subprocess.PIPE)


def quiet(line: str) -> None:
    """Takes what a table says of its runs, and says nothing."""


def assert_trees_equal(a, b, **tolerance):
    """Leaf by leaf; exactly, unless a tolerance is given."""
    compare = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    jax.tree.map(lambda x, y: compare(x, y, **tolerance), a, b)
