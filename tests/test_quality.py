"""What the configs promise, trained for real: minutes each."""

import json

import pytest

from tests.commands import finished
from tests.prepared import PREPARED, needs_mnist


def metrics(workdir) -> dict[str, float]:
    return json.loads((workdir / "result.json").read_text())["metrics"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_digits_of_the_demo_are_seen_by_a_classifier_and_are_as_close_to_held_out_ones_as_promised(tmp_path):
    judge, digits = tmp_path / "judge", tmp_path / "digits"
    finished("train", "--config=configs/classifier.py", f"--workdir={judge}", timeout=600)
    with_judge = ["--config.eval.metrics=classifier,frechet_pixels", f"--config.eval.classifier={judge}"]
    finished("train", "--config=configs/digits.py", f"--workdir={digits}", *with_judge, timeout=1200)
    found = metrics(digits)
    assert found["eval/classifier_accuracy"] >= 0.98
    assert found["eval/classes"] == 10
    assert found["eval/confidence_ratio"] >= 0.92
    assert found["eval/frechet_pixels_ratio"] <= 2.5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_gan_on_the_ring_finds_its_modes(tmp_path):
    finished("train", "--config=configs/gan_ring.py", f"--workdir={tmp_path}/ring", timeout=800)
    found = metrics(tmp_path / "ring")
    assert found["eval/modes"] >= 7
    assert found["eval/high_quality"] >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_mnist
@pytest.mark.parametrize("config", ["mnist.py", "gan_mnist.py"])
def test_mnist_trains_resumes_and_samples(config, tmp_path):
    """Small, to show that the real data set goes all the way through."""
    small = {
        "mnist.py": ["--config.method.network.channels=8"],
        "gan_mnist.py": ["--config.method.generator.width=8", "--config.method.discriminator.width=8"],
    }[config]
    words = [f"--config=configs/{config}", f"--workdir={tmp_path}/run", f"--config.data.data_dir={PREPARED}", *small]
    words += ["--config.train.batch_size=16", "--config.train.log_every=2", "--config.train.sample_every=0"]
    words += ["--config.eval.num=32", "--config.eval.batch_size=32"]
    finished("train", *words, "--config.train.steps=4", timeout=400)
    out = finished("train", *words, "--config.train.steps=8", timeout=400)
    assert "continuing from step 4" in out
    assert "eval/frechet_pixels" in metrics(tmp_path / "run")
    finished("sample", f"--workdir={tmp_path}/run", "--num=16", f"--out={tmp_path}/x.png", timeout=400)
    assert (tmp_path / "x.png").stat().st_size > 1000
