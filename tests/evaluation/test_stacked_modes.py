"""Modes of stacked digits, counted by a classifier of single ones, with the rows that real data get."""

import json
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from diffjax import evaluation
from diffjax.config import component
from diffjax.data import StackedMNIST
from diffjax.errors import UserError
from diffjax.inference.sampling import Drawn
from diffjax.metrics import expected_kl_to_uniform
from tests import tiny
from tests.commands import finished

N = 26_000
SOURCE = StackedMNIST(base="digits", num_train=100, num_heldout=N, size=10)


class Oracle:
    """A classifier that knows the real digits by heart, and mistakes a share of those it knows for the next class."""

    identity, ema = "by heart", {}

    def __init__(self, mistakes=0.0):
        digits, rng = SOURCE.heldout_digits, np.random.default_rng(0)
        wrong = rng.random(len(digits["x"])) < mistakes
        self.read = {
            x.tobytes(): (label + w) % 10 for x, label, w in zip(digits["x"], digits["label"], wrong, strict=True)
        }
        self.accuracy = 1 - wrong.mean()
        self.experiment = self

    def logits(self, variables, images):
        assert images.shape[1:] == (8, 8, 1) and jax.config.jax_default_matmul_precision == "tensorfloat32"
        return np.eye(10)[[self.read[image.tobytes()] for image in images]]


def scores(drawn, judge):
    measuring = SimpleNamespace(precision="tensorfloat32")
    config = SimpleNamespace(data=component("data", "stacked_mnist", base="digits"), eval=measuring)
    whole = Drawn(drawn, np.full(len(drawn), -1), nfe=np.ones(len(drawn), int))
    generator = SimpleNamespace(batches=lambda variables, num, seed: [(whole, None)], labelled=False, requested=None)
    method = SimpleNamespace(space=SOURCE.space, reads_captions=False)
    experiment = SimpleNamespace(source=SOURCE, method=method, config=config, generator=lambda: generator)
    evidence = evaluation.Evidence(
        experiment, SimpleNamespace(averaged={}), len(drawn), 0, evaluation.Choice(judge=judge)
    )
    return {score.name: score for score in evaluation.METRICS["stacked_modes"].function(evidence)}


def test_real_images_have_all_modes_and_what_divergence_their_number_and_their_classes_make():
    found = scores(SOURCE.split("heldout").arrays()["x"], Oracle())
    share = np.bincount(SOURCE.heldout_digits["label"]) / len(SOURCE.heldout_digits["label"])
    expected = expected_kl_to_uniform(1000, N) + 3 * float(share @ np.log(10 * share))
    assert found["stacked_modes"].value == found["stacked_modes"].at_best == 1000
    for kl in found["stacked_kl"][1:3]:  # the value, and the oracle's
        assert kl == pytest.approx(expected, abs=4 * math.sqrt(2 * 999) / (2 * N))
    assert found["stacked_kl_bias"].value == expected_kl_to_uniform(1000, N)
    assert [found[f"stacked_modes_of_{k}"].value for k in (100, 700)] == [100, 700]
    assert found["classifier_accuracy"].value == 1
    protocol = found["stacked_modes"].protocol
    said = {"classifier": "by heart", "classifier_accuracy": 1.0, "min_hits": 7, "data.sha256": SOURCE.sha256}
    said |= {"precision": "tensorfloat32"}
    assert said.items() <= protocol.items() and protocol["generated"] == N and "data.data_dir" not in protocol


def test_collapsed_images_have_the_modes_they_have():
    digits = SOURCE.heldout_digits["x"][SOURCE.restricted(100, N)]
    images = np.pad(np.moveaxis(digits[..., 0], 1, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = scores(images, Oracle())
    assert found["stacked_modes"].value == found["stacked_modes_single_hit"].value == 100
    assert found["stacked_kl"].value == pytest.approx(math.log(10), abs=0.1)


def test_what_a_classifier_invents_shows_in_the_rows_of_real_data():
    judge = Oracle(mistakes=0.02)
    found = scores(SOURCE.split("heldout").arrays()["x"], judge)
    assert found["classifier_accuracy"].value == pytest.approx(judge.accuracy) and judge.accuracy < 1
    assert found["stacked_modes_single_hit_of_100"].value > 150
    assert found["stacked_modes_of_100"].value < found["stacked_modes_single_hit_of_100"].value
    assert found["stacked_modes_of_100"].at_best == 100


STACKED = {"data.name": "stacked_mnist", "data.base": "digits", "data.num_train": "256", "data.num_heldout": "64"}


def experiment(**changes):
    config = tiny.gan(**{key.replace(".", "__"): value for key, value in STACKED.items()}, **changes)
    return tiny.Experiment.of(config)


def test_the_metric_is_for_stacked_digits_and_wants_a_classifier_of_the_single_ones(tmp_path):
    ours = experiment(method__conditional="false")
    assert evaluation.find(["stacked_modes"], ours).keys() == {"stacked_modes"}
    with pytest.raises(UserError, match="'stacked_modes' needs .*data.name='stacked_mnist'"):
        evaluation.find(["stacked_modes"], tiny.Experiment.of(tiny.gan()))
    with pytest.raises(UserError, match="'classifier' needs labelled images .*stacked_modes"):
        evaluation.find(["classifier"], experiment(data__labelled="true"))
    assert evaluation.judge_of(ours, ["frechet:pixels"]) is None
    with pytest.raises(UserError, match=r"'stacked_modes' needs .*--config=configs/classifier.py:digits --workdir"):
        evaluation.judge_of(ours, ["stacked_modes"])


@pytest.mark.slow
def test_a_classifier_of_the_digits_judges_a_gan_of_stacked_ones(tmp_path):
    judge, other, run = (str(tmp_path / name) for name in ("judge", "other", "run"))
    train = ["--config.train.checkpoint_every=0", "--config.parallel.devices=1"]
    for place, more in (
        (judge, ["--config.train.steps=200"]),
        (other, ["--config.train.steps=1", "--config.data.heldout=0.5"]),
    ):
        finished("train", "--config=configs/classifier.py", f"--workdir={place}", *train, *more)
    words = ["train", "--config=configs/gan_digits.py", f"--workdir={run}", *train]
    words += [f"--config.{key}={value}" for key, value in STACKED.items()]
    words += ["--config.method.conditional=false", "--config.train.steps=2", "--config.train.sample_every=0"]
    words += ["--config.eval.metrics=stacked_modes", "--config.eval.num=4000"]
    refused = tiny.launch(*words, f"--config.eval.classifier={other}")
    _, error = refused.communicate(timeout=120)
    assert refused.returncode == 2 and "not on the digits that are stacked" in error
    finished(*words, f"--config.eval.classifier={judge}")
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert metrics["eval/classifier_accuracy"] > 0.95
    assert 1 <= metrics["eval/stacked_modes"] <= metrics["eval/stacked_modes_single_hit"] <= 1000
    assert 100 <= metrics["eval/stacked_modes_of_100"] < 400
