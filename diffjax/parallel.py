"""The device mesh, the compiled training step (`jit` over NamedShardings, or `pmap`), and multi-process runs.

Both modes use the same step function. Under jit it sees the global batch and XLA adds the collectives; under pmap it
sees one device's share, and reduces over the batch through its argument `axis`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from diffjax.errors import UserError
from diffjax.host.surroundings import visible_gpus

Tree = Any
MESSAGE = 2000  # bytes that `together` sends of an error
MULTI_PROCESS = ("DIFFJAX_COORDINATOR", "DIFFJAX_PROCESSES", "DIFFJAX_PROCESS")  # see `start`
BATCH = P(None, ("data", "fsdp"))  # leaves of a batch are [batches_per_step, batch, ...]


@dataclass(frozen=True)
class Axis:
    """The batch axis that a step reduces over: a collective under pmap, nothing under jit (`name` None)."""

    name: str | None = None

    def mean(self, tree: Tree) -> Tree:
        return tree if self.name is None else lax.pmean(tree, self.name)

    def gather(self, tree: Tree) -> Tree:
        """Every device's examples, concatenated along their first axis in the order of the global batch."""
        return tree if self.name is None else lax.all_gather(tree, self.name, tiled=True)


@dataclass(frozen=True)
class Layout:
    """The device mesh, with axes `data` and `fsdp`, and the mode in which a step runs on it."""

    mesh: Mesh
    mode: str

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, P())

    @property
    def batch(self) -> NamedSharding:
        return NamedSharding(self.mesh, BATCH)

    @property
    def examples(self) -> NamedSharding:
        """The sharding of arrays whose first axis is the batch."""
        return NamedSharding(self.mesh, P(("data", "fsdp")))

    def whole(self, batch_size: int) -> int:
        """The batch size, rounded up so that every device has as many examples."""
        return -(-batch_size // self.mesh.size) * self.mesh.size

    def shard(self, values: np.ndarray) -> jax.Array:
        """Examples [n, ...], the same in every process, split over all devices."""
        return jax.make_array_from_callback(values.shape, self.examples, lambda part: values[part])

    def of_state(self, state: Tree) -> Tree:
        """A sharding for each leaf: split over `fsdp` along its longest divisible axis, replicated if it has none."""
        shards = self.mesh.shape["fsdp"]

        def sharding(leaf):
            shape = np.shape(leaf)
            divisible = [i for i, length in enumerate(shape) if length % shards == 0 and length >= shards]
            if shards == 1 or not divisible:
                return self.replicated
            longest = max(divisible, key=lambda i: shape[i])
            return NamedSharding(self.mesh, P(*(["fsdp" if i == longest else None for i in range(len(shape))])))

        return jax.tree.map(sharding, state)

    def place(self, shapes: Tree) -> Tree:
        """The shapes with their shardings, as a checkpoint is restored to them."""
        return jax.tree.map(
            lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, self.of_state(shapes)
        )


def layout(mode: str = "jit", devices: int = 0, fsdp: int = 1) -> Layout:
    """The layout of a config's `parallel.*`. `devices` 0 means all."""
    available = jax.device_count()
    count = devices or available
    if mode not in ("jit", "pmap"):
        raise UserError(f"parallel.mode: {mode!r} must be 'jit' or 'pmap'")
    if not 1 <= count <= available:
        raise UserError(f"parallel.devices: {devices} must be from 1 to {available}, the devices present, or 0 for all")
    if fsdp < 1 or count % fsdp:
        raise UserError(f"parallel.fsdp: {fsdp} must divide the {count} devices")
    if mode == "pmap" and fsdp > 1:
        raise UserError(
            f"parallel.fsdp: {fsdp} needs parallel.mode='jit'; under 'pmap' every device holds all parameters"
        )
    if (processes := jax.process_count()) > 1 and (mode == "pmap" or count < available):
        wrong = "parallel.mode: 'pmap'" if mode == "pmap" else f"parallel.devices: {devices}"
        right = "parallel.mode='jit'" if mode == "pmap" else f"0, all {available} devices"
        raise UserError(f"{wrong} is for a single process; a run of {processes} processes needs {right}")
    grid = np.asarray(jax.devices()[:count]).reshape(count // fsdp, fsdp)
    return Layout(Mesh(grid, ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2), mode)


def check_batch(
    batch_size: int, layout: Layout, accumulate: int = 1, group: int = 1, name: str = "train.batch_size"
) -> None:
    """Raises UserError unless every part of the batch gives every device the same number of whole groups."""
    devices = layout.mesh.size
    least = devices * accumulate * group
    if batch_size < 1 or batch_size % least:
        parts = f" times train.accumulate={accumulate}" if accumulate > 1 else ""
        groups = f" times groups of {group} (method.packing, method.discriminator.minibatch_std)"
        parts += groups if group > 1 else ""
        below = max(batch_size // least, 1) * least
        valid = f"{below} is" if batch_size < least else f"{below} and {below + least} are"
        raise UserError(f"{name}: {batch_size} is not a positive multiple of {devices} devices{parts}; {valid}")


def compile_step(step: Callable, layout: Layout, state: Tree) -> Callable:
    """Compiles `step(state, batch, key, axis)` to `(state, batch, key) -> (state, metrics)`; the state is donated.

    `state` (arrays or shapes) determines the shardings; leaves of a batch are [batches_per_step, batch, ...].
    """
    if layout.mode == "jit":
        shardings, replicated = layout.of_state(state), layout.replicated
        return jax.jit(
            partial(step, axis=Axis()),
            in_shardings=(shardings, layout.batch, replicated),
            out_shardings=(shardings, replicated),
            donate_argnums=0,
        )
    count = layout.mesh.size
    split = jax.jit(
        lambda batch: jax.tree.map(lambda x: x.reshape(x.shape[0], count, -1, *x.shape[2:]).swapaxes(0, 1), batch),
        in_shardings=layout.batch,
        out_shardings=layout.examples,
    )
    mapped = jax.pmap(
        partial(step, axis=Axis("data")),
        axis_name="data",
        in_axes=(None, 0, None),
        out_axes=None,  # every device computes the same state, so it has no device axis, as under jit
        devices=list(layout.mesh.devices.flat),
        donate_argnums=0,
    )
    return lambda state, batch, key: mapped(state, split(batch), key)


def start(environment=os.environ) -> None:
    """Joins the other processes of a multi-process run; does nothing in a single-process run.

    Under SLURM, the tasks of a step (srun) are the processes; `gpus_of_task` says which GPUs each takes.
    DIFFJAX_PROCESSES=auto lets JAX find the processes, as on a TPU pod. Elsewhere set DIFFJAX_COORDINATOR (host:port),
    DIFFJAX_PROCESSES (their number) and DIFFJAX_PROCESS (the index of this one). Raises UserError if only some of the
    three are set: each process would run alone.
    """
    given = {name: environment[name] for name in MULTI_PROCESS if name in environment}
    automatic = given == {"DIFFJAX_PROCESSES": "auto"}
    if given and not automatic:
        address, count, index = _named_processes(given)
        if environment.get("JAX_PLATFORMS") == "cpu":
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, count, index, local_device_ids=gpus_of_task(environment))
    elif automatic or int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        jax.distributed.initialize(local_device_ids=gpus_of_task(environment))


def gpus_of_task(environment: Mapping[str, str]) -> list[int] | None:
    """The GPUs that a task of SLURM takes, as indices into those it sees; None, for JAX to decide, where it uses none.

    Without CUDA_VISIBLE_DEVICES, as on whole nodes, a task sees all GPUs of its node. A task that is alone on its node
    takes all it sees, and one that sees a single GPU takes that. Several tasks that see the same GPUs take one each.
    (JAX itself takes index SLURM_LOCALID in all cases, which does not exist if SLURM has given each task GPUs of its
    own, and leaves all others idle if the task is alone.)

    Raises UserError if tasks that see the same GPUs are fewer or more than those.
    """
    if "SLURM_LOCALID" not in environment or environment.get("JAX_PLATFORMS") == "cpu":
        return None
    visible = len(visible_gpus(environment))
    if not visible:
        return None
    tasks = _tasks_on_nodes(environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))[int(environment.get("SLURM_NODEID", 0))]
    if tasks == 1 or visible == 1:
        return list(range(visible))
    if tasks == visible:
        return [int(environment["SLURM_LOCALID"])]
    raise UserError(
        f"SLURM: {tasks} tasks on a node that each see {visible} GPUs; start as many tasks as GPUs on every node "
        "(srun --ntasks-per-node=N --gpus-per-node=N), or one"
    )


def _tasks_on_nodes(text: str) -> list[int]:
    """The tasks on each node, which SLURM writes "8(x3),4" for four nodes."""
    counts: list[int] = []
    for part in text.split(","):
        count, _, times = part.removesuffix(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts


def _named_processes(given: Mapping[str, str]) -> tuple[str, int, int]:
    """The coordinator's address, the number of processes, and the index of this one."""
    for name in MULTI_PROCESS:
        if name not in given:
            raise UserError(f"{name}: missing, and {', '.join(given)} is set; set all three, or DIFFJAX_PROCESSES=auto")
    address, *numbers = (given[name] for name in MULTI_PROCESS)
    for name, number in zip(MULTI_PROCESS[1:], numbers, strict=True):
        if not number.isdigit():
            raise UserError(f"{name}: {number!r} must be a number")
    count, index = map(int, numbers)
    if index >= count:
        raise UserError(f"DIFFJAX_PROCESS: {index} must be below DIFFJAX_PROCESSES={count}")
    return address, count, index


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def together(action: Callable[[], Any]) -> None:
    """Runs `action` in the main process, and raises its exception in all: none is left waiting for one that ended.

    In the others any exception is a UserError, which names its kind if it is not one.
    """
    error, said = None, ""
    if is_main():
        try:
            action()
        except Exception as raised:
            error, said = raised, str(raised) if isinstance(raised, UserError) else repr(raised)
    if jax.process_count() > 1:
        text = np.frombuffer(said.encode()[:MESSAGE].ljust(MESSAGE), np.uint8)
        told = bytes(multihost_utils.broadcast_one_to_all(text)).decode(errors="ignore").rstrip()
        error = error or (UserError(told) if told else None)
    if error:
        raise error
