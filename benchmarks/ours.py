"""What is timed of ours: the compiled training step and the compiled sampler, as a run uses them."""

import time
from functools import partial

import jax
import numpy as np

from benchmarks.sizes import Size
from diffjax import parallel
from diffjax.data.space import Space
from diffjax.diffusion import DDIM, clock, ddpm_linear, target, times, weighting
from diffjax.ema import HalfLife
from diffjax.methods import Diffusion
from diffjax.models import UNet
from diffjax.optim import Adam
from diffjax.precision import Precision


def method(size: Size, compute: str) -> Diffusion:
    """DDPM's objective on a UNet of this size."""
    levels = tuple(size.side >> level for level in size.attention)
    network = partial(UNet, channels=size.channels, multipliers=size.multipliers, blocks=size.blocks, attention=levels)
    return Diffusion(
        space=Space("images", size.shape),
        precision=Precision(compute=compute),
        optimizers={"denoiser": Adam(learning_rate=1e-4).build(size.batch, size.batch)},
        ema=HalfLife(),
        batch_size=size.batch,
        accumulate=1,
        process=ddpm_linear(),
        target=target.Eps(),
        weighting=weighting.simple,
        times=times.Uniform(),
        clock=clock.index,
        network=network,
    )


def prepared(size: Size, compute: str):
    """The method, a state, a batch of noise as data, and where it all lives."""
    layout = parallel.layout(devices=1)
    made = method(size, compute)
    x = np.random.default_rng(0).integers(0, 256, (1, size.batch, *size.shape), np.uint8)
    whole = np.zeros((1, size.batch), np.int32)
    place = np.broadcast_to(np.arange(size.batch, dtype=np.int32), whole.shape)
    batch = jax.device_put({"x": x, "label": whole, "position": place}, layout.batch)
    state = jax.jit(made.init)(jax.random.key(0), batch)
    return made, jax.device_put(state, layout.replicated), batch, layout


def train_step(size: Size, compute: str, count: int) -> dict[str, float]:
    """Seconds a step over `count` steps, seconds to compile, FLOPs an image, parameters."""
    made, state, batch, layout = prepared(size, compute)
    key = jax.random.key(0)
    began = time.perf_counter()
    compiled = parallel.compile_step(made.step, layout, state).lower(state, batch, key).compile()
    compiling = time.perf_counter() - began
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    for _ in range(3):
        state, metrics = compiled(state, batch, key)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for _ in range(count):
        state, metrics = compiled(state, batch, key)
    jax.block_until_ready(state)
    seconds = (time.perf_counter() - began) / count
    flops = compiled.cost_analysis()["flops"] / size.batch
    return {"seconds": seconds, "compile": compiling, "flops": flops, "parameters": parameters} | device_memory()


def sampler(size: Size, compute: str, steps: int) -> dict[str, float]:
    """Seconds to draw a batch with DDIM, and to compile that."""
    made, state, _, _ = prepared(size, compute)
    draw = jax.jit(lambda variables, keys: made.sample(variables, DDIM(steps=steps), keys, None).x0)
    keys = jax.random.split(jax.random.key(1), size.batch)
    began = time.perf_counter()
    compiled = draw.lower(state.params, keys).compile()
    compiling = time.perf_counter() - began
    jax.block_until_ready(compiled(state.params, keys))
    began = time.perf_counter()
    jax.block_until_ready(compiled(state.params, keys))
    return {"seconds": time.perf_counter() - began, "compile": compiling} | device_memory()


def device_memory() -> dict[str, float]:
    """Peak bytes on an accelerator; nothing on a CPU, whose peak is the process's."""
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
