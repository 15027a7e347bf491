import os
import subprocess
import sys

import jax
import pytest

from diffjax.host.xla import CONVOLUTIONS, choose_kernels
from tests.tiny import ROOT

SAYS = """
import os
import jax
from diffjax.host.xla import choose_kernels

choose_kernels()
print(jax.numpy.ones(2).sum(), os.environ["XLA_FLAGS"])
"""


def test_this_jax_knows_the_flag():
    """A process of its own, because XLA ends one that is given a flag it does not know."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run([sys.executable, "-c", SAYS], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert out.stdout == f"2.0 {CONVOLUTIONS}=\n", out.stderr


@pytest.mark.parametrize("before", ["--xla_cpu_enable_fast_math=false", f"{CONVOLUTIONS}=DOT"])
def test_what_the_user_has_set_stays(before, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", before)
    choose_kernels()
    assert os.environ["XLA_FLAGS"].startswith(before)
    assert os.environ["XLA_FLAGS"].count(CONVOLUTIONS) == 1


def test_a_jax_that_may_not_know_the_flag_is_not_given_it(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    choose_kernels()
    assert os.environ["XLA_FLAGS"] == ""
