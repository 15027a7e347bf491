"""Anyone's images against a reference: the same numbers as of a run, and one line for whatever cannot be compared."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import launch
from diffjax import metrics as m
from diffjax.compare import compare
from diffjax.data import Digits
from diffjax.pictures import save_png
from tests.test_launch import one_line

TRAIN, HELDOUT = (Digits().split(name).arrays()["x"] for name in ("train", "heldout"))


def folder(path, images):
    path.mkdir()
    for i, image in enumerate(images):
        save_png(path / f"{i:04}.png", image)
    return str(path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of training digits."""
    return folder(tmp_path_factory.mktemp("images") / "digits", TRAIN[:60])


def test_a_folder_an_archive_and_a_data_source_are_read_alike(digits, tmp_path):
    np.savez(tmp_path / "digits.npz", x=TRAIN[:60])
    found = [
        compare(samples, "digits", ("frechet", "kid_all_pairs"), "pixels", "heldout")
        for samples in (digits, str(tmp_path / "digits.npz"))
    ]
    assert found[0] == found[1]
    samples, reference = (m.Moments.of(x.reshape(len(x), -1) / 255.0) for x in (TRAIN[:60], HELDOUT))
    assert found[0][0].value == pytest.approx(m.frechet_distance(samples, reference), rel=1e-5)
    assert found[0][0].protocol["reference"] == len(HELDOUT)


def test_kept_statistics_stand_for_the_images(digits, tmp_path, capsys):
    kept, out = tmp_path / "heldout.npz", tmp_path / "scores.json"
    words = ["evaluate", f"--samples={digits}", "--features=pixels"]
    assert launch.main([*words, "--reference=digits", "--split=heldout", f"--statistics={kept}"]) == 0
    assert launch.main([*words, f"--reference={kept}", f"--out={out}"]) == 0
    images, statistics = (part for part in capsys.readouterr().out.split("metric") if "frechet_pixels" in part)
    assert images == statistics
    written = json.loads(out.read_text())
    assert written["metrics"][0]["protocol"]["reference"] == len(HELDOUT)
    assert written["provenance"]["reference"] == str(kept) and written["provenance"]["images"] == "digits heldout"
    said = one_line(capsys, *words, f"--reference={kept}", "--metrics=kid")
    assert "has only moments, for Frechet distances; kid:pixels needs the images" in said


def test_statistics_of_other_features_are_refused_and_the_difference_is_named(digits, tmp_path, capsys):
    moments = m.Moments.of(np.random.default_rng(0).normal(size=(70, 64)))
    features = {"network": "pixels", "resize": "bicubic", "range": "x / 255"}
    m.save_statistics(tmp_path / "other.npz", moments, {"features": features, "reference": 70, "images": "ours"})
    said = one_line(capsys, "evaluate", f"--samples={digits}", "--features=pixels", f"--reference={tmp_path}/other.npz")
    assert "differs in features resize (bicubic against none)" in said


def test_copies_of_the_reference_are_memorised(digits):
    found = {score.name: score for score in compare(digits, "digits", ("memorisation",), "pixels")}
    assert found["auth_pct_pixels"].value == 0 and found["auth_pct_pixels"].at_best is None


def with_(image, name):
    """The folder of digits, and one image more."""

    def make(path):
        place = folder(path / "mixed", TRAIN[:3])
        image.save(f"{place}/{name}")
        return place

    return make


@pytest.mark.parametrize(
    ("samples", "metrics", "said"),
    [
        (with_(Image.new("L", (9, 8)), "z.png"), "frechet", "images of different sizes: 0000.png is 8x8, z.png is 9x8"),
        (with_(Image.new("RGB", (8, 8)), "z.png"), "frechet", "images of different modes: 0000.png is grey, z.png is"),
        (
            lambda path: folder(path / "big", np.zeros((3, 9, 9, 1), np.uint8)),
            "frechet",
            "images of 9x9x1, those",
        ),
        (lambda path: folder(path / "one", TRAIN[:1]), "frechet", "samples: 1 images; frechet:pixels needs at least 2"),
        (
            lambda path: folder(path / "few", TRAIN[:4]),
            "prdc",
            "samples: 4 images; prdc:pixels needs at least 6, as balls reach to the neighbour k = 5",
        ),
        (
            lambda path: folder(path / "few", TRAIN[:50]),
            "frechet_infinity",
            "samples: 50 images; frechet_infinity:pixels needs at least 130",
        ),
        (lambda path: path / "nowhere", "frechet", "is no folder, no .npz and no data source"),
        (lambda path: folder(path / "empty", []), "frechet", "holds no image"),
        (lambda path: folder(path / "few", TRAIN[:9]), "modes", "'modes' is of a trained run; of images there are"),
        (lambda path: folder(path / "few", TRAIN[:9]), "inception_score", "'pixels' names no classes; take inception"),
    ],
)
def test_what_cannot_be_compared_is_one_line(samples, metrics, said, tmp_path, capsys):
    place = samples(tmp_path)
    words = ["evaluate", f"--samples={place}", "--reference=digits", "--features=pixels", f"--metrics={metrics}"]
    assert said in one_line(capsys, *words)


@pytest.mark.parametrize("x", [np.full((4, 8, 8, 1), np.nan, np.float32), np.zeros((4, 8, 8), np.uint8)])
def test_an_archive_of_anything_but_8_bit_images_is_refused(x, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=x)
    words = ["evaluate", f"--samples={tmp_path}/x.npz", "--reference=digits", "--features=pixels"]
    assert "images are uint8 [n, height, width, 1 or 3]" in one_line(capsys, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--workdir: evaluate needs a run directory, or --samples and --reference"),
        (["--samples=a"], "--reference: two sets of images are compared"),
        (["--samples=a", "--reference=b", "--num=5"], "--num: is of a trained run"),
        (["--samples=a", "--reference=b", "--config.eval.num=5"], "--config.eval.num: there is no run"),
        (["--samples=a", "--reference=b", "--out=c.txt"], "--out: c.txt is written as json; give it the ending .json"),
        (["--workdir=a", "--out=c.txt"], "--out: c.txt is written as json; give it the ending .json"),
        (["--workdir=a", "--statistics=c.npz"], "--statistics: goes with --samples"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(words, said, capsys):
    assert said in one_line(capsys, "evaluate", *words)


def test_statistics_that_are_damaged_or_of_something_else_say_so(tmp_path, capsys):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    np.savez(tmp_path / "half.npz", n=3, mean=np.zeros(2))
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(2), sigma=np.eye(2))
    for name, said in (
        ("torn", "--reference: .* holds no images x: "),
        ("half", "says nothing of scatter, protocol; make one"),
        ("theirs", "holds mu and sigma as pytorch-fid keeps them"),
        ("none", "--reference: there is no file"),
    ):
        words = ["--samples=digits", "--features=pixels", f"--reference={tmp_path}/{name}.npz"]
        assert re.search(said, one_line(capsys, "evaluate", *words))
