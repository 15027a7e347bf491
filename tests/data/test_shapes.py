"""Scenes of shapes: sentences and scenes mean each other, pixels are where relations say, splits share no held pair."""

from collections import Counter

import jax
import numpy as np
import pytest

from diffjax.data import Shapes, Stream
from diffjax.data.shapes import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, parse, place, render
from diffjax.data.text import decode
from diffjax.errors import UserError
from diffjax.metrics.alignment import alignment
from diffjax.parallel import layout

FEW = {"num_train": 600, "num_heldout": 200}
EVERY = FEW | {"objects": (1, 2, 3), "counted": 0.3}


def scenes_of(source, split):
    return [parse(caption) for caption in decode(source.split(split).arrays()["caption"])]


@pytest.mark.parametrize(
    "caption",
    [
        "a large red circle on white",
        "a large red circle above a small blue square on black",
        "a small green square right of a small green square which is below a large yellow triangle on grey",
        "three small blue squares on white",
    ],
)
def test_a_caption_and_its_scene_mean_each_other(caption):
    assert parse(caption).caption == caption


@pytest.mark.parametrize("caption", ["", "a red circle on white", "two large red circle on white", "a cat on white"])
def test_other_sentences_mean_no_scene(caption):
    with pytest.raises(UserError, match="no sentence about shapes"):
        parse(caption)


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("size", [16, 32, 64])
def test_pixels_are_where_the_sentence_says(size, relation):
    scene = Scene((Thing("large", "red", "circle"), Thing("small", "blue", "square")), (relation,), "grey")
    axis = 0 if relation in ("above", "below") else 1
    first, second = ("red", "blue") if relation in ("above", "left of") else ("blue", "red")
    for corners in place([scene] * 50, size, np.random.RandomState(0)):
        image = render(scene, corners, size)
        of = {name: np.argwhere((image == colour).all(axis=-1)) for name, colour in (COLOURS | BACKGROUNDS).items()}
        assert len(of["red"]) + len(of["blue"]) + len(of["grey"]) == size**2
        assert len(of["blue"]) == (size // 4) ** 2 and np.ptp(of["red"], axis=0).max() + 1 == 7 * size // 16
        assert of[first][:, axis].max() + 1 < of[second][:, axis].min()  # a gap between them
        apart = np.abs(of["blue"].mean(axis=0) - of["red"].mean(axis=0))
        assert apart[axis] >= 2 * apart[1 - axis]


def test_the_same_seed_draws_the_same_scenes_and_another_seed_others():
    one, again, other = (Shapes(seed=seed, **EVERY).split("train").arrays() for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["x"], again["x"])
    np.testing.assert_array_equal(one["caption"], again["caption"])
    assert (one["caption"] != other["caption"]).any(axis=1).mean() > 0.9


def test_training_never_sees_a_held_out_pair_and_every_held_out_scene_has_one():
    source = Shapes(**EVERY)
    assert len(source.held_out) == 2 and len({word for pair in source.held_out for word in pair}) == 4
    assert not any(map(source.is_held_out, scenes_of(source, "train")))
    assert all(map(source.is_held_out, scenes_of(source, "heldout")))
    of_training = {(thing.colour, thing.shape) for scene in scenes_of(source, "train") for thing in scene.things}
    assert len(of_training) == len(COLOURS) * len(SHAPES) - 2  # everything else it sees, every word among them


def test_everything_is_drawn_as_often_and_counted_scenes_at_their_share():
    scenes = scenes_of(Shapes(**EVERY | {"num_train": 3000}), "train")
    for count in (1, 2, 3):
        of = [scene for scene in scenes if len(scene.things) == count]
        np.testing.assert_allclose(len(of) / 3000, 1 / 3, atol=0.04)
        if count > 1:
            np.testing.assert_allclose(np.mean([scene.counted for scene in of]), 0.3, atol=0.06)
    one_each = [scene for scene in scenes if not scene.counted]
    things = [thing for scene in one_each for thing in scene.things]
    drawn = {
        10: [(thing.colour, thing.shape) for thing in things],  # of twelve pairs two are held out
        len(SIZES): [thing.size for thing in things],
        len(RELATIONS): [scene.relations[0] for scene in one_each if scene.relations],
        len(BACKGROUNDS): [scene.background for scene in scenes],
    }
    for kinds, words in drawn.items():
        shares = np.asarray(list(Counter(words).values())) / len(words)
        assert len(shares) == kinds
        np.testing.assert_allclose(shares, 1 / kinds, atol=4 * np.sqrt(1 / kinds / len(words)))


def test_prompts_are_by_turns_of_training_and_held_out_and_captions_fit():
    source = Shapes(**EVERY)
    space, shown = source.space, [parse(prompt) for prompt in source.space.prompts]
    assert not any(map(source.is_held_out, shown[::2])) and all(map(source.is_held_out, shown[1::2]))
    captions = source.split("train").arrays()["caption"]
    assert captions.shape == (600, space.caption) and max(map(len, space.prompts)) <= space.caption


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 28}, "data.size: 28"),
        ({"objects": (4,)}, "data.objects"),
        ({"objects": ()}, "data.objects"),
        ({"counted": 1.5}, "data.counted: 1.5"),
        ({"held_pairs": 4}, "data.held_pairs: 4"),
        ({"num_train": 0}, "data.num_train: 0"),
    ],
)
def test_numbers_that_make_no_scenes_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        Shapes(**fields)


@pytest.mark.parametrize("resident_bytes", [2**31, 0], ids=["resident", "streamed"])
def test_captions_stay_with_their_pictures_on_every_path_and_device(resident_bytes):
    source = Shapes(num_train=40, num_heldout=1)
    stream = Stream(source, 0, 8, 2, layout(), resident_bytes=resident_bytes)
    batch = jax.device_get([next(stream) for _ in range(2)])
    x, captions = (np.concatenate([step[name] for step in batch]) for name in ("x", "caption"))
    assert captions.shape == (4, 8, source.space.caption)
    assert alignment(decode(captions.reshape(32, -1)), x.reshape(32, 16, 16, 3)).exact == 1
