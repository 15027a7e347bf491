"""The checker of shapes: exact on what was rendered, names what was changed, and does not mind a little noise."""

from dataclasses import replace

import numpy as np
import pytest

from diffjax.data import Shapes
from diffjax.data.shapes import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, place, render
from diffjax.data.text import decode
from diffjax.errors import UserError
from diffjax.metrics.alignment import alignment, judge, read

WORDS = {"size": tuple(SIZES), "colour": tuple(COLOURS), "shape": SHAPES}


def drawn(scene, size, seed=0):
    return render(scene, place([scene], size, np.random.RandomState(seed))[0], size)


def scenes(count=40, **fields):
    source = Shapes(num_train=count, num_heldout=1, **fields)
    return source._scenes[0]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_rendered_scenes_are_read_without_a_mistake(size):
    source = Shapes(size=size, objects=(1, 2, 3), counted=0.3, num_train=60, num_heldout=60)
    for split in ("train", "heldout"):
        batch = source.split(split).arrays()
        found = alignment(decode(batch["caption"]), batch["x"])
        assert found.exact == 1 and set(found.attributes.values()) == {1.0} and found.count == 60


@pytest.mark.parametrize("attribute", ["shape", "colour", "size", "background", "relation", "count"])
def test_a_scene_with_one_attribute_changed_names_it(attribute):
    generator = np.random.RandomState(1)
    other = {"objects": (3,), "counted": 1.0} if attribute == "count" else {"objects": (2, 3)}
    for scene in scenes(25, **other):
        if attribute == "count":
            changed = replace(scene, things=scene.things[:2])
        elif attribute == "background":
            changed = replace(scene, background=generator.choice([b for b in BACKGROUNDS if b != scene.background]))
        elif attribute == "relation":
            if scene.things[0] == scene.things[1]:
                continue  # either is above the other
            turned = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
            changed = replace(scene, relations=(turned[scene.relations[0]], *scene.relations[1:]))
        else:
            one = generator.randint(len(scene.things))
            word = generator.choice([w for w in WORDS[attribute] if w != getattr(scene.things[one], attribute)])
            things = list(scene.things)
            things[one] = things[one]._replace(**{attribute: str(word)})
            changed = replace(scene, things=tuple(things))
        judged = judge(scene, drawn(changed, 16))
        assert judged.wrong == (attribute,) and not judged.exact


def test_one_more_than_asked_for_is_a_wrong_count_alone():
    two, three = (Scene((Thing("small", "red", "circle"),) * k, (), "white") for k in (2, 3))
    assert judge(two, drawn(three, 16)).wrong == ("count",)


def test_noise_in_every_pixel_and_a_few_bad_ones_change_nothing():
    generator = np.random.RandomState(0)
    for scene in scenes(30):
        image = drawn(scene, 16).astype(float) + generator.normal(0, 30, (16, 16, 3))
        image[generator.randint(16, size=2), generator.randint(16, size=2)] = (255, 255, 0)
        assert judge(scene, np.clip(image, 0, 255).astype(np.uint8)).exact


def test_noise_alone_and_an_empty_picture_are_no_scene():
    scene = scenes(1)[0]
    noise = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    assert not judge(scene, noise).exact
    judged = judge(scene, np.full((16, 16, 3), BACKGROUNDS[scene.background], np.uint8))
    assert judged.wrong == ("count",) and sum(a.seen == "missing" for a in judged.answers) == 7


def test_rates_and_confusion_count_what_was_wanted_and_seen():
    wanted = Scene((Thing("large", "red", "circle"),), (), "white")
    squares = drawn(replace(wanted, things=(Thing("large", "red", "square"),)), 16)
    found = alignment([wanted.caption] * 4, np.stack([drawn(wanted, 16)] * 3 + [squares]))
    assert found.exact == 0.75 and found.attributes["shape"] == 0.75 and found.attributes["colour"] == 1
    assert found.confusion["shape"] == {("circle", "circle"): 3, ("circle", "square"): 1}
    assert found.mistakes("shape") == "1 circle as square" and found.mistakes("colour") == ""
    rows, columns, counts = found.matrix("shape")
    assert (rows, columns, counts.tolist()) == (("circle",), ("circle", "square"), [[3, 1]])
    assert "relation" not in found.attributes and set(RELATIONS) == {"above", "below", "left of", "right of"}


def test_all_things_are_counted_though_only_the_largest_are_looked_at():
    dots = np.full((32, 32, 3), 255, np.uint8)
    places = [(row, column) for row in (2, 12, 22) for column in (2, 12, 22)]
    for row, column in places:
        dots[row : row + 5, column : column + 5] = (255, 0, 0)
    found = read(dots)
    assert (len(places), found.count, len(found.things)) == (9, 9, 6)


def test_nothing_to_judge_is_refused():
    with pytest.raises(UserError, match="none to judge"):
        alignment([], np.zeros((0, 16, 16, 3), np.uint8))
