"""Words at the front door: a model of shapes is trained, drawn from by prompts, edits by them, and is measured."""

import json
from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import diffjax
import launch
from diffjax import config as configs
from diffjax.data import Folder, Shapes
from diffjax.data.shapes import parse
from diffjax.data.text import decode, encode
from diffjax.drawing import attention, films, pictures
from diffjax.drawing.sheets import by_prompt, captioned
from diffjax.errors import UserError
from diffjax.evaluation import choose, words
from diffjax.experiment import Experiment
from diffjax.inference.conditioning import conditioned
from diffjax.inference.sampling import Drawn
from diffjax.methods import Diffusion
from diffjax.methods.attention import attention_maps
from diffjax.metrics.alignment import alignment as judged
from diffjax.training.loop import train
from tests import tiny
from tests.commands import one_line

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


def grey(*values):
    """Images of one grey each."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 16, 16, 3))


def tiles(sheet, value):
    """How many tiles of one grey are in a sheet, whatever is written beside them."""
    return (sheet == value).all(axis=-1).sum() // 64**2


def test_a_picture_has_a_row_for_each_prompt_and_shows_a_photo_first():
    sevens = Drawn(grey(*range(10, 80, 10)), encode([RED, BLUE] * 4, 65)[:7], np.ones(7, int))
    one, two = (by_prompt(prompts, sevens) for prompts in (1, 2))
    with_photo = by_prompt(1, sevens, grey(200, 210))
    assert one.shape[0] < two.shape[0] == with_photo.shape[0]  # one row; two rows; a row for the photo, and one
    assert one.shape[1] > two.shape[1] + 2 * 66  # seven columns, or four
    half = len(two) // 2
    for i in range(7):  # sample i is of prompt i mod 2
        assert [tiles(part, 10 * (i + 1)) for part in (two[:half], two[half:])] == [i % 2 == 0, i % 2 == 1]
    assert [tiles(with_photo[:half], value) for value in (200, 210, 10)] == [1, 1, 0]
    folded = by_prompt(1, Drawn(grey(*range(20)), encode([RED] * 20, 65), np.ones(20, int)))
    assert folded.shape[1] == one.shape[1] + 66 and folded.shape[0] > 3 * 64  # eight, eight and four below each other
    assert (folded[:, :-530] != pictures.MOUNT).any(axis=(1, 2))[len(folded) // 3 :].sum() == 0  # one label, at the top
    for sheet in (two, with_photo):
        assert not (sheet == 255).any()  # where a row has no more, there is paper: white would pass for a sample


def test_every_sample_is_above_its_own_caption_whatever_was_given_before_them(monkeypatch):
    """None is left out, of more than a screen of them."""
    forty = Drawn(grey(*range(10, 50)), encode([f"{i}" for i in range(39)] + [""], 65), np.ones(40, int))
    sheets = []
    monkeypatch.setattr(pictures, "grid", lambda x, columns, captions: sheets.append((x.mean((1, 2, 3)), captions)))
    captioned(forty, grey(200, 210))
    captioned(forty)
    numbers = [*map(str, range(39)), '""']
    (edited, above_edited), (plain, above_plain) = sheets
    assert edited.tolist() == [200, 210, *range(10, 50)] and above_edited == ["given", "given", *numbers]
    assert plain.tolist() == [*range(10, 50)] and above_plain == numbers


@pytest.fixture
def photo(tmp_path):
    """A photo of the model's size, and a mask of its right half."""
    Image.fromarray(np.full((16, 16, 3), (255, 0, 0), np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.tile(np.arange(16) >= 8, (16, 1))).save(tmp_path / "mask.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("out", "way", "num"),
    [
        ("x.png", "strength", 3),
        ("x.gif", "mask", 40),
        pytest.param("x.gif", "strength", 40, marks=pytest.mark.slow),
        pytest.param("x.png", "mask", 3, marks=pytest.mark.slow),
    ],
)
def test_a_photo_is_edited_without_a_prompt_by_the_datas_own(out, way, num, run, photo, tmp_path):
    """What is given has no caption: it shifts none, and none is lacking."""
    edit = {"strength": ["--strength=0.5"], "mask": [f"--mask={tmp_path}/mask.png", "--resamples=1"]}[way]
    shown = drawn(run, tmp_path, out, f"--image={photo}", *edit, num=num)
    given = 1 if way == "strength" else 2
    lines = -(-(num + given) // 8)
    assert shown.shape[0] > lines * 66 and shown.shape[0] < (lines + 1) * 130


def test_a_photo_is_edited_by_a_prompt(run, tmp_path, capsys):
    Image.fromarray(np.full((30, 40, 3), 255, np.uint8)).save(tmp_path / "photo.png")
    edit = (f"--image={tmp_path}/photo.png", "--strength=0.5", f"--prompt={RED}")
    archive = drawn(run, tmp_path, "x.npz", *edit, num=2)
    assert archive["caption"].tolist() == [RED] * 2 and ", edits of " in str(archive["asked"])
    assert "photo.png (40x30, RGB): cropped to its middle 30x30, reduced to 16x16" in capsys.readouterr().out


def sampled(run, folder, *options):
    assert launch.main(["sample", f"--workdir={run}", f"--out={folder}/", *options]) == 0
    return json.loads((folder / "samples.json").read_text())


def test_a_folder_of_samples_knows_their_prompts_and_can_be_trained_on(run, tmp_path):
    note = sampled(run, tmp_path / "a", f"--prompt={RED}", "--prompt=", "--prompt=круг", "--num=5")
    texts = [RED, "", "круг"]
    assert note["prompts"] == texts and note["labels"].startswith("prompt i modulo 3 of ") and "edit" not in note
    read = Folder(str(tmp_path / "a"), caption=".txt").everything().arrays()
    assert decode(read["caption"]) == [*texts, RED, ""] and read["x"].shape == (5, 16, 16, 3)
    own = sampled(run, tmp_path / "a", "--num=2")
    first = decode(Folder(str(tmp_path / "a"), caption=".txt").everything().take(np.arange(2))["caption"])
    assert own["prompts"][:2] == first and RED not in first


def test_a_folder_of_edits_says_what_was_edited_and_how(run, photo, tmp_path):
    note = sampled(run, tmp_path / "a", f"--image={photo}", "--strength=0.5", "--num=1", "--prompt=red")
    assert note["edit"]["image"] == str(photo) and note["edit"]["strength"] == 0.5
    assert note["edit"]["done"][0].endswith("photo.png (16x16, RGB): unchanged")
    assert note["labels"].startswith("prompt i modulo 1 of ") and ", edits of " in note["labels"]
    assert (tmp_path / "a" / "000000.txt").read_text() == "red"


@pytest.mark.slow
def test_guidance_and_a_negative_prompt_change_what_is_drawn_and_scale_one_does_not(run, tmp_path):
    ways = {"plain": [], "one": ["--guidance=1"], "three": ["--guidance=3"], "away": ["--guidance=3", "--negative=red"]}
    plain, one, three, away = (
        drawn(run, tmp_path, f"{way}.npz", f"--prompt={RED}", *words)["x"] for way, words in ways.items()
    )
    np.testing.assert_array_equal(plain, one)
    assert (three != plain).any() and (away != three).any()


def test_a_film_shows_where_each_word_is_attended_to(run, tmp_path, capsys):
    drawn(run, tmp_path, "x.gif", "--attention", f"--prompt={BLUE}", "--prompt=", num=6)
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 3 and film.size[0] > 7 * 56  # two steps and the sample; x_t and six words
    assert "only the first of the 6 are drawn\nwrote 4 samples" in capsys.readouterr().out


def test_the_film_of_attention_ends_with_the_samples_and_says_where_each_frame_is(
    run, photo, tmp_path, monkeypatch, capsys
):
    frames, under = [], []
    whole = pictures.table

    def seen(rows, captions, title):
        frames.append((np.asarray(rows[1])[0], rows[0], captions[0], title))
        under.append(captions[1])
        return whole(rows, captions, title=title)

    monkeypatch.setattr(pictures, "table", seen)
    edit = (f"--image={photo}", "--strength=1", f"--prompt={BLUE}")
    drawn(run, tmp_path, "x.gif", "--attention", *edit, num=1)
    assert [title for *_, title in frames] == ["step 1 of 2, t = 1.00", "step 2 of 2, t = 0.50", "finished, t = 0.00"]
    np.testing.assert_array_equal(frames[-1][0], drawn(run, tmp_path, "x.npz", *edit, num=1)["x"][0])
    for _, given, captions, _ in frames:
        assert (given == (255, 0, 0)).all() and captions == ["given"]
    for said in under:  # each word, and the share of attention that is white
        assert said[0] == "" and [text.split("\n")[0] for text in said[1:]] == BLUE.split()
        assert all(0 < int(text.removesuffix(" %").split("\n")[1]) <= 100 for text in said[1:])
    still = ("--attention", "--strength=0", *edit[::2], f"--out={tmp_path}/y.gif")
    assert "--attention: this sampler takes no steps, so there is no attention (--strength must" in one_line(
        capsys, "sample", f"--workdir={run}", *still
    )


def test_held_out_images_keep_their_captions_while_they_are_drowned(run, monkeypatch):
    opened, captions = diffjax.load(run), []
    monkeypatch.setattr(
        "diffjax.drawing.films._block", lambda _, drawn: captions.append(decode(drawn.label)) or drawn.x[0]
    )
    films.forward(opened, num=3, count=2, seed=0)
    real = opened.experiment.source.split("heldout").take(np.arange(3))
    assert len(captions) == 2 * 3 and all(said == decode(real["caption"]) for said in captions)


def test_what_words_are_attended_to_adds_up(run):
    opened = diffjax.load(run)
    captions = encode([BLUE, ""], 65)
    x_t, t = jnp.zeros((2, 16, 16, 3)), jnp.float32(0.5)
    shares = np.asarray(jax.jit(partial(attention_maps, opened.experiment.method))(opened.ema, x_t, t, captions))
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)
    assert (shares[1, ..., 1:] == 0).all()  # nothing but the token that begins it
    there = attention.words_of(captions[0])
    assert [word for word, _ in there] == BLUE.split() and there[1][1] == slice(3, 8)
    assert attention.words_of(captions[1]) == []


def test_the_map_of_attention_lies_as_the_image_does(run, monkeypatch):
    """Of a network whose pixels attend to known bytes, in one layer of 4x4 cells and one of single pixels."""
    opened, length = diffjax.load(run), 65
    cells = np.arange(4 * 4) + 1  # the top left cell attends to the first byte, its right neighbour to the second, ...

    class Known(nn.Module):
        @nn.compact
        def __call__(self, x, *_):
            for tokens in (cells, np.zeros(256, int)):
                weights = jax.nn.one_hot(jnp.broadcast_to(tokens, (len(x), 1, len(tokens))), 1 + length)
                self.sow("intermediates", f"of_{len(tokens)}", weights)
            return x

    monkeypatch.setattr(Diffusion, "make", lambda *_: Known())
    x_t, t = jnp.zeros((2, 16, 16, 3)), jnp.float32(0.5)
    shares = attention_maps(opened.experiment.method, opened.ema, x_t, t, encode([BLUE, RED], length))
    read = np.asarray(shares[..., 1:].argmax(axis=-1)) + 1
    np.testing.assert_array_equal(read, np.broadcast_to(cells.reshape(4, 4).repeat(4, 0).repeat(4, 1), read.shape))
    np.testing.assert_allclose(shares[..., 0], 0.5)
    np.testing.assert_allclose(shares[..., 1:].max(axis=-1), 0.5)


@pytest.mark.slow
def test_a_mask_is_painted_by_a_prompt_and_the_rest_stays(run, photo, tmp_path):
    edit = (f"--image={photo}", f"--mask={tmp_path}/mask.png", "--resamples=1")
    red, blue = (drawn(run, tmp_path, f"{p}.npz", *edit, f"--prompt={p}")["x"] for p in ("red", "blue"))
    assert (red[:, :, :8] == (255, 0, 0)).all() and (blue[:, :, :8] == (255, 0, 0)).all()
    assert (red[:, :, 8:] != blue[:, :, 8:]).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--guidance=-1"], "--guidance: -1.0 must be finite and at least 0"),
        (["--guidance=nan"], "--guidance: nan must be finite and at least 0"),
        (["--negative=red"], "--negative: needs classifier-free guidance above 1; give --guidance above 1, such as 3"),
        (["--negative=red", "--guidance=1"], "--negative: needs classifier-free guidance above 1; give --guidance"),
        (["--negative=red", "--guidance=0.5"], "--negative: guidance 0.5 leads towards the prompt; it must be above 1"),
        (["--negative=red", "--guidance=0"], "--negative: guidance 0 leads towards the prompt; it must be above 1,"),
        (
            ["--negative=red", "--config.sampler.guidance.name=classifier_free", "--config.sampler.guidance.scale=0.5"],
            "--negative: guidance 0.5 leads towards the prompt",
        ),
        (
            ["--num=2", *(f"--prompt={word}" for word in ("a", "b", "c"))],
            "--num: 2 is too few for 3 prompts; must be at least 3",
        ),
        (["--attention"], "--attention: writes a film; --out="),
        (["--label=1"], "--label: 1 given, but this model draws by caption; use --prompt"),
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
        (["--config=configs/shapes.py", "--config.data.size=20"], "data.size: 20; must be one of 16, 32, 64"),
        (["--config=configs/shapes.py", "--config.data.objects=4"], "data.objects: (4,); must be numbers from 1 to 3"),
        (
            ["--config=configs/shapes.py", "--config.method.network.text.name=none"],
            "method.network.text: must not be none",
        ),
        (
            ["--config=configs/shapes.py", "--config.method.conditional=false"],
            "method.network.text: must be none, as method.conditional is false; or make that true, on data with",
        ),
        (
            ["--config=configs/digits.py:conditional", "--config.method.network.text.name=transformer"],
            "method.network.text: must be none, as these data have no captions; or set data.caption where there is "
            "one, as in --config.data.caption='a handwritten {}'",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(options, said, capsys):
    assert said in one_line(capsys, "train", "--dry-run", *options)


def test_words_for_a_model_without_text_are_one_line():
    experiment = Experiment.of(tiny.points(eval__metrics="()"))
    for field, asked in (("prompt", {"prompts": ("red",)}), ("negative", {"negative": "red"})):
        with pytest.raises(UserError, match=f"`{field}`: 'red' given, but this model was trained without captions"):
            conditioned(experiment.method, experiment.sampler, **asked)
    with pytest.raises(UserError, match="'alignment' needs a model of shapes that is shown captions"):
        choose(("alignment",), experiment)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "gan_shapes",
            "`attention`: needs a diffusion model; a gan reads a pooled caption and does not attend",
        ),
        ("toy2d", "`attention`: needs a diffusion model with captions; this is a diffusion without"),
    ],
)
def test_attention_where_there_is_none_is_one_line(method, said):
    experiment = Experiment.of(configs.load(f"configs/{method}.py"))
    with pytest.raises(UserError, match=said):
        attention.check(SimpleNamespace(experiment=experiment), "x.gif")


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
    black, dark, darker = (np.full_like(one, grey) for grey in (0, 20, 40))
    np.testing.assert_allclose(found(np.concatenate([black, darker])), 4 * found(np.concatenate([black, dark])))
    scale = ((source.rendered(scenes, 0).astype(float) - source.rendered(scenes, 1)) ** 2).mean()
    np.testing.assert_allclose(found(np.concatenate([black, dark])), 20**2 / scale)
    with pytest.raises(UserError, match="0 prompts have two, and 'variety' needs two that have"):
        found(one)


def test_a_picture_of_confusion_has_a_row_for_what_was_wanted_and_is_darker_where_it_was_seen_more(monkeypatch):
    circle, square = "a large red circle on white", "a large red square on white"
    (circles,), (squares,) = (Shapes().rendered([parse(text)], 0) for text in (circle, square))
    found = judged([circle] * 4 + [square] * 2, np.stack([circles] * 3 + [squares] * 3))
    sheets, whole = [], pictures.grid

    def seen(tiles, **kwargs):
        sheets.append((tiles, kwargs))
        return whole(tiles, **kwargs)

    monkeypatch.setattr(pictures, "grid", seen)
    assert words.confusion(found, "shape").ndim == 3
    ((tiles, said),) = sheets
    assert tiles[:, 0, 0, 0].tolist() == [64, 191, 255, 0] and (tiles == tiles[:, :1, :1]).all()
    assert said["columns"] == 2 and said["rows"] == ["wanted circle", "wanted square"]
    assert said["captions"] == ["circle: 3", "square: 1", "circle: 0", "square: 2"]


def test_alignment_is_of_seen_and_held_out_captions_apart():
    source = Shapes(num_train=20, num_heldout=20)
    batches = [source.split(split).take(np.arange(10)) for split in ("train", "heldout")]
    x, captions = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "caption"))
    captions[15:] = encode([RED] * 5, source.space.caption)  # of training, and not what is there
    evidence = SimpleNamespace(
        experiment=SimpleNamespace(source=source),
        drawn=Drawn(x, captions, np.ones(20, int)),
        drawn_protocol={"generated": 20},
        pictures={},
    )
    scores = {score.name: score for score in words.alignment(evidence)}
    assert tuple(scores) == words.of_alignment(evidence.experiment)
    assert scores["alignment_exact"].value == 10 / 15 and scores["alignment_exact_heldout"].value == 1
    assert scores["alignment_exact"].at_best == 1 and scores["alignment_exact"].protocol["captions"] == 15
    assert decode(captions[15:]) == [RED] * 5 and " as " in scores["alignment_shape"].meaning
