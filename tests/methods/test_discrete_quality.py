"""The heartbeat of Sohl-Dickstein et al. 2015, trained for real: a minute or two a kernel."""

import json

import pytest

from tests import tiny


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kernel", ["binomial", "absorbing"])
def test_the_bound_on_heartbeat_is_within_a_twentieth_of_a_bit_of_the_truth(kernel, tmp_path):
    process = tiny.launch("train", f"--config=configs/heartbeat.py:{kernel}", f"--workdir={tmp_path}/run")
    _, err = process.communicate(timeout=800)
    assert process.returncode == 0, err
    found = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert found["eval/bound_standard_error"] <= 0.02
    assert abs(found["eval/bound"] - -2.3219) <= 0.05
    assert abs(found["eval/L_null"] - -14.4386) <= 5e-5
    if kernel == "binomial":  # published: -2.414, and 12.024 above the null model
        assert -2.46 <= found["eval/K"] <= -2.37
        assert abs(found["eval/K_gain"] - (found["eval/K"] - found["eval/L_null"])) < 1e-9
