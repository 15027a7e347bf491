"""Times diffjax's own compiled training steps, sampler and feature network, as a run uses them."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.sizes import Game, Pictures, Size
from diffjax import parallel
from diffjax.adversarial import R1, R1R2, NonSaturating, Relativistic
from diffjax.data.space import Space
from diffjax.diffusion import DDIM, clock, ddpm_linear, target, times, weighting
from diffjax.host.xla import choose_kernels
from diffjax.inference.embedding import Embedder
from diffjax.methods import GAN, Diffusion
from diffjax.methods.method import Method
from diffjax.metrics.features import Extractor, Outputs, inception
from diffjax.models import UNet
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.r3gan import R3GANDiscriminator, R3GANGenerator
from diffjax.optim.ema import HalfLife
from diffjax.optim.optimizers import Adam
from diffjax.precision import Precision
from diffjax.training.dry_run import step_flops

WARM = 2  # steps before the clock starts


def precision(compute: str) -> Precision:
    """Our Precision for a benchmark's format, applied to this process, with the kernels of a run."""
    choose_kernels()
    setting = {
        "float32": Precision(matmul="highest"),
        "tensorfloat32": Precision(matmul="tensorfloat32"),
        "bfloat16": Precision(compute="bfloat16"),
    }[compute]
    setting.apply()
    return setting


def diffusion(size: Size, compute: str) -> Diffusion:
    """DDPM's objective on a UNet of this size."""
    levels = tuple(size.side >> level for level in size.attention)
    network = partial(UNet, channels=size.channels, multipliers=size.multipliers, blocks=size.blocks, attention=levels)
    return Diffusion(
        space=Space("images", size.shape),
        precision=precision(compute),
        optimizers={"denoiser": Adam(learning_rate=1e-4).build(size.batch, size.batch)},
        ema=HalfLife(),
        batch_size=size.batch,
        accumulate=1,
        process=ddpm_linear(),
        target=target.Eps(),
        weighting=weighting.Simple(),
        times=times.Uniform(),
        clock=clock.index,
        network=network,
    )


def gan(game: Game, compute: str) -> GAN:
    """A GAN with one update of the discriminator per step."""
    generator, discriminator, loss, penalty = {
        "dcgan": (DcganGenerator, DcganDiscriminator, NonSaturating(), R1(game.gamma)),
        "r3gan": (R3GANGenerator, R3GANDiscriminator, Relativistic(), R1R2(game.gamma)),
    }[game.kind]
    adam = Adam(learning_rate=2e-4, b1=0.5).build(game.batch, game.batch)
    return GAN(
        space=Space("images", game.shape),
        precision=precision(compute),
        optimizers={"generator": adam, "discriminator": adam},
        ema=HalfLife(),
        batch_size=game.batch,
        accumulate=1,
        generator=partial(generator, latent=game.latent, **game.networks),
        discriminator=partial(discriminator, **game.networks),
        loss=loss,
        penalty=penalty,
    )


def prepared(method: Method):
    """An initial state, a batch of noise as data, and their layout."""
    layout = parallel.layout(devices=1)
    shape = (method.batches_per_step, method.batch_size)
    x = np.random.default_rng(0).integers(0, 256, (*shape, *method.space.shape), np.uint8)
    position = np.broadcast_to(np.arange(method.batch_size, dtype=np.int32), shape)
    batch = jax.device_put({"x": x, "label": np.zeros(shape, np.int32), "position": position}, layout.batch)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    return jax.device_put(state, layout.replicated), batch, layout


def timed_step(method: Method, count: int) -> dict[str, float]:
    """Seconds per step over `count` steps, seconds to compile, FLOPs per image, parameters."""
    state, batch, layout = prepared(method)
    key = jax.random.key(0)
    parameters = sum(leaf.size for network in state.params.values() for leaf in jax.tree.leaves(network["params"]))
    began = time.perf_counter()
    compiled = parallel.compile_step(method.step, layout, state).lower(state, batch, key).compile()
    compile_seconds = time.perf_counter() - began
    for step in range(WARM + count):
        if step == WARM:
            jax.block_until_ready(state)
            began = time.perf_counter()
        state, _ = compiled(state, batch, key)
    jax.block_until_ready(state)
    seconds = (time.perf_counter() - began) / count
    flops = step_flops(method.step, state, batch) / method.batch_size
    figures = {"seconds": seconds, "compile": compile_seconds, "flops": flops, "parameters": parameters}
    return figures | device_memory() | {"ceiling": ceiling(method.precision.compute)}


def train_step(size: Size, compute: str, count: int) -> dict[str, float]:
    return timed_step(diffusion(size, compute), count)


def gan_step(game: Game, compute: str, count: int) -> dict[str, float]:
    return timed_step(gan(game, compute), count)


def sampler(size: Size, compute: str, steps: int) -> dict[str, float]:
    """Seconds to draw a batch with DDIM, and seconds to compile."""
    method = diffusion(size, compute)
    state, _, _ = prepared(method)
    draw = jax.jit(lambda variables, keys: method.sample(variables, DDIM(steps=steps), keys, None).x0)
    keys = jax.random.split(jax.random.key(1), size.batch)
    began = time.perf_counter()
    compiled = draw.lower(state.params, keys).compile()
    compile_seconds = time.perf_counter() - began
    jax.block_until_ready(compiled(state.params, keys))
    began = time.perf_counter()
    jax.block_until_ready(compiled(state.params, keys))
    return {"seconds": time.perf_counter() - began, "compile": compile_seconds} | device_memory()


def embed(size: Pictures, compute: str, count: int) -> dict[str, float]:
    """Seconds per batch through Inception as in `evaluate`, features back on the host, and seconds to compile."""
    network = inception.Inception(precision(compute).matmul)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), inception.shapes())

    def apply(variables, images):
        features = network.apply(variables, inception.preprocess(images, "tf1"))
        return Outputs(features["2048"])

    embedder = Embedder(Extractor("inception", 2048, {}, variables, apply), parallel.layout(devices=1), size.batch)
    images = np.random.default_rng(0).integers(0, 256, (size.batch, *size.shape), np.uint8)
    began = time.perf_counter()
    jax.device_get(embedder.batch(images))
    first = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(count):
        jax.device_get(embedder.batch(images))
    seconds = (time.perf_counter() - began) / count
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return {"seconds": seconds, "compile": max(first - seconds, 0.0), "parameters": parameters} | device_memory()


def ceiling(compute: str, side: int = 8192) -> float:
    """FLOP/s of a large matrix product in this format, the most that the device reaches; 0 on a CPU."""
    if jax.devices()[0].platform == "cpu":
        return 0.0
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.dtype(compute))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready([product(a, b) for _ in range(3)])
    began = time.perf_counter()
    jax.block_until_ready([product(a, b) for _ in range(10)])
    return 10 * 2 * side**3 / (time.perf_counter() - began)


def device_memory() -> dict[str, float]:
    """Peak bytes on an accelerator; {} on a CPU, where the peak of the process counts."""
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
