"""`train --dry-run`: the parameters, FLOPs and memory of a config, without running it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel
from diffjax.evaluation.periodic import chosen
from diffjax.experiment import Experiment
from diffjax.methods.method import Method
from diffjax.precision import Precision
from diffjax.training import window
from diffjax.training.loop import carry_shapes
from diffjax.training.warm_start import warm_start


def dry_run(config: ConfigDict) -> str:
    """Compiles the training step for the devices present and returns a report of its cost; computes and writes nothing.

    Raises UserError for any config that `train` would refuse before its first step, except for reasons that lie in
    `workdir` or in the weights of feature networks: it neither reads the one nor downloads the others. Runs that the
    config names, such as `train.init_from`, are read.
    """
    Precision(**config.precision).apply()
    experiment = Experiment.of(config)
    chosen(experiment, load_networks=False)
    parallel.check_batch(config.train.batch_size, experiment.layout, config.train.accumulate, experiment.method.group)
    layout = replace(experiment.layout, mode="jit")  # under pmap every device runs the same program
    images = config.train.batch_size
    shapes, batch = carry_shapes(experiment), experiment.batch_shapes(images)
    warm_start(experiment, shapes["state"])
    step = parallel.compile_step(window.windowed(experiment.method.step), layout, shapes)
    memory = step.lower(shapes, batch, jax.random.key(0)).compile().memory_analysis()
    lines = [f"config       {config.method.name} on {config.data.name}"]
    for name, variables in shapes["state"].params.items():
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
        lines.append(f"parameters   {count:,} in the {name}")
    devices = layout.mesh.size
    lines += [
        f"step         {images:,} images on {devices} x {jax.devices()[0].device_kind}",
        f"FLOPs        {_flops(experiment.method, shapes, batch, images, config.train.steps)}",
        f"memory       {size(memory.argument_size_in_bytes)} of state and batch, {size(memory.temp_size_in_bytes)} of "
        "intermediate results, per device",
    ]
    return "\n".join(lines)


def _flops(method: Method, state: parallel.Tree, batch: parallel.Tree, images: int, steps: int) -> str:
    """FLOPs of a step, of an image and of a training, as text."""
    in_one_part = replace(method, accumulate=1)  # as many as in several, which are a loop
    try:
        flops = step_flops(window.windowed(in_one_part.step), state, batch)
    except RuntimeError:
        return "not counted: XLA counts them for a CPU, which JAX_PLATFORMS hides (add ,cpu)"
    most = "at most " if method.steps_differ else ""
    return f"{most}{flops:.4g} a step, {flops / images:.4g} an image, {flops * steps:.4g} in all"


def step_flops(step: Callable, state: parallel.Tree, batch: parallel.Tree) -> float:
    """FLOPs of one step on any device, counted by XLA in the program lowered for a CPU.

    XLA counts none in a program for a GPU, and after compilation convolutions are library calls there. It counts the
    body of a loop once, and of a condition the dearer branch. Raises RuntimeError where JAX_PLATFORMS hides the CPU.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, batch, jax.random.key(0)))
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.jit(partial(step, axis=parallel.Axis())).lower(*shapes).cost_analysis()["flops"]


def size(count: float) -> str:
    """Formats a number of bytes with a binary unit: "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
