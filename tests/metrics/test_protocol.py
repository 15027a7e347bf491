import math
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import Metric, check_comparable, fingerprint

PROTOCOL = {
    "features": {"network": "pixels", "hash": "none"},
    "generated": 10_000,
    "reference": 1797,
    "split": "heldout",
}


def metric(value=1.5, name="frechet", provenance=None, **changes):
    return Metric(name, value, PROTOCOL | changes, provenance or {})


def test_array_scalars_are_stored_as_numbers():
    one = metric(provenance={"seed": np.int64(3), "shape": np.array([1, 2]), "ema": jnp.float32(0.5)})
    assert one.provenance == {"seed": 3, "shape": [1, 2], "ema": 0.5}


def test_numbers_of_one_protocol_may_be_compared_whatever_their_provenance():
    check_comparable(metric(provenance={"seed": 0}), metric(2.5, provenance={"seed": 1}), metric(provenance={"nfe": 9}))


def test_the_error_names_every_field_that_differs_and_no_other():
    other = metric(generated=5000, features={"network": "inception", "hash": "none"}, flip=True)
    with pytest.raises(UserError) as error:
        check_comparable(metric(), metric(), other)
    message = str(error.value)
    assert "features.network (pixels against inception)" in message
    assert "generated (10000 against 5000)" in message and "flip (absent against True)" in message
    assert "hash" not in message and "split" not in message and "\n" not in message


def test_different_quantities_are_not_compared():
    with pytest.raises(UserError, match="frechet and energy"):
        check_comparable(metric(), metric(name="energy"))


def test_a_fingerprint_ignores_the_order_of_keys_and_sees_every_change():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": (1, 2), "a": np.int32(1)})
    objects = [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": [1]}, {"b": 1}, {}, [], None]
    assert len({fingerprint(obj) for obj in objects}) == len(objects)
    assert len(fingerprint({})) == 12 and len(fingerprint({}, 64)) == 64


def test_a_fingerprint_is_the_same_in_another_process():
    obj = {"sampler": {"name": "heun", "steps": 18}, "seed": 0, "é": 0.1}
    code = f"from diffjax.metrics import fingerprint; print(fingerprint({obj!r}))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == fingerprint(obj) == "b13165d8a982"


def test_what_json_cannot_say_has_no_fingerprint():
    with pytest.raises(ValueError):
        fingerprint({"a": math.nan})
    with pytest.raises(TypeError, match="object"):
        fingerprint({"a": object()})
