"""Every test runs with eight virtual CPU devices, and with the shapes of the public mathematics checked."""

import atexit
import os
import shutil
import tempfile

# Compiling is most of what these tests do, and their arrays are tiny: LLVM need not optimise.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The same small programs are compiled again and again, by workers and by the processes that tests start: all share what
# one has compiled, and the next session starts with nothing.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="diffjax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"])
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402  (after the flags it reads)
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

from diffjax.host.xla import choose_kernels  # noqa: E402

choose_kernels()
# With many virtual devices on few cores, unbounded asynchronous dispatch can deadlock the collectives.
jax.config.update("jax_cpu_enable_async_dispatch", False)
CHECKED = ["diffjax.diffusion", "diffjax.adversarial", "diffjax.augment", "diffjax.metrics"]
install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """The run directory of a classifier of the digits that has learned next to nothing."""
    from diffjax.training.loop import train
    from tests import tiny

    workdir = tmp_path_factory.mktemp("classifier")
    small = {"train.batch_size": "64", "train.steps": "2", "parallel.devices": "1"}
    train(tiny.changed("configs/classifier.py:digits", small, {}), workdir)
    return str(workdir)


@pytest.fixture(autouse=True, scope="module")
def programs_are_forgotten():
    """XLA maps memory for every compiled program, and crashes when a process has 65,530 maps: a file's are freed."""
    yield
    jax.clear_caches()
