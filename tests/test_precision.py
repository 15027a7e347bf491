"""The number formats of a run: what the process-wide switches change."""

import os

import jax
import jax.numpy as jnp
import pytest

from diffjax.precision import Precision


@pytest.fixture(autouse=True)
def switches_are_put_back(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize(
    ("matmul", "asked"), [("highest", "HIGHEST"), ("tensorfloat32", "HIGH"), ("default", "DEFAULT")]
)
def test_matrix_products_ask_for_the_precision_of_the_run(matmul, asked):
    Precision(matmul="highest").apply()  # of an earlier run in this process
    Precision(matmul=matmul).apply()
    x = jnp.ones((2, 2))
    program = jax.jit(lambda x: x @ x).lower(x).as_text()
    assert f"precision = [{asked}, {asked}]" in program


def test_deterministic_sums_are_asked_of_xla_once_beside_the_users_flags():
    Precision().apply()
    assert os.environ["XLA_FLAGS"] == "--xla_of_the_user=1"
    for _ in range(2):
        Precision(deterministic=True).apply()
        assert os.environ["XLA_FLAGS"] == "--xla_of_the_user=1 --xla_gpu_deterministic_ops=true"
