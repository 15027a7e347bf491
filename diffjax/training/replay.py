"""Finds what went wrong in a step that was not finite, by repeating it one operation at a time.

A run is a function of its config, so the bad step can be reached again from the last good checkpoint. The program of
the step is then interpreted up to the first operation with finite inputs and an output that is not finite.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization, traverse_util

from diffjax import parallel
from diffjax.experiment import Experiment
from diffjax.host.json_files import write_json
from diffjax.keys import Role
from diffjax.training.warm_start import warm_start
from diffjax.workdir.checkpoint import Checkpoints

TRANSPARENT = (  # primitives that call an inner program once, which is interpreted in turn
    "jit",
    "pjit",
    "closed_call",
    "checkpoint",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
)


class Interrupted(Exception):
    """A signal ended the replay before the bad step."""


def explain(
    experiment: Experiment, workdir: Path, checkpoints: Checkpoints, good: int, bad: int, stop: Callable[[], bool]
) -> str:
    """Trains from checkpoint `good` to just before step `bad`, writes `replay/` and returns the first bad tensor.

    Raises Interrupted if `stop()` says so on the way. replay/state.npz and batch.npz hold the inputs of the step,
    report.json its number, the seed and the tensor.
    """
    config, method, layout = experiment.config, experiment.method, experiment.layout
    key = experiment.key(Role.STEP)
    shapes = jax.eval_shape(experiment.init, key)
    if good:
        state = checkpoints.restore(good, state=layout.place(shapes))["state"]
    else:
        state = experiment.initial_state(shapes, warm_start(experiment, shapes))
    stream = experiment.stream(good)
    step = parallel.compile_step(method.step, layout, shapes)
    for number in range(good + 1, bad):
        state, metrics = step(state, next(stream), key)
        jax.block_until_ready(metrics)  # one step at a time: no run-ahead that could deadlock collectives
        if stop():
            raise Interrupted(f"stopped at step {number:,}, before it reached the bad one")
    replicate = jax.jit(lambda tree: tree, out_shardings=layout.replicated)  # every process can then read all of it
    state, batch = replicate((state, next(stream)))
    tensor = first_bad_tensor(lambda state, batch: method.step(state, batch, key, parallel.Axis()), state, batch)
    if parallel.is_main():
        directory = workdir / "replay"
        directory.mkdir(exist_ok=True)
        for name, tree in (("state", serialization.to_state_dict(state)), ("batch", batch)):
            np.savez(directory / f"{name}.npz", **traverse_util.flatten_dict(jax.device_get(tree), sep="/"))
        report = {"step": bad, "from_checkpoint": good, "seed": config.seed, "first_bad_tensor": tensor}
        write_json(directory / "report.json", report)
    return tensor


def first_bad_tensor(function: Any, *arguments: Any) -> str:
    """The first tensor with a NaN or an infinity when `function(*arguments)` is computed one operation at a time.

    An argument is described by its path, an intermediate result by its operation and the name stack of its code.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        if _is_bad(leaf):
            return f"the input {jax.tree_util.keystr(path[1:])}"
    closed = jax.make_jaxpr(function)(*arguments)
    _, bad = _interpret(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
    return bad or "none when computed one operation at a time (a fused kernel or a collective differs)"


def _interpret(jaxpr: Any, consts: Any, arguments: Any) -> tuple[list[Any], str]:
    """Evaluates a jaxpr and those inside it until an operation goes bad. Returns outputs and the bad tensor, or ""."""
    values = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom):
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if inner is not None and equation.primitive.name in TRANSPARENT:
            outputs, bad = _interpret(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
            if bad:
                return [], bad
        else:
            variables = [atom for atom in equation.invars if not hasattr(atom, "val")]
            single = jaxpr.replace(constvars=[], invars=variables, outvars=equation.outvars, eqns=[equation])
            outputs = jax.core.eval_jaxpr(single, [], *map(read, variables))
            if any(map(_is_bad, outputs)) and not any(map(_is_bad, inputs)):
                scope = str(equation.source_info.name_stack) or "the step"
                return [], f"{equation.primitive.name} in {scope} ({equation.outvars[0].aval.str_short()})"
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars], ""


def _is_bad(value: Any) -> bool:
    """Whether an array of floating-point numbers holds a NaN or an infinity."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and not bool(jnp.all(jnp.isfinite(value)))
