"""What a config would cost, without running it: parameters, FLOPs and memory."""

from dataclasses import replace

import jax
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel, window
from diffjax.precision import Precision
from diffjax.run import Experiment
from diffjax.train import batch_shapes, carry_shapes


def dry_run(config: ConfigDict) -> str:
    """Compiles the step for the devices present and reads off what it needs; nothing is computed or written."""
    Precision(**config.precision).apply()
    experiment = Experiment.of(config)
    parallel.check_batch(
        config.train.batch_size, experiment.layout, config.train.accumulate, experiment.method.together
    )
    layout = replace(experiment.layout, mode="jit")  # pmap runs the same program on each device
    shapes = carry_shapes(experiment)
    step = parallel.compile_step(window.windowed(experiment.method.step), layout, shapes)
    lowered = step.lower(shapes, batch_shapes(experiment), jax.random.key(0))
    # FLOPs of the program as lowered, for all devices: once compiled, a GPU's convolutions are calls to a library.
    cost, memory = lowered.cost_analysis(), lowered.compile().memory_analysis()
    lines = [f"config       {config.method.name} on {config.data.name}"]
    for name, variables in shapes["state"].params.items():
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
        lines.append(f"parameters   {count:,} in the {name}")
    devices = layout.mesh.size
    flops = cost.get("flops", float("nan"))
    images = config.train.batch_size
    lines += [
        f"step         {images:,} images on {devices} x {jax.devices()[0].device_kind}",
        f"FLOPs        {flops:.4g} a step, {flops / images:.4g} an image, {flops * config.train.steps:.4g} in all",
        f"memory       {size(memory.argument_size_in_bytes)} of state and batch, {size(memory.temp_size_in_bytes)} of "
        "intermediate results, per device",
    ]
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
