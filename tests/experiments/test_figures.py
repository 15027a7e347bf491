"""The pictures of the course: each command writes both of its files, from runs as short as can be."""

import builtins
import errno
import json
from itertools import combinations
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from diffjax.data import Space
from diffjax.data.gaussians import DROPS, Gaussians
from diffjax.diffusion import VPLinear
from diffjax.drawing.films import noised
from diffjax.errors import Diverged, Taken, UserError
from experiments.figures import feature_space, forger_and_policeman, forward_reverse, ink_drop, style
from experiments.figures.command import Picture, main
from experiments.figures.entropy import density, plane, total_variation
from experiments.figures.feature_space import drawing, film, measures

POINTS = (
    "--config.train.steps=4", "--config.train.batch_size=16", "--config.data.num_train=64",
    "--config.data.num_heldout=64", "--config.parallel.devices=1", "--config.eval.num=64",
    "--config.optim.decay=constant", "--config.eval.metrics=()",
)  # fmt: skip
DENOISER = ("--config.method.network.width=8", "--config.method.network.depth=1")
PLAYERS = ("--config.method.generator.width=8", "--config.method.discriminator.width=8")


def drawn(name, module, tmp_path, *words):
    """The film's frames; what is printed goes the usual way."""
    words = [f"--out={tmp_path}", f"--workdir={tmp_path / 'runs'}", *words]
    status = main(name, module.__doc__, module.draw, words, getattr(module, "more", lambda parser: None))
    assert status == 0
    with Image.open(tmp_path / f"{name}.png") as still:
        assert still.width == 1200
    with Image.open(tmp_path / f"{name}.gif") as film:
        assert film.width == 800
        return film.n_frames


def everywhere(monkeypatch, name, value):
    """Of the ink, in each of its modules that has it."""
    for module in (ink_drop, ink_drop.motion, ink_drop.drawing, ink_drop.film):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


@pytest.mark.slow
def test_the_ink_drop(tmp_path, monkeypatch, capsys):
    everywhere(monkeypatch, "TIMES", ink_drop.TIMES[::20])
    everywhere(monkeypatch, "SAMPLES", 500)
    monkeypatch.setattr(ink_drop.drawing, "SHOWN", [0, 1, 2])
    words = (*POINTS, *DENOISER, "--config.sampler.steps=3", "--config.eval.batch_size=500")
    assert drawn("ink_drop", ink_drop, tmp_path, *words) == 6  # three there, three back
    assert "of N(0, I) 4.0942" in capsys.readouterr().out


@pytest.mark.slow
def test_the_forger_and_the_policeman(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forger_and_policeman, "MOMENTS", 4)
    monkeypatch.setattr(forger_and_policeman, "CELLS", 5)
    monkeypatch.setattr(forger_and_policeman, "COUNTED", 50)
    words = (*POINTS, *PLAYERS, "--config.eval.batch_size=64")
    assert drawn("forger_and_policeman", forger_and_policeman, tmp_path, *words) == 5  # four, and the untrained one
    said = capsys.readouterr().out
    assert "step 0: " in said and "of 8 modes" in said


@pytest.fixture
def look():
    with style.look():
        yield


def test_what_is_drawn_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    with style.look():
        assert matplotlib.rcParams["text.color"] == style.ink
        style.pixels(style.figure(height=1), style.FILM)
    assert dict(matplotlib.rcParams) == before


def test_samples_are_as_far_from_a_drop_as_the_drop_they_are_of(monkeypatch):
    """By chance alone, 10,000 are 0.05 away from their own; the blur brings different drops nearer by as little."""
    everywhere(monkeypatch, "TIMES", [0.0])
    points, area = plane()
    for name, of in (("splash", "splash"), ("splash", "pair"), ("streak", "pair")):
        samples = ink_drop.of_samples(DROPS[name].sample(np.random.RandomState(0), 10_000), sigma=0.0)
        found = ink_drop.from_drop([samples], DROPS[of], VPLinear())
        exact = total_variation(density(DROPS[name], points), density(DROPS[of], points), area)
        np.testing.assert_allclose(found, exact, atol=0.06)


def still_ink():
    """Ink that does not move, at two times."""
    return ink_drop.motion.Motion(np.zeros((2, 9, 2)), np.ones(2), [np.zeros((2, ink_drop.motion.TRAILS, 2))])


@pytest.mark.usefixtures("look")
def test_every_drop_that_is_told_apart_has_a_row_with_its_name(monkeypatch):
    everywhere(monkeypatch, "TIMES", np.array([0.0, 1.0]))
    monkeypatch.setattr(ink_drop.drawing, "SHOWN", [0, 1])
    monkeypatch.setattr(style, "pixels", lambda figure, dpi: figure)
    densities = {drop: [np.full((9, 9), 3.0)] * 2 for drop in DROPS}
    apart = {pair: [1.0, 0.0] for pair in combinations(DROPS, 2)}
    figure = ink_drop.drawing.still("pair", still_ink(), still_ink(), densities, np.ones(2), apart)
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert rows[0] == "the pair spreads,\nleft to right"
    assert [row for row in rows if "'s\ndensity" in row] == ["the splash's\ndensity", "the streak's\ndensity"]


def test_the_tail_of_a_particle_is_its_way_since_the_moment_before(monkeypatch):
    """In small moves, late as well, when one moment is as long as it takes to cross the bowl; and either way."""
    everywhere(monkeypatch, "SAMPLES", 200)
    motion, trails = ink_drop.brownian(DROPS["splash"], VPLinear(), 0), ink_drop.motion.TRAILS
    last = len(motion.x) - 1
    for past in ([last - 1, last], [3, 4], [4, 3]):
        tails = ink_drop.film.tails(motion, past)
        np.testing.assert_array_equal(tails[[0, -1]], motion.x[past, :trails])
    np.testing.assert_array_equal(ink_drop.film.tails(motion, [7]), motion.x[[7], :trails])
    assert max(np.abs(np.diff(way, axis=0)).max() for way in motion.ways) < 1.2  # the bowl is 5.4 wide


@pytest.mark.usefixtures("look")
def test_the_film_of_the_ink_has_two_drops_side_by_side(monkeypatch):
    everywhere(monkeypatch, "TIMES", np.array([0.0, 1.0]))
    motion, p = still_ink(), [np.full((9, 9), 3.0)] * 2
    drop, other, model = (ink_drop.Cloud("", colour, motion, p) for colour in (style.blue, style.green, style.orange))
    there, back = (ink_drop.Scene(clouds, [motion.bits], "", motion.bits) for clouds in ([drop, other], [model, drop]))
    frames = ink_drop.frames(there, back)
    for frame, colours in zip(frames, [(style.blue, style.green)] * 2 + [(style.orange, style.blue)] * 2, strict=True):
        left, middle, _ = thirds(frame)
        assert has(left, colours[0]) and not has(left, colours[1])
        assert has(middle, colours[1]) and not has(middle, colours[0])


@pytest.mark.usefixtures("look")
def test_the_film_of_the_game_says_which_colour_is_whose():
    """Nothing is drawn yet, and a policeman who knows nothing: what has colour is the key."""
    losses = {"step": np.array([1, 2]), "d_loss": np.ones(2), "g_loss": np.ones(2)}
    game = forger_and_policeman.Game(np.zeros((0, 2)), (-1.0, 1.0, -1.0, 1.0), losses, True)
    cells = forger_and_policeman.CELLS
    moment = forger_and_policeman.Moment(1, np.zeros((0, 2)), np.full((cells, cells), 0.5))
    points, verdicts, _ = thirds(forger_and_policeman.frame(game, moment))
    for key in (points, verdicts):
        assert has(key, style.blue) and has(key, style.orange)


def thirds(picture):
    return np.array_split(picture, 3, axis=1)


def has(picture, colour):
    """Whether some pixel is of a colour, "#rrggbb", or as good as that."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - wanted).max(axis=-1) < 20).any())


@pytest.mark.usefixtures("look")
def test_noise_has_the_colours_of_what_it_becomes_and_covers_no_ticks():
    x = np.array([[171.0, 74.0, 150.0], [171.0, 74.0, -200.0], [180.0, 80.0, 150.0]])
    becomes = np.array([[171.0, 74.0, 450.0], [171.0, 74.0, 0.0], [180.0, 80.0, 0.0]])
    axes, points = style.figure(height=3).add_subplot(projection="3d"), {}
    scatter = axes.scatter
    axes.scatter = lambda *xyz, **how: points.update({how["label"]: np.stack(xyz, -1)}) or scatter(*xyz, **how)
    drawing.draw_clouds(axes, Gaussians("winged"), x, -60.0, becomes)
    assert {name: found.tolist() for name, found in points.items()} == {
        "winged": [x[0].tolist()], "neither": [], "people": [x[2].tolist()],
    }  # fmt: skip


def test_arrows_of_scores_end_before_the_next_begin():
    """And point where the score does."""
    y = np.stack(np.meshgrid(*[np.linspace(-4, 4, 7)] * 2), -1)
    field = measures.Field(np.zeros((4, 4)), -y @ np.linalg.inv([[1.0, 0.8], [0.8, 1.0]]))
    arrows = drawing.shortened(field.score)
    lengths = np.linalg.norm(arrows, axis=-1)
    np.testing.assert_allclose(arrows * lengths[..., None], field.score, atol=1e-12)
    assert 0.8 / 6 < lengths.max() / drawing.scale_of(field, field) < 1 / 6


@pytest.mark.slow
@pytest.mark.timeout(900)  # two networks, two samplers and two likelihoods are compiled
def test_the_feature_space(tmp_path, monkeypatch, capsys):
    for module, small in (
        (feature_space, {"SAMPLES": 40, "DRAWN": 20}),
        (measures, {"CELLS": 4, "ARROWS": 3, "LATENTS": 20, "WEIGHTS": 5, "POINTS": 4, "WINGED": 50.0}),
        (film, {"IN_FILM": 20, "FEWER": 2, "STEPS": 4, "NOISY": -5.0}),
    ):
        for name, value in small.items():
            monkeypatch.setattr(module, name, value)
    words = (*POINTS, *DENOISER, "--config.sampler.steps=3", "--config.eval.batch_size=40")
    # Log-SNRs of -4.3, 0.3 and 5, that of -9 being of noise alone, and of five latents each fourth.
    assert drawn("feature_space", feature_space, tmp_path, *words) == 5
    assert "171 cm, 74 kg: 9" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)  # a network is compiled to be trained, and twice to be drawn from
@pytest.mark.parametrize("wings, said", [(0.0, "no winged beings"), (500.0, "no people")])
def test_a_model_that_draws_only_one_cloud_has_nothing_between_two(monkeypatch, wings, said):
    monkeypatch.setattr(measures, "flow", lambda run: lambda z: np.full(z.shape, wings))
    run = SimpleNamespace(experiment=SimpleNamespace(source=Gaussians("winged")))
    with pytest.raises(UserError, match=f"train.steps: the model draws {said}; train longer"):
        measures.way(run, 0)


def test_forward_and_reverse_of_any_run_of_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forward_reverse, "FRAMES", 3)
    words = [word for word in POINTS if "data" not in word] + [
        "--config=configs/digits.py:ddpm", "--config.method.network.channels=4",
        "--config.method.network.multipliers=(1,)", "--config.sampler.steps=4",
        "--config.eval.batch_size=64", "--config.train.sample_every=0",
    ]  # fmt: skip
    assert drawn("forward_reverse", forward_reverse, tmp_path, *words) == 6  # three there, two back, the samples
    said = capsys.readouterr().out
    assert "t = 1 of 1000: x_t = 1.00 x₀ + 0.01 ε" in said and "t = 1000 of 1000: x_t = 0.01 x₀ + 1.00 ε" in said
    assert drawn("forward_reverse", forward_reverse, tmp_path, "--config.sampler.steps=2") == 6  # the finished run
    workdir = f"--workdir={tmp_path / 'runs'}"
    wrong = [workdir, "--config.train.steps=9"]
    assert main("forward_reverse", "", forward_reverse.draw, wrong, forward_reverse.more) == 2
    assert "only sampler.* can be changed" in capsys.readouterr().err


def test_what_is_left_of_an_image_and_its_noise_add_up():
    method = SimpleNamespace(space=Space("images", (8, 8, 1)))
    run = SimpleNamespace(process=VPLinear(), experiment=SimpleNamespace(method=method))
    x0, eps = np.random.RandomState(0).uniform(-0.5, 0.5, (2, 1, 8, 8, 1)).astype(np.float32)
    for t in (0.001, 0.3, 1.0):
        image, noise, x_t = (part.astype(float) - 127.5 for part in noised(run, x0, eps, t))
        np.testing.assert_allclose(image + noise, x_t, atol=1.5)  # each of the three is rounded
    np.testing.assert_allclose(noised(run, x0, eps, 1e-6).image, 127.5 * x0 + 127.5, atol=1)
    np.testing.assert_allclose(noised(run, x0, eps, 1.0).noise, 127.5 * eps / 2 + 127.5, atol=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.data.name=digits"], "data.name: 'digits' is no drop; it is gaussians:splash"),
        (["--config.train.step=4"], "train.step"),
        (["--seed=-1"], "--seed: -1"),
        (["--outt=x"], "did you mean '--out'?"),
    ],
)
def test_a_mistake_is_one_line(words, said, capsys):
    assert main("ink_drop", "", ink_drop.draw, words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("ink_drop: ") and said in lines[0]


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what is complete is kept, and the same command makes the rest"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 2, "no room to write x.png (No space left on"),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), 2, "cannot open x.png (Permission denied)"),
        (Taken("--workdir: x is in use by a live process (pid 1)"), 2, "in use by a live process"),
        (Diverged("step 3 was not finite"), 3, "step 3 was not finite"),
    ],
)
def test_however_a_command_ends_it_is_one_line(raised, status, said, capsys):
    def draw(arguments, overrides):
        raise raised

    assert main("ink_drop", "", draw, []) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("ink_drop: ") and said in lines[0]


@pytest.mark.usefixtures("look")
def test_where_the_pictures_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    picture = Picture(np.zeros((2, 2, 3), np.uint8), [np.zeros((2, 2, 3), np.uint8)] * 2, 1.0, [])
    assert main("ink_drop", "", lambda *_: picture, [f"--out={tmp_path}/file/in"]) == 2
    assert f"ink_drop: cannot write {tmp_path}/file" in capsys.readouterr().err


def test_a_run_that_failed_is_not_drawn(tmp_path, capsys):
    result = {"status": "failed", "reason": "step 7 was not finite; the last good checkpoint is step 5"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main("forward_reverse", "", forward_reverse.draw, [f"--workdir={tmp_path}"], forward_reverse.more) == 2
    said = f"forward_reverse: --workdir: the run in {tmp_path} failed (step 7 was not finite; the last good "
    assert capsys.readouterr().err.startswith(said)


def test_drops_that_stay_apart_are_not_said_to_be_lost(monkeypatch):
    everywhere(monkeypatch, "TIMES", np.array([0.0, 0.5, 1.0]))
    assert ink_drop.when_lost([0.9, 0.009, 0.001]) == "below 0.01 from t = 0.5"
    assert ink_drop.when_lost([0.9, 0.5, 0.2]) == "not below 0.01 at any t"


def test_losses_are_read_but_for_a_line_that_is_being_written(tmp_path):
    lines = [{"step": 1, "d_loss": 1.0, "g_loss": 2.0}, {"step": 2, "eval/modes": 8.0}]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(whole + '{"step": 3, "d_lo')
    found = forger_and_policeman.losses(tmp_path / "metrics.jsonl")
    assert {name: values.tolist() for name, values in found.items()} == {"step": [1], "d_loss": [1.0], "g_loss": [2.0]}


def test_without_matplotlib_it_is_said_what_to_install(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main("ink_drop", "", ink_drop.draw, [f"--workdir={tmp_path / 'runs'}"]) == 2
    assert "pip install -e '.[figures]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
