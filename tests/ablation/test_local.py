"""Which share of a machine each process of the local backend has, and that none outlives it."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from diffjax.ablation import local
from diffjax.ablation.local import MEMORY, Stop, run, slots
from diffjax.ablation.plan import Task
from diffjax.errors import UserError
from diffjax.workdir.directory import Lock
from tests import tiny

CHILD = """
import signal, sys, time
from pathlib import Path
def stop(*_):
    Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, stop)
Path("ready").touch()
time.sleep(60)
"""
PARENT = """
import sys
from pathlib import Path
from diffjax.ablation.local import run, slots
from diffjax.ablation.plan import Task
run([Task("run", 0, "", compute=print)], Path("runs"), lambda task: [sys.executable, "child.py"], slots(1), print)
"""


@pytest.fixture
def gpus(monkeypatch):
    """A machine of two GPUs, as far as the environment says."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv(MEMORY, raising=False)


def shares(number):
    return [dict(slot.environment) for slot in slots(number)]


@pytest.mark.usefixtures("gpus")
def test_each_slot_has_its_own_gpus_if_there_are_enough():
    assert shares(0) == shares(2) == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert shares(1) == [{"CUDA_VISIBLE_DEVICES": "2,5"}]


@pytest.mark.usefixtures("gpus")
def test_more_slots_than_gpus_share_them_and_their_memory():
    found = shares(5)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in found] == ["2", "5", "2", "5", "2"]
    for gpu in "25":
        assert sum(float(share[MEMORY]) for share in found if share["CUDA_VISIBLE_DEVICES"] == gpu) <= 0.9
    assert len({share[MEMORY] for share in found}) == 1


@pytest.mark.usefixtures("gpus")
def test_the_users_memory_fraction_is_kept(monkeypatch):
    monkeypatch.setenv(MEMORY, "0.2")
    assert [share[MEMORY] for share in shares(4)] == ["0.2"] * 4


@pytest.mark.parametrize("visible, count", [("", 0), ("-1", 0), ("0, 2", 2), ("1,-1,0", 1)])
def test_the_gpus_are_those_that_cuda_shows(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert sum(bool(slot.environment) for slot in slots()) == count


def test_without_a_gpu_each_slot_has_its_own_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = [slot.cores for slot in slots(1)]
    assert len(cores) == 1 and cores[0]
    assert not slots(1)[0].environment


def test_there_are_no_more_slots_than_cores_and_a_message_says_so(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert [slot.cores for slot in slots(2)] == [(3,), (5,)] and not capsys.readouterr().err
    assert len(slots(9)) == 2
    assert capsys.readouterr().err == "slots: 9 is more than the 2 cores here; using 2\n"


@pytest.fixture
def tpu(monkeypatch, tmp_path):
    """A machine with the files of a TPU's chips, and libtpu; an accelerator of another kind has a folder of its own."""
    monkeypatch.setattr(local, "DEVICES", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "libtpu.py").touch()
    (tmp_path / "accel").mkdir()
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()
    return tmp_path


@pytest.mark.parametrize("chip", ["accel0", "vfio/0"])
def test_a_tpu_belongs_to_one_process(tpu, monkeypatch, chip):
    assert all(slot.cores for slot in slots()), "no chip yet"
    (tpu / chip).touch()
    assert slots() == slots(1) == [local.Slot()]
    with pytest.raises(UserError, match="`slots`: 2 must be 1 on a TPU, whose chips .*; or set JAX_PLATFORMS=cpu"):
        slots(2)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert all(slot.cores for slot in slots())
    monkeypatch.delenv("JAX_PLATFORMS")
    (tpu / "libtpu.py").unlink()
    importlib.invalidate_caches()
    assert all(slot.cores for slot in slots()), "JAX cannot use it"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a program that makes "ready" when it runs, and "saved" when it is asked to stop."""
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for(path, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists()


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told that a process was killed")


@pytest.mark.parametrize("number", [signal.SIGHUP, pytest.param(signal.SIGKILL, marks=LINUX)])
def test_a_closed_terminal_and_a_kill_ask_the_processes_to_stop(folder, number):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    wait_for(folder / "ready")
    parent.send_signal(number)
    parent.wait(30)
    wait_for(folder / "saved")


def test_no_process_is_started_for_a_run_that_another_one_holds(tmp_path, monkeypatch):
    """Starting JAX to find that out would slow the other's training."""
    monkeypatch.setattr(local, "AGAIN", 0.01)
    monkeypatch.setattr(local, "POLL", 0.01)
    task, looks, started = Task("run", 0, "", compute=print), [], []

    def command(task):
        started.append(task.id)
        return [sys.executable, "-c", ""]

    with Lock(task.workdir(tmp_path)) as lock:

        def show(progress):
            looks.append(progress.line())
            if len(looks) == 20:
                assert not started
                lock.__exit__()

        run([task], tmp_path, command, slots(1), show)
    assert looks[0] == looks[19] == "1 elsewhere" and started == ["run"]


def stopped_by_an_error(folder):
    def show(progress):
        if (folder / "ready").exists():
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        run([Task("run", 0, "", compute=print)], folder, lambda _: [sys.executable, "child.py"], slots(1), show)


def test_an_error_leaves_no_process_behind_even_if_the_terminal_is_gone(folder, monkeypatch):
    def closed(line):
        raise OSError("the terminal is gone")

    monkeypatch.setattr(local, "to_stderr", closed)
    stopped_by_an_error(folder)
    assert (folder / "saved").exists()


def test_an_ablation_that_stops_says_what_it_waits_for(folder, capsys):
    stopped_by_an_error(folder)
    assert capsys.readouterr().err == "stopping 1 run; a training ends after its current step, with a checkpoint\n"


@pytest.mark.parametrize("before, asked", [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_under_nohup_a_closed_terminal_ends_nothing(before, asked):
    kept = signal.signal(signal.SIGHUP, before)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked is asked
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, kept)
