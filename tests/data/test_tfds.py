"""TFDS sets are read without TensorFlow: small ones, written here as TFDS would leave them, and MNIST if present."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffjax.data import TFDS, Digits, prepare
from diffjax.data.text import decode
from diffjax.errors import UserError
from tests import prepared
from tests.prepared import PREPARED, needs_mnist

FEATURE = "tensorflow_datasets.core.features"


def write_set(data_dir, splits, shape=(4, 4, 3), labelled=True, form="array_record", said=None, secret=""):
    """A data set "tiny", as `download_and_prepare(file_format="array_record")` leaves it. `splits`: {name: images}.

    All labels of the split `secret` are -1.
    """
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    folder = data_dir / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    dimensions = {"dimensions": [str(side or -1) for side in shape]}
    features = {
        "image": {"pythonClassName": f"{FEATURE}.image_feature.Image", "image": {"dtype": "uint8", "shape": dimensions}}
    }
    if labelled:
        name = f"{FEATURE}.class_label_feature.ClassLabel"
        features["label"] = {"pythonClassName": name, "classLabel": {"numClasses": "3"}}
    if said:  # a text feature, whose bytes are these for every image
        features["said"] = {"pythonClassName": f"{FEATURE}.text_feature.Text", "text": {}}
    tree = {"pythonClassName": f"{FEATURE}.features_dict.FeaturesDict", "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(tree))
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {
        "name": "tiny", "version": "1.0.0", "fileFormat": form,
        "splits": [{"name": name, "filepathTemplate": template, "shardLengths": [str(len(images))], "numBytes": "1"}
                   for name, images in splits.items()],
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for split, images in splits.items():
        writer = ArrayRecordWriter(str(folder / f"tiny-{split}.{form}-00000-of-00001"), "group_size:1")
        for i, pixels in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(pixels.squeeze()).save(png, "png")
            feature = {"image": tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[png.getvalue()]))}
            if labelled:
                label = -1 if split == secret else i % 3
                feature["label"] = tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[label]))
            if said:
                feature["said"] = tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[said[i]]))
            example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=feature))
            writer.write(example.SerializeToString())
        writer.close()
    return str(data_dir)


def pictures(count, shape=(4, 4, 3), seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def test_a_prepared_set_comes_back_pixel_for_pixel(tmp_path):
    train, test = pictures(20), pictures(7, seed=1)
    source = TFDS("tiny", data_dir=write_set(tmp_path, {"train": train, "test": test}))
    assert source.space.shape == (4, 4, 3) and source.space.num_classes == 3
    data = source.split("train").arrays()
    np.testing.assert_array_equal(data["x"], train)
    np.testing.assert_array_equal(data["label"], np.arange(20) % 3)
    np.testing.assert_array_equal(source.split("heldout").arrays()["x"], test)
    np.testing.assert_array_equal(source.split("train").take(np.array([5, 2]))["x"], train[[5, 2]])


def test_without_a_test_split_validation_is_held_out_and_without_both_the_last_tenth(tmp_path):
    images = pictures(20)
    other = TFDS("tiny", data_dir=write_set(tmp_path / "a", {"train": images, "validation": images[:3]}))
    assert len(other.split("train")) == 20 and len(other.split("heldout")) == 3
    alone = TFDS("tiny", data_dir=write_set(tmp_path / "b", {"train": images}))
    np.testing.assert_array_equal(alone.split("train").arrays()["x"], images[:18])
    np.testing.assert_array_equal(alone.split("heldout").arrays()["x"], images[18:])


def test_named_splits_are_used_as_they_are(tmp_path):
    place, images = write_set(tmp_path, {"train": pictures(20)}), pictures(20)
    source = TFDS("tiny", data_dir=place, train="train[:50%]", heldout="train[50%:]")
    np.testing.assert_array_equal(source.split("heldout").arrays()["x"], images[10:])
    with pytest.raises(UserError, match=r"data\.heldout"):
        TFDS("tiny", data_dir=place, train="train[:50%]").split("train")
    with pytest.raises(UserError, match=r"data\.heldout: 'tst' is no split; 'tfds:tiny' has train"):
        TFDS("tiny", data_dir=place, heldout="tst").split("train")


@pytest.mark.parametrize(
    ("options", "heldout"),
    [
        ({"train": "test"}, "validation"),
        ({"train": "test[:90%]"}, "validation"),
        ({"train": "validation"}, "test"),
        ({"train": "train[10:]", "heldout": "train[:10]"}, "train[:10]"),
        ({"heldout": "train[90%:]"}, ""),
        ({"train": "train[:12]", "heldout": "train[50%:]"}, ""),
        ({"train": "test", "heldout": "test"}, ""),
        ({"train": "validation[:1]+train[:1]", "heldout": "train[:1]"}, ""),
    ],
)
def test_no_example_is_both_trained_on_and_held_out(options, heldout, tmp_path):
    splits = {"train": pictures(20), "validation": pictures(4), "test": pictures(10)}
    source = TFDS("tiny", data_dir=write_set(tmp_path, splits), **options)
    if heldout:
        assert source._names() == {"train": options["train"], "heldout": heldout}
    else:
        with pytest.raises(UserError, match=r"data\.heldout: '.*' of 'tfds:tiny' shares examples with data\.train='"):
            source.split("train")


def test_the_only_split_beside_a_test_split_that_is_trained_on_is_a_part_of_it(tmp_path):
    images = pictures(20)
    source = TFDS("tiny", data_dir=write_set(tmp_path, {"test": images}), train="test")
    np.testing.assert_array_equal(source.split("train").arrays()["x"], images[:18])
    np.testing.assert_array_equal(source.split("heldout").arrays()["x"], images[18:])
    with pytest.raises(UserError, match=r"data\.train: 'test\[:x\]' is no part of 'tfds:tiny'; must be as in "):
        TFDS("tiny", data_dir=str(tmp_path), train="test[:x]").split("train")


def test_a_split_whose_labels_are_secret_is_refused_and_a_labelled_one_named(tmp_path):
    splits = {"train": pictures(6), "validation": pictures(4), "test": pictures(5)}
    place = write_set(tmp_path, splits, secret="test")
    source = TFDS("tiny", data_dir=place)
    assert len(source.split("train")) == 6
    said = r"data\.heldout: 'test' of 'tfds:tiny' has examples without a label \(-1\); .* data\.heldout=validation, or"
    with pytest.raises(UserError, match=said):
        source.split("heldout")
    assert len(TFDS("tiny", data_dir=place, heldout="validation").split("heldout")) == 4
    assert not TFDS("tiny", data_dir=place, label="").split("heldout").arrays()["label"].any()


def test_sets_without_labels_have_label_zero_and_no_classes(tmp_path):
    source = TFDS("tiny", data_dir=write_set(tmp_path, {"train": pictures(9)}, labelled=False))
    assert source.space.num_classes == 0 and not source.split("train").arrays()["label"].any()
    with pytest.raises(UserError, match=r"data\.label: .* has no 'kind'; must be one of image"):
        _ = TFDS("tiny", data_dir=str(tmp_path), label="kind").space


def test_differing_sizes_need_data_size(tmp_path):
    images = [*pictures(5, (4, 6, 1)), *pictures(5, (8, 4, 1))]
    place = write_set(tmp_path, {"train": images, "test": images}, shape=(None, None, 1))
    with pytest.raises(UserError, match=r"data\.size: 0"):
        _ = TFDS("tiny", data_dir=place).space
    data = TFDS("tiny", data_dir=place, size=4).split("train").arrays()["x"]
    np.testing.assert_array_equal(data, [*(x[:, 1:5] for x in images[:5]), *(x[2:6] for x in images[5:])])


def test_an_unknown_name_gets_a_suggestion_and_an_unknown_version_the_known_one(tmp_path):
    with pytest.raises(UserError, match=r"data\.name: 'tfds:mnst' is unknown; did you mean tfds:mnist"):
        _ = TFDS("mnst", data_dir=str(tmp_path)).space
    with pytest.raises(UserError, match=r"data\.name: 'tfds:mnist:9\.9\.9': .*only: 3\.0\.1"):
        _ = TFDS("mnist:9.9.9", data_dir=str(tmp_path)).space


def test_an_unprepared_set_tells_how_to_prepare_it_and_where_it_was_looked_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=rf"at {tmp_path}.*launch.py prepare --config.*TFDS_DATA_DIR") as error:
        _ = TFDS("cifar100").space
    assert "\n" not in str(error.value) and not caplog.records


def test_a_set_in_another_form_is_not_prepared_and_prepare_does_not_touch_it(tmp_path):
    source = TFDS("tiny", data_dir=write_set(tmp_path, {"train": pictures(2)}, form="tfrecord"))
    with pytest.raises(UserError, match="not prepared in ArrayRecord form"):
        _ = source.space
    with pytest.raises(UserError, match=r"data\.data_dir: .* as tfrecord"):
        prepare(source)


def test_prepare_leaves_a_prepared_set_and_needs_tensorflow_for_any_other(tmp_path, monkeypatch):
    place = write_set(tmp_path, {"train": pictures(2)})
    assert prepare(TFDS("tiny", data_dir=place)) == str(tmp_path / "tiny" / "1.0.0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "diffjax\[prepare\]"'):
        prepare(TFDS("cifar100", data_dir=place))
    with pytest.raises(UserError, match="must be tfds:NAME"):
        prepare(Digits())


@needs_mnist
def test_mnist_is_read_without_tensorflow():
    program = f"""
import sys
from diffjax.data import TFDS
source = TFDS("mnist", data_dir={str(PREPARED)!r})
train, heldout = source.split("train"), source.split("heldout")
assert (len(train), len(heldout)) == (60000, 10000), (len(train), len(heldout))
assert source.space.shape == (28, 28, 1) and source.space.class_names == tuple("0123456789")
first = train.take([0, 59999])
assert first["x"].shape == (2, 28, 28, 1) and first["x"].max() > 200 and first["x"].min() == 0
assert "tensorflow" not in sys.modules
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_mnist
def test_pillow_and_tfds_decode_mnist_alike():
    import tensorflow_datasets as tfds

    theirs = tfds.builder("mnist", data_dir=str(PREPARED)).as_data_source("test")
    ours = TFDS("mnist", data_dir=str(PREPARED)).split("heldout").take(np.arange(50))
    for i in range(50):
        np.testing.assert_array_equal(ours["x"][i], theirs[i]["image"])
        assert ours["label"][i] == theirs[i]["label"]


def test_a_text_feature_is_the_caption_and_so_is_a_sentence_about_the_class(tmp_path, capsys):
    said = [b"Ein  Haus\n", "été".encode(), b""]
    data_dir = write_set(tmp_path, {"train": pictures(3), "test": pictures(2, seed=1)}, said=said)
    source = TFDS("tiny", data_dir, caption="said", caption_bytes=5)
    assert decode(source.split("train").arrays()["caption"]) == ["Ein H", "été", ""]
    assert source.space.caption == 5 and source.space.prompts == ("Ein Haus", "été")
    cut = (
        "data.caption: some captions of 'tfds:tiny' are longer than the 5 bytes that are read; what comes after is cut"
    )
    assert capsys.readouterr().err == f"{cut} (data.caption_bytes)\n"  # once
    by_class = TFDS("tiny", data_dir, caption="class {}")
    assert by_class.space.prompts == ("class zero", "class one", "class two")  # unnamed classes go by their numbers
    assert decode(by_class.split("heldout").arrays()["caption"]) == ["class zero", "class one"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"caption": "label"},
            "data.caption: 'label' is no text feature, nor a sentence with {}; 'tfds:tiny' has image, label, said",
        ),
        ({"caption": "a {}", "label": ""}, "data.caption: 'a {}' needs class names; 'tfds:tiny' has none"),
        ({"caption": "said", "caption_bytes": 0}, "data.caption_bytes: 0; must be at least 1"),
    ],
)
def test_captions_that_cannot_be_are_named(options, said, tmp_path):
    data_dir = write_set(tmp_path, {"train": pictures(1), "test": pictures(1)}, said=[b"house"])
    with pytest.raises(UserError, match=re.escape(said)):
        _ = TFDS("tiny", data_dir, **options).space


def test_a_text_feature_that_is_not_utf_8_is_named(tmp_path):
    data_dir = write_set(tmp_path, {"train": pictures(1), "test": pictures(1)}, said=[b"\xe9t"])
    with pytest.raises(UserError, match="data.caption: .* of 'tfds:tiny' is not UTF-8"):
        _ = TFDS("tiny", data_dir, caption="said").space


@needs_mnist
def test_mnist_says_its_digits_in_words():
    source = TFDS("mnist", str(PREPARED), caption="a handwritten {}")
    batch = source.split("heldout").take(np.arange(50))
    assert decode(batch["caption"]) == [source.space.prompts[label] for label in batch["label"]]
    assert source.space.prompts[7] == "a handwritten seven" and source.space.num_classes == 10


def test_mnist_is_looked_for_where_one_says_or_else_where_it_usually_is(tmp_path, monkeypatch):
    beside, usual = tmp_path / "beside", tmp_path / "usual"
    monkeypatch.setattr(prepared, "BESIDE", beside)
    monkeypatch.setattr(prepared, "USUAL", usual)
    assert prepared.prepared_in({}) == usual
    (beside / "mnist").mkdir(parents=True)
    assert prepared.prepared_in({}) == beside
    assert prepared.prepared_in({"TFDS_DATA_DIR": "/said"}) == Path("/said")
