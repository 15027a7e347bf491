"""The front door: help for every command, and one line with status 2 for whatever a user got wrong."""

import numpy as np
import pytest
from PIL import Image

import diffjax
import launch
from diffjax.train import train
from tests import tiny

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


def one_line(capsys, *words) -> str:
    """What a command that must fail says: status 2, one line on stderr."""
    capsys.readouterr()
    assert launch.main([str(word) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("launch.py: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as done:
        launch.main([*command, "--help"])
    assert done.value.code == 0 and "--help" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys):
    assert launch.main([]) == 2
    assert "sample" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "--config=configs/digits.py"], "invalid choice: 'trian'"),
        (["train"], "--config"),
        (["train", "--config=configs/digits.py"], "--workdir: train needs a run directory"),
        (["train", "--config=configs/digit.py"], "no config file 'configs/digit.py'"),
        (["train", "--config=configs/digits.py", "--dryrun"], "did you mean --dry-run"),
        (["train", "--config=configs/digits.py", "--config.train.stepz=3"], "did you mean 'steps'"),
        (["train", "--config=configs/digits.py", "--config.train.steps"], "no value"),
        (["train", "--config=configs/digits.py", "--config.data.name=digit"], "did you mean 'digits'"),
        (["train", "--config=configs/digits.py", "--config.data.name=tfds:mnits", "--dry-run"], "data.name"),
        (["train", "--config=configs/digits.py", "--config.data.name=folder:nowhere", "--dry-run"], "nowhere"),
        (["train", "--config=configs/digits.py", "--config.train.batch_size=12", "--dry-run"], "train.batch_size: 12"),
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
            "method.conditional: the data set has no labels",
        ),
        (["ablate", "experiments/ddim_table1.py"], "not yet"),
        (["report"], "not yet"),
        (["prepare", "--config=configs/digits.py"], "nothing to prepare"),
        (["sample", "--workdir=/nowhere", "--out=x.png"], "/nowhere holds no run"),
        (["evaluate", "--workdir=/nowhere"], "/nowhere holds no run"),
    ],
)  # fmt: skip
def test_what_a_user_gets_wrong_is_one_line(words, said, capsys):
    assert said in one_line(capsys, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num=0", "--out=x.png"], "--num: 0"),
        (["--num=-3", "--out=x.npz"], "--num: -3"),
        (["--out=x.jpg"], "use .png, .gif, .npz"),
        (["--label=1", "--out=x.png"], "trained without labels"),
        (["--guidance=2", "--out=x.png"], "trained without labels"),
        (["--out=x.png", "--config.train.steps=3"], "only sampler.*, eval.* and parallel.*"),
        (["--out=x.png", "--config.sampler.name=hein"], "did you mean 'heun'"),
        (["--out=x.png", "--step=3"], "no checkpoint at step 3; it has 7"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(words, said, points, capsys, tmp_path, monkeypatch):
    words = [word.replace("--out=", f"--out={tmp_path}/") for word in words]
    assert said in one_line(capsys, "sample", f"--workdir={points}", *words)
    assert not list(tmp_path.iterdir())


def test_a_label_out_of_range_is_one_line(digits, capsys, tmp_path):
    assert "--label: 10 is out of range; 0 to 9" in one_line(
        capsys, "sample", f"--workdir={digits}", "--label=10", f"--out={tmp_path}/x.png"
    )


def test_a_run_without_a_checkpoint_is_one_line(points, capsys, tmp_path):
    (tmp_path / "config.json").write_text((points / "config.json").read_text())
    assert "has no checkpoint yet" in one_line(capsys, "sample", f"--workdir={tmp_path}", f"--out={tmp_path}/x.png")


def test_an_unknown_metric_is_one_line(points, capsys):
    assert "'fidd' is unknown" in one_line(capsys, "evaluate", f"--workdir={points}", "--metrics=fidd")
    assert "needs images" in one_line(capsys, "evaluate", f"--workdir={points}", "--metrics=frechet_pixels")


def test_the_dry_run_says_what_a_config_costs_and_writes_nothing(capsys, tmp_path, monkeypatch):
    words = ["train", "--config=configs/toy2d.py:moons", *SMALL, "--dry-run", f"--workdir={tmp_path}/run"]
    assert launch.main(words) == 0
    out = capsys.readouterr().out
    assert "parameters" in out and "FLOPs" in out and "memory" in out
    assert not (tmp_path / "run").exists()


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


def test_a_notebook_gets_the_denoiser_and_the_process(points):
    import jax.numpy as jnp

    run = diffjax.load(points)
    x_t = run.process.corrupt(jnp.zeros((3, 2)), jnp.ones((3, 2)), jnp.full(3, 0.5))
    assert run.denoiser(x_t, jnp.full(3, 0.5)).x0.shape == (3, 2)
    assert run.sample(10).x.shape == (10, 2)


def test_evaluation_of_a_run_prints_a_table_and_keeps_it(points, capsys):
    before = set((points / "evals").iterdir())
    assert launch.main(["evaluate", f"--workdir={points}", "--metrics=energy", "--num=50"]) == 0
    assert "energy_distance" in capsys.readouterr().out
    assert len(set((points / "evals").iterdir()) - before) == 1
