"""Folders of samples: they are one call's, whatever was there before and however the call ends."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from diffjax.data.folder import Folder
from diffjax.drawing.draw import draw
from diffjax.errors import UserError
from diffjax.evaluation.image_sets import read
from diffjax.experiment import Experiment
from diffjax.inference.sampling import Drawn, Generator
from tests import tiny


@pytest.fixture
def model(monkeypatch):
    """A run whose samples are as bright as its `grey`, two at a time, and which is interrupted after `most` of them."""
    experiment = Experiment.of(tiny.digits())
    made = SimpleNamespace(experiment=experiment, ema={}, workdir="run", step=1, weights="ema", grey=1, most=99)

    def batches(self, variables, num, seed, requested=None):
        for first in range(0, num, 2):
            if first >= made.most:
                raise KeyboardInterrupt
            n = min(2, num - first)
            yield Drawn(np.full((n, 8, 8, 1), made.grey, np.uint8), np.zeros(n, int), np.ones(n, int)), None

    monkeypatch.setattr(Generator, "batches", batches)
    return made


def greys(folder):
    return Folder(str(folder), channels=1).everything().arrays()["x"][:, 0, 0, 0].tolist()


def test_a_call_that_is_cut_short_leaves_no_image_of_an_earlier_one_and_is_not_measured(model, tmp_path, capsys):
    draw(model, f"{tmp_path}/a/", 6)
    assert capsys.readouterr().err == "" and read(f"{tmp_path}/a", "--samples").note["images"] == 6
    model.grey, model.most = 2, 4
    with pytest.raises(KeyboardInterrupt):
        draw(model, f"{tmp_path}/a/", 6)
    assert capsys.readouterr().err == f"{tmp_path}/a: removed 6 images of an earlier call, such as 000000.png\n"
    assert greys(tmp_path / "a") == [2] * 4
    with pytest.raises(UserError, match="--samples: .*/a/samples.json says that its images are incomplete: .*; sample"):
        read(f"{tmp_path}/a", "--samples")
    model.grey, model.most = 3, 99
    draw(model, f"{tmp_path}/a/", 3)
    assert greys(tmp_path / "a") == [3] * 3 and "incomplete" not in read(f"{tmp_path}/a", "--samples").note


def test_images_that_no_call_noted_are_not_overwritten(model, tmp_path):
    """Nor removed, though they have the names of samples: one beyond those of the note, or all without a note."""
    draw(model, f"{tmp_path}/a/", 2)
    (tmp_path / "a" / "000001.png").rename(tmp_path / "a" / "000002.png")
    for with_note in (True, False):
        if not with_note:
            (tmp_path / "a" / "samples.json").unlink()
        with pytest.raises(UserError, match="`out`: .*/a has other images, such as 00000[02].png; choose another"):
            draw(model, f"{tmp_path}/a/", 4)
        assert len(greys(tmp_path / "a")) == 2
    (tmp_path / "a" / "samples.json").write_text("{")
    with pytest.raises(UserError, match="`out`: .*/samples.json is not what `sample` writes of its images; remove it"):
        draw(model, f"{tmp_path}/a/", 4)


def test_one_label_is_that_label_also_if_it_is_the_first(model, tmp_path):
    for label, said in ((0, "only 0"), (None, "i modulo 10")):
        draw(model, f"{tmp_path}/a/", 2, label=label)
        assert json.loads((tmp_path / "a" / "samples.json").read_text())["labels"] == said
