"""The front door: help for every command, and one line with status 2 for whatever a user got wrong."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import diffjax
import launch
from diffjax import cli
from diffjax.data import Digits
from diffjax.drawing.draw import draw
from diffjax.drawing.edits import Request
from diffjax.errors import TAKEN, Diverged, Taken, UserError
from diffjax.experiment import Experiment
from diffjax.inference import sampling
from diffjax.metrics.features import FEATURES
from diffjax.run import Run
from diffjax.training.loop import train
from tests import tiny
from tests.commands import one_line

SMALL = [f"--config.{key}={value}" for key, value in tiny.POINTS.items()]
COMMANDS = ["train", "sample", "evaluate", "prepare", "ablate", "report"]


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """A tiny trained run on points without labels."""
    workdir = tmp_path_factory.mktemp("points")
    train(tiny.points(train__steps=7), workdir)
    return workdir


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A tiny trained run on labelled images."""
    workdir = tmp_path_factory.mktemp("digits")
    train(tiny.digits(train__steps=40, optim__warmup=0.0, eval__metrics="()", sampler__steps=2), workdir)
    return workdir


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as done:
        launch.main([*command, "--help"])
    assert done.value.code == 0 and "--help" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys):
    assert launch.main([]) == 2
    assert "sample" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_help_fits_a_terminal_of_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        launch.main([*command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("chosen", [None, "programs"])
def test_compiled_programs_are_kept_in_the_cache_unless_jax_is_told_where(chosen, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", chosen or "")
    if not chosen:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    cli.set_up()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == (chosen or str(tmp_path / "xla"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "--config=configs/digits.py"], "invalid choice: 'trian'"),
        (["train"], "--config"),
        (["train", "--config=configs/digits.py"], "--workdir: train needs a run directory"),
        (["train", "--config=configs/digit.py"], "no config file 'configs/digit.py'"),
        (["train", "--config=configs/digits.py", "--dryrun"], "did you mean '--dry-run'?"),
        (["trian", "--config=configs/digits.py"], "did you mean 'train'?"),
        (["ablate", "experiments/words.py", "--backend=slrm"], "did you mean 'slurm'?"),
        (["ablate", "experiments/min_snr.py", "--dry-run"], "unrecognized arguments: --dry-run; it goes with train ("),
        (["train", "--config=configs/digits.py", "--config.train.stepz=3"], "did you mean 'steps'"),
        (["train", "--config=configs/digits.py", "--config.train.steps"], "no value"),
        (["train", "--config=configs/digits.py", "--config.data.name=digit"], "did you mean 'digits'"),
        (["train", "--config=configs/digits.py", "--config.data.name=tfds:mnits", "--dry-run"], "data.name"),
        (["train", "--config=configs/digits.py", "--config.data.name=folder:nowhere", "--dry-run"], "nowhere"),
        (["train", "--config=configs/digits.py", "--config.train.batch_size=12", "--dry-run"], "train.batch_size: 12"),
        (["train", "--config=configs/digits.py:conditional", "--config.sampler.guidance.name=classifier_free",
          "--config.sampler.guidance.scale=-1", "--dry-run"], "guidance.scale: -1.0 must be finite and at least 0"),
        (["train", "--config=configs/digits.py", "--config.train.batch_size=0", "--dry-run"], "batch_size: 0 must be"),
        (["train", "--config=configs/digits.py", "--config.train.profile=-1", "--dry-run"], "profile: -1 must be at"),
        (["train", "--config=configs/digits.py", "--config.seed=-1", "--dry-run"], "seed: -1 must be from 0 to 42"),
        (["train", "--config=configs/digits.py", "--config.optim.learning_rate=-1", "--dry-run"], "learning_rate: -1"),
        (["train", "--config=configs/gan_ring.py", "--config.optim.clip_norm=-1", "--dry-run"], "optim.clip_norm: -1"),
        (["train", "--config=configs/digits.py", "--config.sampler.steps=0", "--dry-run"], "sampler.steps: 0"),
        (["train", "--config=configs/digits.py", "--config.sampler.name=generator", "--dry-run"], "cannot draw from"),
        (
            ["train", "--config=configs/digits.py", "--config.parallel.mode=pmap", "--config.parallel.fsdp=2",
             "--workdir=/nowhere"],
            "fsdp: 2 needs parallel.mode='jit'",
        ),
        (
            ["train", "--config=configs/digits.py", "--config.method.network.multipliers=1,2,2,2,2", "--dry-run"],
            "method.network.multipliers",
        ),
        (
            ["train", "--config=configs/toy2d.py", "--config.method.conditional=true", "--dry-run"],
            "method.conditional: true, but the data have neither labels nor captions",
        ),
        (["ablate", "experiments/nothing.py"], "there is no file experiments/nothing.py; experiments/ has "),
        (["report", "experiments/words.py", ""], "unrecognized arguments: '' is empty (an unset shell variable?)"),
        (["report", "experiments/words.py", "="], "unrecognized arguments: = ("),
        (["report", "experiments/words.py", " ", "--dry-run"], "it goes with train"),
        (["report", ""], "argument experiments/X.py: is empty (an unset shell variable?); give a value"),
        (["ablate", ""], "argument experiments/X.py: is empty (an unset shell variable?); give a value"),
        (["report", "--out=page.pdf"], "--out: page.pdf must end in .html"),
        (["prepare", "--config=configs/digits.py"], "nothing to prepare"),
        (["sample", "--workdir=/nowhere", "--out=x.png"], "/nowhere holds no run"),
        (["evaluate", "--workdir=/nowhere"], "/nowhere holds no run"),
    ],
)  # fmt: skip
def test_what_a_user_gets_wrong_is_one_line(words, said, capsys):
    assert said in one_line(capsys, *words)


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; "),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "no room to write here (Disk quota exceeded)"),
        (OSError(errno.EROFS, "Read-only file system", "x.png"), 2, "cannot write x.png (Read-only file system)"),
        (Taken("--workdir: x is in use"), TAKEN, "--workdir: x is in use"),
        (Diverged("step 3 was not finite"), 3, "step 3 was not finite"),
    ],
)
def test_however_a_command_ends_it_is_one_line(raised, status, said, capsys):
    def act(arguments):
        arguments.run, arguments.workdir = "abc", "here"
        raise raised

    assert cli.guarded("a command", act) == status
    err = capsys.readouterr().err
    assert err.startswith("a command: ") and err.count("\n") == 1 and said in err


def test_what_is_nobodys_mistake_is_no_line():
    def act(arguments):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        cli.guarded("a command", act)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num=0", "--out=x.png"], "--num: 0"),
        (["--num=-3", "--out=x.npz"], "--num: -3"),
        (["--out=x.jpg"], "must end in .png, .gif, .npz"),
        (["--label=1", "--out=x.png"], "trained without labels"),
        (["--guidance=2", "--out=x.png"], "needs a model trained with labels"),
        (["--out=x.png", "--config.train.steps=3"], "only sampler.*, eval.* and parallel.*"),
        (["--out=x.png", "--config.sampler.name=hein"], "did you mean 'heun'"),
        (["--out=x.png", "--step=3"], "no checkpoint at step 3; it has 7"),
        (["--out=x.png", "--ema=0.1"], "--ema: needs a run with ema.name='power'; this one has 'half_life'"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, said, points, capsys, tmp_path, monkeypatch):
    words = [word.replace("--out=", f"--out={tmp_path}/") for word in words]
    assert said in one_line(capsys, "sample", f"--workdir={points}", *words)
    assert not list(tmp_path.iterdir())


def test_a_label_out_of_range_is_one_line(digits, capsys, tmp_path):
    assert "--label: 10 must be from 0 to 9" in one_line(
        capsys, "sample", f"--workdir={digits}", "--label=10", f"--out={tmp_path}/x.png"
    )


def test_a_run_without_a_checkpoint_is_one_line(points, capsys, tmp_path):
    (tmp_path / "config.json").write_text((points / "config.json").read_text())
    assert "has no checkpoint yet" in one_line(capsys, "sample", f"--workdir={tmp_path}", f"--out={tmp_path}/x.png")


@pytest.mark.parametrize("command", ["ablate", "report"])
def test_the_configs_of_a_table_cannot_be_overridden(command, capsys):
    said = one_line(capsys, command, "experiments/words.py", "--config.seed=3")
    assert "--config.seed: a table's configs cannot be overridden; change experiments/words.py" in said


def test_an_unknown_metric_is_one_line(points, capsys):
    assert "'fidd' is unknown" in one_line(capsys, "evaluate", f"--workdir={points}", "--metrics=fidd")
    said = one_line(capsys, "evaluate", f"--workdir={points}", "--metrics=frechet_pixels")
    assert "needs a generator of images" in said


def test_the_dry_run_says_what_a_config_costs_and_writes_nothing(capsys, tmp_path, monkeypatch):
    words = ["train", "--config=configs/toy2d.py:moons", *SMALL, "--dry-run", f"--workdir={tmp_path}/run"]
    assert launch.main(words) == 0
    out = capsys.readouterr().out
    assert "parameters" in out and "FLOPs" in out and "memory" in out
    assert not (tmp_path / "run").exists()
    counted = next(line for line in out.splitlines() if line.startswith("FLOPs"))
    assert launch.main([*words, "--config.train.accumulate=4"]) == 0
    assert counted in capsys.readouterr().out  # as many in four parts


def test_the_dry_run_fetches_no_weights(monkeypatch, capsys):
    def opened(*_, **__):
        raise AssertionError("a feature network was opened")

    monkeypatch.setitem(FEATURES, "inception", opened)
    small = {"train__batch_size": 16, "method__network__channels": 8}
    words = [f"--config.{name.replace('__', '.')}={value}" for name, value in small.items()]
    metrics = "--config.eval.metrics=fid,inception_score"
    assert launch.main(["train", "--config=configs/digits.py", "--dry-run", metrics, *words]) == 0
    assert "FLOPs" in capsys.readouterr().out
    assert "unknown" in one_line(capsys, "train", "--config=configs/digits.py", "--dry-run", f"{metrics},fid:incepton")


@pytest.mark.parametrize(
    "words, said",
    [
        ("--config.eval.metrics=fidd", "eval.metrics: 'fidd' is unknown"),
        ("--config.eval.metrics=mode_recovery --config.eval.best=eval/fid", "eval.best"),
        ("--config.eval.metrics=5", "eval.metrics: '5' must be names separated by commas"),
        ("--config.train.init_from=/nowhere", "train.init_from"),
        ("--config.precision.compute=float64", "precision.compute: 'float64' needs JAX_ENABLE_X64=1"),
    ],
)
def test_the_dry_run_refuses_what_training_would(words, said, capsys):
    assert said in one_line(capsys, "train", "--config=configs/toy2d.py:moons", "--dry-run", *SMALL, *words.split())


def test_samples_become_a_picture_a_film_an_archive_and_a_folder(digits, tmp_path, capsys):
    for out in ("x.png", "x.gif", "x.npz", "folder/"):
        assert launch.main(["sample", f"--workdir={digits}", "--num=12", f"--out={tmp_path}/{out}"]) == 0
    assert Image.open(tmp_path / "x.png").size[0] > 100
    assert Image.open(tmp_path / "x.gif").n_frames >= 2
    archive = np.load(tmp_path / "x.npz")
    assert archive["x"].shape == (12, 8, 8, 1) and archive["x"].dtype == np.uint8
    np.testing.assert_array_equal(archive["label"], np.arange(12) % 10)
    files = sorted((tmp_path / "folder").glob("*.png"))
    assert len(files) == 12
    np.testing.assert_array_equal(np.asarray(Image.open(files[7])), archive["x"][7, :, :, 0])


def test_a_folder_holds_the_samples_of_one_call_and_nothing_else(digits, tmp_path, capsys):
    folder = tmp_path / "folder"
    words = ["sample", f"--workdir={digits}", f"--out={folder}/"]
    for num in (5, 3):
        assert launch.main([*words, f"--num={num}"]) == 0
        assert len(list(folder.glob("*.png"))) == num == json.loads((folder / "samples.json").read_text())["images"]
    Image.new("L", (8, 8)).save(folder / "cat.png")
    assert "--out: " in one_line(capsys, *words, "--num=3") and len(list(folder.iterdir())) == 5, "nothing is lost"


def test_samples_that_are_not_finite_are_noted_and_not_measured(digits, tmp_path, capsys, monkeypatch):
    joined = sampling.Generator.batches

    def diverging(*arguments, **options):
        return ((dataclasses.replace(part, not_finite=2), x) for part, x in joined(*arguments, **options))

    monkeypatch.setattr(sampling.Generator, "batches", diverging)
    for out in ("folder/", "x.npz"):
        assert launch.main(["sample", f"--workdir={digits}", "--num=4", f"--out={tmp_path}/{out}"]) == 0
        assert "2 samples are not finite" in capsys.readouterr().out
        words = ["evaluate", f"--samples={tmp_path}/{out.rstrip('/')}", "--reference=digits", "--features=pixels"]
        assert launch.main(words) == 3
        err = capsys.readouterr().err
        assert "--samples: 2 samples in" in err and err.count("\n") == 1


def test_a_few_samples_are_drawn_in_a_small_batch(digits):
    run = diffjax.load(digits)
    for num, batch in ((1, 1), (3, 4), (16, 16), (1000, 256)):
        assert sampling.batch_for(num, 256) == batch
    run.sample(3)
    assert {name[1] for name in run.experiment._made if name[0] == "generator"} == {4}


def test_sample_i_depends_neither_on_how_many_are_drawn_nor_on_the_batch(digits):
    run = diffjax.load(digits)
    whole = run.sample(20, batch_size=16)
    np.testing.assert_array_equal(run.sample(5, batch_size=16).x, whole.x[:5])
    assert np.abs(run.sample(20, batch_size=4).x.astype(int) - whole.x).max() <= 1  # other programs round otherwise
    assert (run.sample(20, seed=1, batch_size=16).x != whole.x).any()


def test_a_label_and_guidance_change_what_is_drawn(digits, tmp_path):
    ways = {"a": "--label=3", "b": "--label=4", "c": "--label=3 --guidance=3", "d": "--label=3 --guidance=1"}
    for name, words in ways.items():
        draw = ["sample", f"--workdir={digits}", "--num=4", f"--out={tmp_path}/{name}.npz", *words.split()]
        assert launch.main(draw) == 0
    a, b, c, d = (np.load(tmp_path / f"{name}.npz") for name in "abcd")
    assert set(a["label"]) == {3} and set(b["label"]) == {4}
    np.testing.assert_array_equal(a["x"], d["x"])
    assert (b["x"] != a["x"]).any() and (c["x"] != a["x"]).any()


def test_the_width_of_the_average_is_chosen_when_drawing_and_measuring(tmp_path, capsys):
    run = tmp_path / "run"
    config = {"train__steps": 14, "optim__warmup": 0.0, "ema__name": "power", "ema__snapshot_every": 64.0}
    train(tiny.points(**config, eval__metrics="()"), run)
    for width in ("0", "0.3", "-1", "nan"):
        said = one_line(capsys, "sample", f"--workdir={run}", f"--out={tmp_path}/x.png", f"--ema={width}")
        assert f"--ema: {width} is not the sigma_rel of any power function; must be above 0 and at most 0.288" in said
    for name, words in (("own", []), ("same", ["--ema=0.05"]), ("wide", ["--ema=0.2"])):
        assert launch.main(["sample", f"--workdir={run}", "--num=16", f"--out={tmp_path}/{name}.npz", *words]) == 0
    assert "weights: ema of sigma_rel 0.2, from 13 snapshots and step 14, residual 0.0" in capsys.readouterr().out
    own, same, wide = (np.load(tmp_path / f"{name}.npz")["x"] for name in ("own", "same", "wide"))
    np.testing.assert_allclose(same, own, atol=1e-5)
    assert np.abs(wide - own).max() > 1e-3
    for words in ([], ["--ema=0.2"]):
        assert launch.main(["evaluate", f"--workdir={run}", "--metrics=energy", "--num=50", *words]) == 0
    records = [json.loads(path.read_text())["provenance"]["weights"] for path in (run / "evals").glob("*.json")]
    assert sorted(record[:20] for record in records) == ["ema", "ema of sigma_rel 0.2"]


def test_a_notebook_gets_the_denoiser_and_the_process(points):
    import jax.numpy as jnp

    run = diffjax.load(points)
    x_t = run.process.corrupt(jnp.zeros((3, 2)), jnp.ones((3, 2)), jnp.full(3, 0.5))
    assert run.denoiser(x_t, jnp.full(3, 0.5)).x0.shape == (3, 2)
    assert run.sample(10).x.shape == (10, 2)


def test_evaluation_of_a_run_prints_a_table_and_keeps_it(points, capsys):
    before = set((points / "evals").glob("*.json"))
    assert launch.main(["evaluate", f"--workdir={points}", "--metrics=energy", "--num=50"]) == 0
    assert "energy_distance" in capsys.readouterr().out
    assert len(set((points / "evals").glob("*.json")) - before) == 1


def test_the_seed_of_an_evaluation_is_by_default_the_runs_and_another_draws_other_samples(points, tmp_path):
    found = []
    for i, words in enumerate(([], ["--seed=0"], ["--seed=5"])):
        out = tmp_path / f"{i}.json"
        words = [f"--workdir={points}", "--metrics=energy", "--num=50", f"--out={out}", *words]
        assert launch.main(["evaluate", *words]) == 0
        found.append(json.loads(out.read_text())["metrics"][0]["value"])
    assert found[0] == found[1] != found[2]


def test_sets_of_images_are_compared_as_a_given_classifier_sees_them(classifier, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=Digits().split("train").arrays()["x"][:64])
    words = [f"--samples={tmp_path}/x.npz", "--reference=digits", "--features=classifier", "--metrics=frechet"]
    assert "--classifier: " in one_line(capsys, "evaluate", *words)
    assert launch.main(["evaluate", *words, f"--classifier={classifier}", f"--out={tmp_path}/seen.json"]) == 0
    score = json.loads((tmp_path / "seen.json").read_text())["metrics"][0]
    assert score["name"] == "frechet_classifier" and score["value"] > 0


def test_a_run_is_drawn_from_at_the_step_asked_for_or_the_best(tmp_path, capsys):
    run = tmp_path / "run"
    best = {"eval__every": 7, "eval__best": "eval/energy_distance", "optim__warmup": 0.0}
    train(tiny.points(train__steps=14, **best), run)
    drawn = {}
    for step in ("", "7", "14", "best"):
        words = [f"--workdir={run}", "--num=9", f"--out={tmp_path}/x.npz", *([f"--step={step}"] if step else [])]
        assert launch.main(["sample", *words]) == 0
        drawn[step] = np.load(tmp_path / "x.npz")["x"]
    assert (drawn["7"] != drawn["14"]).any()
    np.testing.assert_array_equal(drawn[""], drawn["14"])
    chosen = json.loads((run / "result.json").read_text())["best"]["step"]
    np.testing.assert_array_equal(drawn["best"], drawn[str(chosen)])
    other = [f"--workdir={run}", "--step=best", f"--out={tmp_path}/other.npz", "--config.eval.best=eval/nfe"]
    said = one_line(capsys, "sample", *other)
    assert "--config.eval.best: 'eval/nfe' must be 'eval/energy_distance', whose best checkpoint this run has" in said


@pytest.fixture
def photo(tmp_path):
    """A photo of three times the model's size, and a mask of its lower half."""
    pixels = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, np.ones((3, 3), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(np.repeat(np.arange(24) >= 12, 24).reshape(24, 24)).save(tmp_path / "mask.png")
    return tmp_path / "photo.png"


def edited(run, photo, out, *words) -> np.ndarray:
    """What `sample --image` writes."""
    options = [f"--workdir={run}", f"--image={photo}", "--num=3", f"--out={photo.parent}/{out}", *words]
    assert launch.main(["sample", *options]) == 0
    return np.load(photo.parent / out)["x"] if out.endswith("npz") else np.asarray(Image.open(photo.parent / out))


def test_strength_zero_returns_the_photo_and_strength_one_ignores_it(digits, photo, tmp_path, capsys):
    same = edited(digits, photo, "same.npz", "--strength=0")
    assert "photo.png (24x24, grey): reduced to 8x8 (Lanczos, antialiased)\nstrength 0: " in capsys.readouterr().out
    shown = edited(digits, photo, "same.png", "--strength=0")
    assert (shown[2:58, 2:58] == shown[2:58, 60:116]).all()  # the photo comes first; an archive has samples only
    np.testing.assert_array_equal(same[1], same[0])
    new = edited(digits, photo, "new.npz", "--strength=1")
    assert launch.main(["sample", f"--workdir={digits}", "--num=3", "--batch=16", f"--out={tmp_path}/plain.npz"]) == 0
    np.testing.assert_array_equal(new, np.load(tmp_path / "plain.npz")["x"])
    edited(digits, photo, "film.gif", "--strength=0.5", "--label=3", "--guidance=2")
    assert Image.open(tmp_path / "film.gif").n_frames == 2  # the noised photo and the sample, of one step


DDIM = ["--config.sampler.name=ddim", "--config.sampler.steps=2"]  # smaller programs than Heun's


@pytest.mark.parametrize(
    "way",
    [["--resamples=2", "--jump=1"], pytest.param(["--inpaint=posterior"], marks=pytest.mark.slow)],
    ids=["repaint", "posterior"],
)
def test_a_mask_leaves_known_pixels_unchanged_to_the_last_bit(way, digits, photo, capsys):
    known = edited(digits, photo, "photo.npz", "--strength=0")[0, :4]
    painted = edited(digits, photo, "painted.npz", f"--mask={photo.parent}/mask.png", *way, *DDIM)
    np.testing.assert_array_equal(painted[:, :4], np.broadcast_to(known, (3, 4, 8, 1)))
    assert (painted[0, 4:] != painted[1, 4:]).any()
    assert "mask.png (24x24, black and white): 32 of 64 pixels will be painted" in capsys.readouterr().out


@pytest.mark.slow
def test_a_small_photo_is_enlarged_and_a_noisy_one_cleaned(digits, photo, capsys):
    small = edited(digits, photo, "small.npz", "--upscale=4", *DDIM).astype(float)
    given = np.asarray(Image.open(photo)).astype(float).reshape(2, 12, 2, 12).mean(axis=(1, 3))
    means = small.reshape(3, 2, 4, 2, 4).mean(axis=(2, 4))
    inside = (small.reshape(3, 2, 4, 2, 4) % 255 > 0).all(axis=(2, 4))  # where no pixel was clipped to the uint8 range
    np.testing.assert_allclose(means[inside], np.broadcast_to(given, means.shape)[inside], atol=1)
    barely = edited(digits, photo, "barely.npz", "--noise=0.01", *DDIM)
    np.testing.assert_allclose(barely[0].astype(int), edited(digits, photo, "p.npz", "--strength=0")[0], atol=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image={}", "--strength=-0.1"], "--strength: -0.1 must be in [0, 1]"),
        (["--image={}", "--strength=nan"], "--strength: nan must be in [0, 1]"),
        (["--image={}", "--mask={}/../small.png"], "is 8x8, the photo 24x24; must have the photo's size"),
        (["--image={}", "--mask={}/../nowhere.png"], "--mask: no such file"),
        (["--image={}/../nowhere.png", "--strength=0.5"], "--image: no such file"),
        (["--image={}/..", "--strength=0.5"], "is a folder; must be a picture"),
        (["--image={}", "--strength=1.5"], "--strength: 1.5 must be in [0, 1]"),
        (["--image={}/../text.png", "--strength=0.5"], "cannot be read as an image"),
        (["--image={}"], "given without an edit; add --strength"),
        (["--strength=0.5"], "--strength: needs a photo"),
        (["--image={}", "--strength=0.5", "--mask={}"], "only one of --strength, --mask, --noise and --upscale"),
        (["--image={}", "--strength=0.5", "--inpaint=repaint"], "--inpaint: needs a mask"),
        (["--image={}", "--mask={}", "--inpaint=posterior", "--jump=1"], "--jump: applies to --inpaint=repaint"),
        (["--image={}", "--mask={}", "--resamples=0"], "resamples: 0 must be at least 1"),
        (["--image={}", "--mask={}", "--jump=2"], "jump: 2 must be at least 0 and less than the 2 steps"),
        (["--image={}", "--mask={}", "--inpaint=crop"], "invalid choice: 'crop'"),
        (["--image={}", "--upscale=3"], "--upscale: 3 must be at least 2 and divide the sides of the model's 8x8"),
        (["--image={}", "--upscale=0"], "--upscale: 0 must be at least 2"),
        (["--image={}", "--noise=0"], "--noise: 0 must be a standard deviation above 0"),
    ],
)
def test_what_cannot_be_edited_is_one_line(words, said, digits, photo, capsys, tmp_path):
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture")
    words = [word.replace("{}/..", str(tmp_path)).replace("{}", str(photo)) for word in words]
    assert said in one_line(capsys, "sample", f"--workdir={digits}", f"--out={tmp_path}/x.png", *words)
    assert not (tmp_path / "x.png").exists()


def test_a_photo_for_points_or_a_gan_is_one_line(points, photo, capsys, tmp_path):
    words = [f"--image={photo}", "--strength=0.5", f"--out={tmp_path}/x.png"]
    said = one_line(capsys, "sample", f"--workdir={points}", *words)
    assert "--image: needs a diffusion model of images; this is a diffusion of points" in said
    gan = Run(tmp_path, Experiment.of(tiny.gan()), state=None)
    with pytest.raises(UserError, match="`image`: needs a diffusion model of images; this is a gan of images"):
        draw(gan, f"{tmp_path}/x.png", num=1, request=Request(image=photo, strength=0.5))


@pytest.mark.slow
def test_a_super_resolution_model_sees_the_small_photo_and_draws_without_one_too(photo, tmp_path, capsys):
    small = {"method__super_resolution": 4, "method__conditional": False, "train__steps": 2, "optim__warmup": 0.0}
    train(tiny.digits(**small, sampler__name="ddim", eval__metrics="()", sampler__steps=2), tmp_path / "run")
    seen = edited(tmp_path / "run", photo, "seen.npz")
    assert "photo.png (24x24, grey): reduced to 2x2 (means of areas, antialiased)" in capsys.readouterr().out
    assert (diffjax.load(tmp_path / "run").sample(3, batch_size=16).x != seen).any()


def test_a_super_resolution_that_cannot_be_is_one_line(capsys):
    for word, said in (
        ("super_resolution=3", "3 must be at least 2 and"),
        ("label_dropout=0.0", "0 must be above 0 for"),
    ):
        words = ["--config=configs/digits.py:super_resolution", f"--config.method.{word}", "--dry-run"]
        assert said in one_line(capsys, "train", *words)


def test_help_and_the_import_of_the_package_do_not_wait_for_jax():
    program = "import sys, diffjax, launch; launch.parser(); sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=tiny.ROOT).returncode == 0
