"""Words at the front door: a model of shapes is trained, drawn from by prompts, edits by them, and is measured."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import diffjax
import launch
from diffjax import attention
from diffjax.data import Shapes
from diffjax.data.shapes import parse
from diffjax.data.text import decode, encode
from diffjax.draw import rows_of
from diffjax.errors import UserError
from diffjax.measures import choose, words
from diffjax.metrics.alignment import alignment as judged
from diffjax.run import Experiment
from diffjax.sampling import Drawn
from diffjax.train import train
from diffjax.words import Words
from tests import tiny
from tests.test_launch import one_line

RED, BLUE = "a large red circle above a small blue square on white", "a small blue square on black"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny trained run that reads captions."""
    workdir = tmp_path_factory.mktemp("shapes")
    result = train(tiny.shapes(train__steps=4), workdir)
    assert 0 <= result["metrics"]["eval/alignment_exact"] <= 1  # what is watched in training
    assert "eval/alignment_colour_heldout" in result["metrics"]
    return workdir


def drawn(run, tmp_path, out, *options, num=6):
    assert launch.main(["sample", f"--workdir={run}", f"--num={num}", f"--out={tmp_path}/{out}", *options]) == 0
    return np.load(tmp_path / out) if out.endswith("npz") else np.asarray(Image.open(tmp_path / out))


def test_prompts_are_drawn_in_turn_long_empty_and_foreign_ones_too(run, tmp_path, capsys):
    texts = [RED, "", "круг", f"{RED} and nothing else at all"]
    several = drawn(run, tmp_path, "several.npz", *(f"--prompt={text}" for text in texts), num=8)
    assert several["caption"].tolist() == [RED, "", "круг", f"{RED} and nothing"] * 2
    assert f"is longer than the 65 bytes that this model reads: '{RED} and nothing'" in capsys.readouterr().out
    one = drawn(run, tmp_path, "one.npz", f"--prompt={RED}", num=5)
    np.testing.assert_array_equal(one["x"][::4], several["x"][::4])  # sample i is of (prompt, seed, i) alone
    assert one["x"].shape == (5, 16, 16, 3) and (one["x"][1] != several["x"][1]).any()


def test_a_picture_has_a_row_for_each_prompt_and_shows_a_photo_first():
    experiment = SimpleNamespace()  # its samples are shown as they are
    x = np.broadcast_to(np.arange(10, 80, 10, dtype=np.uint8)[:, None, None, None], (7, 16, 16, 3))
    drawn = Drawn(x, np.zeros((7, 8)), np.ones(7, int))
    one, two = (rows_of(prompts, experiment, drawn) for prompts in ((RED,), (RED, BLUE)))
    with_photo = rows_of((RED,), experiment, Drawn(x, np.zeros((6, 8)), np.ones(6, int)))
    assert one.shape[0] < two.shape[0] == with_photo.shape[0]  # one row; two rows; a row for the photo, and one
    assert one.shape[1] > two.shape[1] + 2 * 66  # seven columns, or four
    half = len(two) // 2
    for i in range(7):  # sample i is of prompt i mod 2
        there = [(part == 10 * (i + 1)).all(axis=-1).sum() >= 16 * 16 for part in (two[:half], two[half:])]
        assert there == [i % 2 == 0, i % 2 == 1]


def test_a_photo_is_edited_by_a_prompt(run, tmp_path, capsys):
    Image.fromarray(np.full((30, 40, 3), 255, np.uint8)).save(tmp_path / "photo.png")
    edit = (f"--image={tmp_path}/photo.png", "--strength=0.5", f"--prompt={RED}")
    assert drawn(run, tmp_path, "x.npz", *edit, num=2)["caption"].tolist() == [RED] * 2
    assert "photo.png (40x30, RGB): its middle 30x30 cut out, reduced to 16x16" in capsys.readouterr().out


@pytest.mark.slow
def test_guidance_and_a_negative_prompt_change_what_is_drawn_and_scale_one_does_not(run, tmp_path):
    ways = {"plain": [], "one": ["--guidance=1"], "three": ["--guidance=3"], "away": ["--guidance=3", "--negative=red"]}
    plain, one, three, away = (
        drawn(run, tmp_path, f"{way}.npz", f"--prompt={RED}", *words)["x"] for way, words in ways.items()
    )
    np.testing.assert_array_equal(plain, one)
    assert (three != plain).any() and (away != three).any()


def test_a_film_shows_where_each_word_is_attended_to(run, tmp_path):
    drawn(run, tmp_path, "x.gif", "--attention", f"--prompt={BLUE}", num=2)
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 2 and film.size[0] > 7 * 56  # a step each; x_t and six words
    opened = diffjax.load(run)
    captions = encode([BLUE, ""], 65)
    x_t, t = jnp.zeros((2, 16, 16, 3)), jnp.float32(0.5)
    shares = np.asarray(jax.jit(opened.experiment.method.attention)(opened.ema, x_t, t, captions))
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)
    assert (shares[1, ..., 1:] == 0).all()  # nothing but the token that begins it
    there = attention.words_of(captions[0])
    assert [word for word, _ in there] == BLUE.split() and there[1][1] == slice(3, 8)
    assert attention.words_of(captions[1]) == []


@pytest.mark.slow
def test_a_mask_is_painted_by_a_prompt_and_the_rest_stays(run, tmp_path):
    Image.fromarray(np.full((16, 16, 3), (255, 0, 0), np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.repeat(np.arange(16) >= 8, 16).reshape(16, 16)).save(tmp_path / "mask.png")
    edit = (f"--image={tmp_path}/photo.png", f"--mask={tmp_path}/mask.png", "--resamples=1")
    red, blue = (drawn(run, tmp_path, f"{p}.npz", *edit, f"--prompt={p}")["x"] for p in ("red", "blue"))
    assert (red[:, :8] == (255, 0, 0)).all() and (blue[:, :8] == (255, 0, 0)).all()
    assert (red[:, 8:] != blue[:, 8:]).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--guidance=-1"], "sampler.guidance.scale: -1.0 is negative"),
        (["--negative=red"], "--negative: nothing is guided away from it; give a --guidance other than 1"),
        (["--attention"], "--attention: is a film, and"),
        (["--label=1"], "--label: 1 given, but this model was trained without labels"),
        (["--prompt=a\0b"], "has a zero byte"),
        (["--prompt=a\udce9"], "is not UTF-8"),
    ],
)
def test_what_cannot_be_said_is_one_line(options, said, run, tmp_path, capsys):
    assert said in one_line(capsys, "sample", f"--workdir={run}", f"--out={tmp_path}/x.png", *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config=configs/shapes.py:17_two"], "shapes.py:17_two: no variant '17_two'; it is one of 16_one, 16_"),
        (["--config=configs/shapes.py", "--config.data.size=20"], "data.size: 20 is not one of 16, 32, 64"),
        (["--config=configs/shapes.py", "--config.data.objects=4"], "data.objects: (4,) must be numbers from 1 to 3"),
        (["--config=configs/shapes.py", "--config.method.network.text.name=none"], "method.network.text: none, but"),
        (["--config=configs/shapes.py", "--config.method.conditional=false"], "method.network.text: there is nothing"),
        (["--config=configs/digits.py", "--config.method.network.text.name=transformer"], "there is nothing to read"),
    ],
)
def test_what_cannot_be_trained_is_one_line(options, said, capsys):
    assert said in one_line(capsys, "train", "--dry-run", *options)


def test_words_for_a_model_without_text_are_one_line():
    experiment = Experiment.of(tiny.points(eval__metrics="()"))
    for asked, said in ((Words(("red",)), "--prompt: 'red'"), (Words((), "red"), "--negative: 'red'")):
        with pytest.raises(UserError, match=f"{said} given, but this model was trained without captions"):
            asked.checked(experiment.method, experiment.sampler)
    with pytest.raises(UserError, match="'alignment' needs a model of shapes that is shown captions"):
        choose(("alignment",), experiment)


def test_the_variety_of_rendered_scenes_is_one_and_that_of_one_picture_for_each_prompt_is_none():
    source = Shapes(num_train=256, num_heldout=256)
    prompts = list(dict.fromkeys(source.space.prompts))  # one or the other is there twice
    captions = encode(prompts * 2, source.space.caption)

    def found(x):
        e = SimpleNamespace(source=source)
        drawn = Drawn(x, captions[: len(x)], np.ones(len(x), int))
        (score,) = words.variety(SimpleNamespace(experiment=e, drawn=drawn, drawn_protocol={}, num=len(x)))
        assert score.name == "variety" and score.protocol == {"captions": len(prompts)}
        return score.value

    scenes = [parse(prompt) for prompt in prompts]
    one, two = (source.rendered(scenes, number) for number in (2, 3))
    assert not np.array_equal(one, two) and judged(prompts, one).exact == 1
    assert found(np.concatenate([one, one])) == 0
    np.testing.assert_allclose(found(np.concatenate([one, two])), 1, atol=0.1)
    with pytest.raises(UserError, match="no two prompts in common; for 'variety' take 512"):
        found(one)


def test_alignment_is_of_seen_and_held_out_captions_apart():
    source = Shapes(num_train=20, num_heldout=20)
    batches = [source.split(split).take(np.arange(10)) for split in ("train", "heldout")]
    x, captions = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "caption"))
    captions[15:] = encode([RED] * 5, source.space.caption)  # of training, and not what is there
    evidence = SimpleNamespace(
        experiment=SimpleNamespace(source=source),
        drawn=Drawn(x, captions, np.ones(20, int)),
        drawn_protocol={"generated": 20},
    )
    scores = {score.name: score for score in words.alignment(evidence)}
    assert tuple(scores) == words.of_alignment(evidence.experiment)
    assert scores["alignment_exact"].value == 10 / 15 and scores["alignment_exact_heldout"].value == 1
    assert scores["alignment_exact"].at_best == 1 and scores["alignment_exact"].protocol["captions"] == 15
    assert decode(captions[15:]) == [RED] * 5 and " as " in scores["alignment_shape"].meaning
