"""What a config would cost, without running it: parameters, FLOPs and memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel, window
from diffjax.evaluate import chosen
from diffjax.precision import Precision
from diffjax.run import Experiment
from diffjax.train import carry_shapes, warm_start


def dry_run(config: ConfigDict) -> str:
    """Compiles the step for the devices present and reads off what it needs; nothing is computed or written.

    Raises UserError for whatever of the config `train` would refuse before its first step. It does not look at a run
    directory, and fetches no weights of feature networks: what `train` refuses because of these it cannot know.
    """
    Precision(**config.precision).apply()
    experiment = Experiment.of(config)
    chosen(experiment, load_networks=False)
    parallel.check_batch(config.train.batch_size, experiment.layout, config.train.accumulate, experiment.method.group)
    layout = replace(experiment.layout, mode="jit")  # pmap runs the same program on each device
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
    flops = step_flops(window.windowed(experiment.method.step), shapes, batch)
    lines += [
        f"step         {images:,} images on {devices} x {jax.devices()[0].device_kind}",
        f"FLOPs        {flops:.4g} a step, {flops / images:.4g} an image, {flops * config.train.steps:.4g} in all",
        f"memory       {size(memory.argument_size_in_bytes)} of state and batch, {size(memory.temp_size_in_bytes)} of "
        "intermediate results, per device",
    ]
    return "\n".join(lines)


def step_flops(step: Callable, state: parallel.Tree, batch: parallel.Tree) -> float:
    """FLOPs of one step on whatever devices, from what XLA is given for a CPU.

    Of a GPU's program it counts none, and once compiled convolutions are calls to a library there.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, batch, jax.random.key(0)))
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.jit(partial(step, axis=parallel.Axis())).lower(*shapes).cost_analysis()["flops"]


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
