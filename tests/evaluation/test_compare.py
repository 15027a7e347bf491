"""Anyone's images against a reference: the same numbers as of a run, and one line for whatever cannot be compared."""

import errno
import json
import re

import numpy as np
import pytest
from PIL import Image

import launch
from diffjax import metrics as m
from diffjax.data import Digits
from diffjax.drawing.pictures import save_png
from diffjax.errors import UserError
from diffjax.evaluation.compare import Comparison
from diffjax.evaluation.compare import compare as compared
from diffjax.inference.embedding import Embedder
from diffjax.training.loop import train
from tests import tiny
from tests.commands import one_line

TRAIN, HELDOUT = (Digits().split(name).arrays()["x"] for name in ("train", "heldout"))


def compare(*asked, **more):
    return compared(Comparison(*asked, **more))


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
    assert f"kid:pixels: {kept} has only moments, for Frechet distances; must be images" in said


def test_statistics_of_other_features_are_refused_and_the_difference_is_named(digits, tmp_path, capsys):
    moments = m.Moments.of(np.random.default_rng(0).normal(size=(70, 64)))
    features = {"network": "pixels", "resize": "bicubic", "range": "x / 255"}
    m.save_statistics(tmp_path / "other.npz", moments, {"features": features, "reference": 70, "images": "ours"})
    said = one_line(capsys, "evaluate", f"--samples={digits}", "--features=pixels", f"--reference={tmp_path}/other.npz")
    assert "differs in features resize (bicubic against none)" in said


def test_the_nearest_images_lie_beside_the_numbers_and_only_scores_give_way_to_scores(digits, tmp_path, capsys):
    words = ["evaluate", f"--samples={digits}", "--reference=digits", "--features=pixels", "--metrics=memorisation"]
    for _ in range(2):
        assert launch.main([*words, f"--out={tmp_path}/mine.json"]) == 0
    assert (tmp_path / "mine-nearest_pixels.png").is_file()
    for content in ('{"config": {}}', "no JSON"):
        (tmp_path / "else.json").write_text(content)
        capsys.readouterr()
        assert "exists and is not a file of scores" in one_line(capsys, *words, f"--out={tmp_path}/else.json")
        assert (tmp_path / "else.json").read_text() == content


def test_statistics_give_way_to_statistics_and_images_to_nothing(digits, tmp_path, capsys):
    """Of the reference itself above all; and archives of others have moments and images in one."""
    words = ["evaluate", f"--samples={digits}", "--reference=digits", "--features=pixels"]
    for _ in range(2):
        assert launch.main([*words, f"--statistics={tmp_path}/kept.npz"]) == 0
    for name, arrays in {"x": {"x": TRAIN[:60]}, "adm": {"arr_0": TRAIN[:60], "mu": np.zeros(64)}}.items():
        file = tmp_path / f"{name}.npz"
        np.savez(file, **arrays)
        before = file.read_bytes()
        capsys.readouterr()
        said = one_line(capsys, *words, f"--statistics={file}")
        assert f"--statistics: {file} exists and is not a file of statistics; must be a new file or one of" in said
        assert file.read_bytes() == before


def test_each_set_may_be_of_a_split_of_its_own(tmp_path):
    np.savez(tmp_path / "heldout.npz", x=HELDOUT)
    named, filed = (
        compare("digits", reference, ("frechet",), "pixels")
        for reference in ("digits@heldout", f"{tmp_path}/heldout.npz")
    )
    assert named == filed and named[0].value > 0


def test_images_of_a_kind_that_is_not_read_are_said_to_be_left_out(tmp_path, capsys):
    place = folder(tmp_path / "mixed", TRAIN[:9])
    Image.new("L", (8, 8)).save(tmp_path / "mixed" / "more.bmp")
    compare(place, "digits", ("kid_all_pairs",), "pixels")
    assert "only .png, .jpg, .jpeg, .webp are read; its .bmp are left out" in capsys.readouterr().err


def test_a_set_against_itself_is_said_to_be(digits, capsys):
    compare(digits, digits, ("kid_all_pairs",), "pixels")
    assert "are the same images: comparing them says nothing" in capsys.readouterr().err
    compare(digits, "digits", ("kid_all_pairs",), "pixels")
    assert "same images" not in capsys.readouterr().err


def test_copies_of_the_reference_are_memorised(digits):
    found = {score.name: score for score in compare(digits, "digits", ("memorisation",), "pixels")}
    assert found["auth_pct_pixels"].value == 0 and found["auth_pct_pixels"].at_best is None


def protocol_of(samples, reference, **options):
    (score,) = compare(str(samples), str(reference), ("frechet",), "pixels", **options)
    return score.protocol


def test_a_reference_is_its_images_wherever_they_lie(digits, tmp_path):
    np.savez(tmp_path / "same.npz", x=TRAIN[:60][::-1])
    np.savez(tmp_path / "other.npz", x=TRAIN[1:61])
    here, there, other = (
        protocol_of(digits, reference) for reference in (digits, tmp_path / "same.npz", tmp_path / "other.npz")
    )
    assert here == there and here["quantisation"] == "uint8" and here["flip"] is False
    one, two = m.Metric("frechet_pixels", 1.0, here), m.Metric("frechet_pixels", 1.0, other)
    with pytest.raises(UserError, match=r"differ in reference_hash \(\w{16} against \w{16}\); measure both alike"):
        m.check_comparable(one, two)


def test_equal_protocols_are_equal_numbers_however_the_sets_are_sorted(classifier, tmp_path):
    """Also of what takes some images only: subsets of both sets, as many of the reference as there are samples."""
    metrics = ("kid", "prdc", "inception_score", "frechet", "memorisation", "frechet_infinity")
    metrics = tuple(name if name == "inception_score" else f"{name}:pixels" for name in metrics)
    x, y, found = TRAIN[:200], TRAIN[200:], []
    for brightest_last in (False, True):
        for name, images in (("x", x), ("y", y)):
            order = np.argsort(images.mean(axis=(1, 2, 3))) if brightest_last else np.arange(len(images))
            np.savez(tmp_path / f"{name}.npz", x=images[order])
        places = (str(tmp_path / f"{name}.npz") for name in "xy")
        found.append({s.name: s for s in compare(*places, metrics, "classifier", classifier=classifier)})
    for one, two in zip(*(scores.values() for scores in found), strict=True):
        assert one.protocol == two.protocol
        np.testing.assert_allclose(one.value, two.value, rtol=1e-6, atol=1e-6, err_msg=one.name)


def written(path, *words) -> dict[str, m.Metric]:
    """What `evaluate` writes, by name."""
    assert launch.main(["evaluate", *words, f"--out={path}"]) == 0
    content = json.loads(path.read_text())
    metrics = (m.Metric(s["name"], s["value"], s["protocol"], content["provenance"]) for s in content["metrics"])
    return {metric.name: metric for metric in metrics}


def test_a_run_s_samples_in_a_folder_have_the_run_s_numbers_and_other_labels_are_refused(tmp_path):
    run, metrics = tmp_path / "run", "--metrics=frechet:pixels,kid:pixels,prdc:pixels"
    train(tiny.gan(train__steps=2, method__conditional="true", eval__metrics="()"), run)
    draw = ["sample", f"--workdir={run}", f"--seed={tiny.gan().seed}", "--num=40"]
    for name, more in (("all/", []), ("all.npz", []), ("threes/", ["--label=3"])):
        assert launch.main([*draw, *more, f"--out={tmp_path}/{name}"]) == 0
    own = written(tmp_path / "run.json", f"--workdir={run}", metrics, "--num=40")
    against = ["--reference=digits", "--split=heldout", metrics]
    for name in ("all", "all.npz"):
        found = written(tmp_path / "files.json", f"--samples={tmp_path}/{name}", *against)
        for of_files in found.values():
            assert m.average([own[of_files.name], of_files]).sd < 1e-6
    assert own.keys() - found.keys() == {"frechet_pixels_ratio"}  # a folder has no others to be compared with
    threes = written(tmp_path / "threes.json", f"--samples={tmp_path}/threes", *against)
    with pytest.raises(UserError, match=r"values of kid_pixels differ in labels \(i modulo 10 against only 3\)"):
        m.check_comparable(own["kid_pixels"], threes["kid_pixels"])
    assert threes["kid_pixels"].provenance["drawn"]["step"] == own["kid_pixels"].provenance["step"] == 2


def test_images_without_a_note_have_no_labels_and_a_note_of_others_is_refused(digits, tmp_path, capsys):
    assert "labels" not in protocol_of(digits, digits)
    place = folder(tmp_path / "some", TRAIN[:7])
    (tmp_path / "some" / "samples.json").write_text(json.dumps({"images": 9, "labels": "i modulo 10"}))
    words = ["evaluate", f"--samples={place}", "--reference=digits", "--features=pixels"]
    assert "samples.json records 9 images, the folder has 7; remove it" in one_line(capsys, *words)
    (tmp_path / "some" / "samples.json").write_text("[]")
    assert "samples.json is not what `sample` writes of its images" in one_line(capsys, *words)


def test_statistics_of_before_the_hash_are_read_and_not_compared_with_the_images(digits, tmp_path):
    features = {"network": "pixels", "resize": "none", "range": "x / 255"}
    moments = m.Moments.of(TRAIN[:60].reshape(60, -1) / 255.0)
    m.save_statistics(tmp_path / "old.npz", moments, {"features": features, "reference": 60, "images": "somewhere"})
    old, new = (m.Metric("frechet_pixels", 0.0, protocol_of(digits, path)) for path in (tmp_path / "old.npz", digits))
    with pytest.raises(UserError, match=r"differ in reference_hash \(absent against \w{16}\)"):
        m.check_comparable(old, new)


def test_where_there_are_no_other_real_images_theory_says_what_is_best():
    found = {score.name: score for score in compare("digits", "digits", ("frechet", "prdc"), "pixels", "train")}
    n, moments = len(TRAIN), m.Moments.of(TRAIN.reshape(len(TRAIN), -1) / 255.0)
    assert found["frechet_pixels"].at_best == pytest.approx(2 * m.expected_frechet_bias(moments, n), rel=1e-4)
    assert found["coverage_pixels"].at_best == m.expected_coverage(n, n, 5) and found["density_pixels"].at_best == 1
    assert found["precision_pixels"].at_best is None


def test_a_kid_whose_subsets_are_all_the_images_points_to_the_error_that_is_known(digits):
    mean, error = compare(digits, digits, ("kid",), "pixels")
    assert np.isfinite(mean.value) and np.isnan(error.value) and "kid_all_pairs knows its error" in error.warning


def cut(image, name):
    """A folder of an image file and one that breaks off in the middle."""

    def make(path):
        place = path / "cut"
        place.mkdir()
        image.save(place / f"whole-{name}")
        whole = (place / f"whole-{name}").read_bytes()
        (place / name).write_bytes(whole[: len(whole) * 2 // 3])
        return place

    return make


def archive(x, name="x"):
    def make(path):
        np.savez(path / "x.npz", **{name: x})
        return path / "x.npz"

    return make


def single_array(path):
    with (path / "x.npz").open("wb") as stream:
        np.save(stream, TRAIN[:4])
    return path / "x.npz"


def file(name):
    def make(path):
        (path / name).write_text("no image")
        return path / name

    return make


def tiffs(path):
    (path / "tiffs").mkdir()
    Image.new("L", (8, 8)).save(path / "tiffs" / "a.tiff")
    return path / "tiffs"


def sideways(path):
    """Two files of 8x9 pixels, one of which a camera held upright."""
    place, exif = path / "sideways", Image.Exif()
    place.mkdir()
    exif[0x0112] = 6
    Image.new("L", (8, 9)).save(place / "a.jpg")
    Image.new("L", (8, 9)).save(place / "b.jpg", exif=exif)
    return place


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("flag", ["--samples", "--reference"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (cut(NOISE, "a.png"), "cut/a.png cannot be read as an image"),
        (cut(NOISE, "a.jpg"), "cut/a.jpg cannot be read as an image"),
        (cut(NOISE, "a.webp"), "cut/a.webp cannot be read as an image"),
        (archive(np.zeros((0, 8, 8, 1), np.uint8)), "is uint8 (0, 8, 8, 1); must be uint8 [n, height, width, 1 or"),
        (archive(np.zeros((4, 0, 8, 1), np.uint8)), "is uint8 (4, 0, 8, 1); must be"),
        (tiffs, "tiffs holds no image (.png, .jpg, .jpeg, .webp)"),
        (sideways, "a.jpg is 8x9 and"),
        (lambda path: "toy2d:ring", "toy2d:ring gives points; must be images"),
        (
            lambda path: "digits@test",
            "digits@test is no folder, no .npz and no data source (a split is one of train",
        ),
        (file("notes.txt"), "notes.txt is a file; must be a folder of images, an .npz, or a data source"),
        (single_array, "x.npz holds no images x: it is a single array, as np.save writes it"),
        (archive(TRAIN[:4], name="images"), "x.npz holds no images x: it has images"),
    ],
)
def test_what_is_wrong_with_images_is_said_of_the_flag_before_any_is_embedded(
    make, said, flag, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Embedder, "batch", lambda *_: pytest.fail("embedded"))
    other = {"--samples": "--reference", "--reference": "--samples"}[flag]
    line = one_line(capsys, "evaluate", f"{flag}={make(tmp_path)}", f"{other}=digits", "--features=pixels")
    assert line.startswith(f"launch.py: {flag}: ") and said in line
    assert "data.name" not in line and "data.size" not in line and "folder:" not in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics=frechet", "--statistics=FILE/x.npz"], "--statistics: .*FILE/x.npz cannot be written"),
        (["--metrics=frechet", "--out=FILE/x.json"], "--out: .*FILE/x.json cannot be written"),
        (
            ["--metrics=fid", "--features=pixels"],
            "--features: 'pixels': all of frechet:inception name",
        ),
        (["--metrics=frechet, Precision"], "--metrics: 'Precision' is unknown; .*; did you mean 'prdc'?"),
        (["--metrics=kid", "--features=vgg"], "--features: 'vgg' is unknown; it is one of"),
        (
            ["--metrics=kid:pixel"],
            "--metrics: 'kid:pixel': its feature network must be one of .* mean 'pixels'",
        ),
        (["--metrics=kid:"], "--metrics: 'kid:': its feature network must be one of inception, "),
        (["--metrics=,"], "--metrics: is empty; must be some of frechet, .*, memorisation$"),
        (["--metrics=kid", "--precision=half"], "--precision: 'half' is not one of highest, tensorfloat32, default"),
        (["--metrics=frechet", "--out=FOLDER.json"], "--out: .*FOLDER.json is a folder"),
        (["--metrics=frechet", "--statistics=x.txt"], "--statistics: .* must end in .npz"),
        (
            ["--metrics=kid,frechet_pixels,prdc", "--samples=FEW"],
            "samples: 4 images; must be at least 6 for prdc:pixels",
        ),
        (
            ["--metrics=kid_all_pairs", "--samples=digits", "--reference=THREE"],
            "reference: 3 images; must be at least 4 for kid_all_pairs:",
        ),
        (
            ["--metrics=frechet", "--samples=digits", "--reference=ONE"],
            "reference: 1 images; must be at least 2 for frechet:pixels",
        ),
        (
            ["--metrics=memorisation", "--samples=digits", "--reference=ONE"],
            "reference: 1 images; must be at least 2 for memorisation:pixels",
        ),
        (["--metrics=kid,inception_score"], "inception_score:pixels: 'pixels' has no class logits; must be inception"),
        (["--metrics=frechet,kid", "--reference=KEPT"], "kid:pixels: .*KEPT.npz has only moments, .*; must be images"),
        (["--metrics=frechet", "--samples=NINE", "--reference=KEPT"], "is of 64 features; pixels gives 81 of images"),
        (["--metrics=kid,frechet", "--samples=LARGE", "--reference=LARGE"], "features: 196,608 dimensions, whose cov"),
        (["--metrics=kid", "--samples=LARGE", "--reference=LARGE", "--statistics=k.npz"], "features: 196,608 dimens"),
        (
            ["--metrics=fid", "--features=inception", "--weights=WEIGHTS"],
            "weights: .*pth is damaged: its SHA-256 .*672",
        ),
    ],
)
def test_nothing_is_embedded_before_a_mistake_is_found(words, said, digits, tmp_path, capsys, monkeypatch):
    files = {"FEW": TRAIN[:4], "THREE": TRAIN[:3], "ONE": TRAIN[:1], "NINE": np.zeros((9, 9, 9, 1), np.uint8)}
    files["LARGE"] = np.zeros((3, 256, 256, 3), np.uint8)
    for name, x in files.items():
        np.savez(tmp_path / f"{name}.npz", x=x)
    features = {"network": "pixels", "resize": "none", "range": "x / 255"}
    moments = m.Moments.of(TRAIN.reshape(len(TRAIN), -1) / 255.0)
    m.save_statistics(tmp_path / "KEPT.npz", moments, {"features": features, "reference": len(TRAIN)})
    weights = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    weights.write_bytes(b"half of it")
    (tmp_path / "FILE").write_text("no folder")
    (tmp_path / "FOLDER.json").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Embedder, "batch", lambda *_: pytest.fail("embedded"))
    given = {"--samples": digits, "--reference": "digits", "--features": "pixels"}
    for word in words:
        flag, _, value = word.partition("=")
        value = f"{tmp_path}/{value}.npz" if value in (*files, "KEPT") else value
        given[flag] = str(weights) if value == "WEIGHTS" else value
    assert re.search(said, one_line(capsys, "evaluate", *(f"{flag}={value}" for flag, value in given.items())))


def test_numbers_that_cannot_be_written_have_been_printed(digits, tmp_path, capsys, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("diffjax.evaluation.compare.record", no_room)
    words = [f"--samples={digits}", "--reference=digits", "--features=pixels", f"--out={tmp_path}/mine.json"]
    assert launch.main(["evaluate", *words]) == 2
    said = capsys.readouterr()
    assert "frechet_pixels" in said.out and "no room to write" in said.err


def test_folders_for_what_is_kept_are_made(digits, tmp_path):
    kept, out = tmp_path / "new" / "kept.npz", tmp_path / "also" / "new" / "numbers.json"
    compare(digits, digits, ("frechet",), "pixels", out=out, statistics=kept)
    assert kept.is_file() and out.is_file() and not list(tmp_path.rglob(".*"))


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
        (
            lambda path: folder(path / "one", TRAIN[:1]),
            "frechet",
            "samples: 1 images; must be at least 2 for frechet:pixels",
        ),
        (
            lambda path: folder(path / "few", TRAIN[:4]),
            "prdc",
            "samples: 4 images; must be at least 6 for prdc:pixels, as balls reach to the neighbour k = 5",
        ),
        (
            lambda path: folder(path / "few", TRAIN[:50]),
            "frechet_infinity",
            "samples: 50 images; must be at least 130 for frechet_infinity:pixels",
        ),
        (lambda path: path / "nowhere", "frechet", "is no folder, no .npz and no data source"),
        (lambda path: "x" * 300, "frechet", "is no folder, no .npz and no data source"),
        (lambda path: folder(path / "empty", []), "frechet", "holds no image"),
        (
            lambda path: folder(path / "few", TRAIN[:9]),
            "modes",
            "--metrics: 'modes' needs a trained run; must be one of",
        ),
        (
            lambda path: folder(path / "few", TRAIN[:9]),
            "inception_score",
            "'pixels' has no class logits; must be inception",
        ),
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
    assert "must be uint8 [n, height, width, 1 or 3], n > 0" in one_line(capsys, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--workdir: missing; evaluate needs a run directory, or --samples and --reference"),
        (["--samples=a"], "--reference: missing; two sets of images are compared"),
        (["--samples=a", "--reference=b", "--num=5"], "--num: applies to a trained run, not to --samples"),
        (
            ["--samples=a", "--reference=b", "--config.eval.num=5"],
            "--config.eval.num: needs --workdir; --samples has no",
        ),
        (["--samples=a", "--reference=b", "--out=c.txt"], "--out: c.txt must end in .json"),
        (["--workdir=a", "--out=c.txt"], "--out: c.txt must end in .json"),
        (["--workdir=a", "--statistics=c.npz"], "--statistics: applies to --samples"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(words, said, capsys):
    assert said in one_line(capsys, "evaluate", *words)


@pytest.mark.parametrize("reference", ["folder", "digits@train"])
def test_a_split_that_applies_to_nothing_is_refused(reference, tmp_path, capsys):
    place = folder(tmp_path / "some", TRAIN[:9])
    words = [f"--samples={place}", f"--reference={place if reference == 'folder' else reference}", "--split=heldout"]
    assert "--split: heldout applies to nothing: neither" in one_line(capsys, "evaluate", *words, "--features=pixels")


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
