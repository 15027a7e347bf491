"""What training cost, from what the run wrote down of itself."""

import json

import jax
import pytest

from diffjax.ablation.cost import cost_of
from diffjax.errors import UserError
from diffjax.host import surroundings
from diffjax.host.json_files import write_json
from diffjax.metrics.protocol import differences
from diffjax.training.loop import train
from tests import tiny


def test_training_time_comes_from_the_logged_speeds_only(tmp_path):
    """1,000 images at 100 a second and 3,000 at 300: 20 seconds, whatever else the run spent its minute on."""
    lines = [
        {"step": 10, "images": 1000, "seconds": 40.0, "images_per_second": 100.0},
        {"step": 20, "images": 2000, "seconds": 50.0, "eval/fid": 3.0},  # an evaluation between two log lines
        {"step": 40, "images": 4000, "seconds": 60.0, "images_per_second": 300.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cost_of(tmp_path) == {}, "a run without a config"
    hardware = {"device": "1 x tpu", "processor": "quick", "cores": 2}
    (tmp_path / "config.json").write_text(json.dumps(hardware))
    cost = cost_of(tmp_path)
    assert cost["training_seconds"]["value"] == pytest.approx(20)
    assert cost["images_per_second"]["value"] == pytest.approx(200)
    assert all(score["protocol"] == hardware for score in cost.values())
    write_json(tmp_path / "result.json", {"status": "finished", "images": 4000})
    assert cost_of(tmp_path) == cost
    write_json(tmp_path / "result.json", {"status": "finished", "images": 8000})
    with pytest.raises(UserError, match="metrics.jsonl: ends after 4,000 of 8,000 images; copy it again"):
        cost_of(tmp_path)


@pytest.mark.parametrize(
    ("loads", "said"),
    [
        ((0.5, 1.2, 3.0), "no more than there are cores"),
        ((1.3,), "1.3 for each core"),
        ((1.0, 2.2, 2.4), "2.2 for each core"),
        ((), "not known"),
    ],
)
def test_speeds_of_a_crowded_machine_have_their_own_protocol(loads, said, tmp_path):
    lines = [{"images": 100 * i, "images_per_second": 10.0, "load": load} for i, load in enumerate(loads, 1)]
    lines = lines or [{"images": 100, "images_per_second": 10.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.json").write_text(json.dumps({"device": "1 x cpu", "processor": "quick", "cores": 2}))
    assert cost_of(tmp_path)["training_seconds"]["protocol"]["load"] == said


def test_a_run_trained_on_two_machines_has_a_mixed_protocol(tmp_path, monkeypatch):
    """Nor is it averaged with that of a run which changed between them at another step."""
    protocols = []
    for half in (7, 10):
        for steps, machine in ((half, "laptop"), (14, "server")):
            monkeypatch.setattr(surroundings, "processor", lambda machine=machine: machine)
            train(tiny.points(train__steps=steps), tmp_path / str(half))
        protocols.append(cost_of(tmp_path / str(half))["training_seconds"]["protocol"])
        assert protocols[-1]["processor"] == f"mixed: laptop, server after step {half}"
        assert protocols[-1]["device"] == f"{jax.device_count()} x cpu"
    assert differences(*protocols)


def test_without_training_there_is_no_cost(tmp_path):
    assert cost_of(tmp_path) == {}
