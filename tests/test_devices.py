"""The same run on any number of devices, in any mode: same noise, same losses, same parameters."""

import os
import socket
from functools import partial

import jax
import numpy as np
import pytest

import diffjax
from diffjax import parallel
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.parallel import Axis, check_batch, layout
from tests import tiny

MODELS = {
    "diffusion": tiny.digits,
    "chain": tiny.chain,
    "variational": tiny.variational,
    "gan": tiny.gan,
    "game": tiny.game,
}
LAYOUTS = {
    "8 devices": {"parallel.devices": "8"},
    "fsdp over 2 of 4": {"parallel.devices": "4", "parallel.fsdp": "2"},
    "pmap over 8": {"parallel.devices": "8", "parallel.mode": "pmap"},
}
MORE_LAYOUTS = {
    "2 devices": {"parallel.devices": "2"},
    "4 devices": {"parallel.devices": "4"},
    "fsdp over 8": {"parallel.devices": "8", "parallel.fsdp": "8"},
    "pmap over 1": {"parallel.devices": "1", "parallel.mode": "pmap"},
    "pmap over 2": {"parallel.devices": "2", "parallel.mode": "pmap"},
    "pmap over 4": {"parallel.devices": "4", "parallel.mode": "pmap"},
}
COSTLY = {"bridge": tiny.bridge}  # to compile: in two layouts
DOUBLE = {"precision.compute": "float64", "precision.params": "float64"}
alone = {}


def reference(model, count, **double):
    """One device under jit, computed once."""
    key = (model, count, bool(double))
    if key not in alone:
        alone[key] = tiny.steps((MODELS | COSTLY)[model](**double), count)
    return alone[key]


def twenty_steps_are_the_same(model, where):
    with jax.enable_x64(True):
        metrics, state = reference(model, 20, **DOUBLE)
        other_metrics, other_state = tiny.steps((MODELS | COSTLY)[model](**DOUBLE | where), 20)
    tiny.assert_trees_equal(other_metrics, metrics, rtol=1e-9, atol=1e-9)
    tiny.assert_trees_equal(other_state, state, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("where", LAYOUTS)
@pytest.mark.parametrize("model", ["diffusion", "chain", "gan"])
def test_more_devices_take_the_same_twenty_steps_as_one(model, where):
    twenty_steps_are_the_same(model, LAYOUTS[where])


@pytest.mark.slow
@pytest.mark.parametrize("where", LAYOUTS | MORE_LAYOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_every_layout_takes_the_same_twenty_steps_as_one_device(model, where):
    twenty_steps_are_the_same(model, (LAYOUTS | MORE_LAYOUTS)[where])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["8 devices", "pmap over 2"])
@pytest.mark.parametrize("model", COSTLY)
def test_some_layouts_take_the_same_twenty_steps_as_one_device(model, where):
    twenty_steps_are_the_same(model, (LAYOUTS | MORE_LAYOUTS)[where])


@pytest.mark.parametrize("where", ["8 devices", pytest.param("pmap over 8", marks=pytest.mark.slow)])
def test_in_float32_the_diffusion_losses_of_twenty_steps_agree(where):
    metrics, _ = reference("diffusion", 20)
    other, _ = tiny.steps(tiny.digits(**LAYOUTS[where]), 20)
    np.testing.assert_allclose([m["loss"] for m in other], [m["loss"] for m in metrics], rtol=1e-4)
    np.testing.assert_allclose(other[0]["gradient_norm"], metrics[0]["gradient_norm"], rtol=1e-5)


def test_a_batch_split_into_parts_gives_the_same_step():
    parts = DOUBLE | {"train.accumulate": "4", "parallel.devices": "2"}
    with jax.enable_x64(True):
        metrics, state = reference("diffusion", 20, **DOUBLE)
        other_metrics, other_state = tiny.steps(tiny.digits(**parts), 20)
    tiny.assert_trees_equal(other_metrics, metrics, rtol=1e-9, atol=1e-9)
    tiny.assert_trees_equal(other_state, state, rtol=1e-9, atol=1e-9)


def step_of_two(mode, fsdp):
    """What a step on 4 devices sees of a batch [2, 8, 3], and the shapes that one of them holds of the new state."""
    seen = []

    def step(state, batch, key, axis):
        seen.append((axis.name, batch["x"].shape))
        return jax.tree.map(lambda x: x + 1, state), {"mean": axis.mean(batch["x"].mean())}

    where = layout(mode, 4, fsdp)
    state = {"tall": np.zeros((6, 4)), "wide": np.zeros((4, 8)), "odd": np.zeros((3, 5)), "count": np.zeros(())}
    state = jax.device_put(state, where.of_state(state))
    batch = {"x": jax.device_put(np.arange(48.0).reshape(2, 8, 3), where.batch)}
    state, metrics = parallel.compile_step(step, where, state)(state, batch, jax.random.key(0))
    assert metrics["mean"] == 23.5
    return seen[0], {name: leaf.addressable_shards[0].data.shape for name, leaf in state.items()}


@pytest.mark.parametrize(
    ("mode", "fsdp", "seen", "held"),
    [
        ("jit", 1, (None, (2, 8, 3)), {"tall": (6, 4), "wide": (4, 8), "odd": (3, 5), "count": ()}),
        ("jit", 2, (None, (2, 8, 3)), {"tall": (3, 4), "wide": (4, 4), "odd": (3, 5), "count": ()}),
        ("jit", 4, (None, (2, 8, 3)), {"tall": (6, 1), "wide": (4, 2), "odd": (3, 5), "count": ()}),
        ("pmap", 1, ("data", (2, 2, 3)), {"tall": (6, 4), "wide": (4, 8), "odd": (3, 5), "count": ()}),
    ],
)
def test_a_mode_decides_what_a_step_sees_of_a_batch_and_what_a_device_holds_of_the_state(mode, fsdp, seen, held):
    """Runs that agree in every layout do not show that there are several."""
    assert step_of_two(mode, fsdp) == (seen, held)


@pytest.mark.parametrize("model", ["diffusion", "gan"])
def test_a_batch_in_parts_is_a_loop_over_them(model):
    for parts, looped in (("1", False), ("4", True)):
        experiment = Experiment.of(MODELS[model](**{"train.accumulate": parts}))
        state = jax.eval_shape(experiment.init, jax.random.key(0))
        step = partial(experiment.method.step, axis=Axis())
        program = jax.make_jaxpr(step)(state, experiment.batch_shapes(16), jax.random.key(0))
        assert ("length=4" in str(program)) == looped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pmap", 4, 2), "parallel.fsdp: 2 needs parallel.mode='jit'"),
        (("jit", 9, 1), "parallel.devices: 9 must be from 1 to 8, the devices present"),
        (("jit", 4, 3), "parallel.fsdp: 3 must divide the 4 devices"),
        (("gspmd", 1, 1), "parallel.mode: 'gspmd' must be 'jit' or 'pmap'"),
    ],
)
def test_a_layout_that_cannot_be_says_so(arguments, message):
    with pytest.raises(UserError, match=message):
        layout(*arguments)


def test_a_batch_that_does_not_divide_says_so():
    with pytest.raises(UserError, match="train.batch_size: 12 is not a positive multiple of 8 devices"):
        check_batch(12, layout("jit", 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pmap", 0, 1), "parallel.mode: 'pmap' is for a single process; .* 2 processes needs parallel.mode='jit'"),
        (("jit", 4, 1), "parallel.devices: 4 is for a single process; .* 2 processes needs 0, all 8 devices"),
    ],
)  # fmt: skip
def test_a_layout_for_one_process_is_refused_in_several(arguments, message, monkeypatch):
    """Under pmap the state would become one process's own, which no checkpoint takes; and all must take part."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        layout(*arguments)


@pytest.mark.parametrize(
    ("visible", "tasks", "taken"),
    [("0,1,2,3", "4(x2)", [3]), ("2", "4(x2)", [0]), ("0,1,2,3", "2,1", [0, 1, 2, 3]), ("0,1", "8,1(x2)", [0, 1])],
)
def test_a_task_of_slurm_takes_its_share_of_the_gpus_it_sees(visible, tasks, taken):
    environment = {"SLURM_LOCALID": "3", "SLURM_NODEID": "1", "CUDA_VISIBLE_DEVICES": visible}
    assert parallel.gpus_of_task(environment | {"SLURM_STEP_TASKS_PER_NODE": tasks}) == taken
    for without in ({}, environment | {"JAX_PLATFORMS": "cpu"}, environment | {"CUDA_VISIBLE_DEVICES": ""}):
        assert parallel.gpus_of_task(without) is None


@pytest.mark.parametrize(("tasks", "taken"), [("1(x2)", [0, 1]), ("2", [1])])
def test_a_task_of_slurm_sees_the_whole_node_where_nothing_hides_a_gpu(tasks, taken, tmp_path, monkeypatch):
    """A node of two GPUs that SLURM does not manage, so that it sets no CUDA_VISIBLE_DEVICES."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200'\necho 'GPU 1: NVIDIA H200'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    environment = {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": tasks}
    assert parallel.gpus_of_task(environment) == taken
    with pytest.raises(UserError, match="SLURM: 3 tasks on a node that each see 2 GPUs"):
        parallel.gpus_of_task(environment | {"SLURM_STEP_TASKS_PER_NODE": "3"})


def test_tasks_of_slurm_that_cannot_share_the_gpus_they_see_are_refused():
    environment = {"SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "2"}
    with pytest.raises(UserError, match="SLURM: 2 tasks on a node that each see 4 GPUs; start as many tasks as GPUs"):
        parallel.gpus_of_task(environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DIFFJAX_PROCESSES": "2", "DIFFJAX_PROCESS": "0"}, "DIFFJAX_COORDINATOR: missing"),
        ({"DIFFJAX_COORDINATOR": "host:1"}, "DIFFJAX_PROCESSES: missing"),
        ({"DIFFJAX_COORDINATOR": "host:1", "DIFFJAX_PROCESSES": "auto", "DIFFJAX_PROCESS": "0"}, "'auto' must be a"),
        ({"DIFFJAX_COORDINATOR": "host:1", "DIFFJAX_PROCESSES": "2", "DIFFJAX_PROCESS": "2"}, "2 must be below"),
    ],
)  # fmt: skip
def test_processes_that_would_each_run_alone_say_what_is_missing(environment, message):
    with pytest.raises(UserError, match=message):
        parallel.start(environment)


def two_hosts(*words):
    """A command in two processes that find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    found = f"export DIFFJAX_COORDINATOR={address} DIFFJAX_PROCESSES=2 DIFFJAX_PROCESS="
    return [tiny.launch(*words, before=f"{found}{i}") for i in range(2)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("seed: 5"), "seed: 5"),
        (OSError(28, "No space left on device"), "OSError.28, 'No space left on device'"),
    ],
)
def test_whatever_ends_the_main_process_is_told_to_the_others(error, said, monkeypatch):
    sent = []

    def broadcast(text):
        sent.append(np.array(text))
        return sent[0]

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(parallel.multihost_utils, "broadcast_one_to_all", broadcast)

    def fail():
        raise error

    with pytest.raises(type(error)) as raised:
        parallel.together(fail)
    assert raised.value is error
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(UserError, match=said):
        parallel.together(lambda: pytest.fail("acted"))


@pytest.mark.slow
def test_a_mistake_that_one_process_sees_ends_all_with_one_line(tmp_path):
    """The main process alone reads the run directory; the other would wait for it at the next barrier."""
    words = ["train", "--config=configs/toy2d.py:moons", *(f"--config.{k}={v}" for k, v in tiny.POINTS.items())]
    words += ["--config.parallel.devices=0", "--config.train.steps=2", f"--workdir={tmp_path}"]
    for changed, status, lines in (((), 0, [0, 0]), (("--config.seed=5",), 2, [1, 1])):
        hosts = two_hosts(*words, *changed)
        said = [host.communicate(timeout=100)[1] for host in hosts]
        assert [host.returncode for host in hosts] == [status] * 2, said
        assert [text.count("seed: 0 -> 5") for text in said] == lines, said


def test_two_processes_are_one_run(tmp_path):
    """Two processes of one device each, as two hosts would be, against one process of two devices."""
    words = ["train", "--config=configs/toy2d.py:moons", *(f"--config.{k}={v}" for k, v in tiny.POINTS.items())]
    words += ["--config.parallel.devices=0", "--config.train.steps=21"]
    for host in two_hosts(*words, f"--workdir={tmp_path}/two"):
        assert host.wait(200) == 0, host.stderr.read()
    two = "export XLA_FLAGS=--xla_force_host_platform_device_count=2"
    process = tiny.launch(*words, f"--workdir={tmp_path}/one", before=two)
    assert process.wait(200) == 0, process.stderr.read()
    ours, theirs = tiny.losses(tmp_path / "two"), tiny.losses(tmp_path / "one")
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    np.testing.assert_allclose([line["loss"] for line in ours], [line["loss"] for line in theirs], rtol=1e-5)
    tiny.assert_trees_equal(
        diffjax.load(tmp_path / "two").params, diffjax.load(tmp_path / "one").params, rtol=1e-4, atol=1e-6
    )
