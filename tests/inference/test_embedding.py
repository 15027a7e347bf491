"""Features of sets of images: the same in any batches, on any devices, read ahead in order; and what a set is."""

import dataclasses
import threading
import time

import jax
import numpy as np
import pytest

from diffjax.data import Digits, Examples
from diffjax.data.source import in_memory
from diffjax.errors import UserError
from diffjax.evaluation.classes import extractor
from diffjax.inference import embedding
from diffjax.inference.embedding import Embedder
from diffjax.metrics.features import FEATURES, Extractor, Outputs, dinov2
from diffjax.parallel import layout
from diffjax.run import load
from diffjax.training.loop import train
from tests import tiny

X = Digits().split("train").arrays()["x"][:50]
IMAGES = in_memory(X, np.zeros(50))
PIXELS = FEATURES["pixels"]((8, 8, 1))


@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_a_ragged_last_batch_is_embedded_as_if_it_were_full(size):
    whole, told = np.asarray(PIXELS(X)), []
    embedded = Embedder(PIXELS, layout(devices=1), size)(IMAGES, lambda *so_far: told.append(so_far))
    np.testing.assert_array_equal(embedded.features, whole)
    assert told[-1] == (50, 50) and embedded.moments.n == 50
    np.testing.assert_allclose(embedded.moments.covariance, np.cov(whole.astype(float), rowvar=False), atol=1e-12)


def test_features_that_are_no_numbers_are_an_error():
    broken = dataclasses.replace(
        PIXELS, apply=lambda v, x: PIXELS.apply(v, x)._replace(features=np.nan * x[:, 0, :, 0])
    )
    with pytest.raises(UserError, match="features: 5 of 5 images have features that are not finite"):
        Embedder(broken, layout(devices=1))(in_memory(np.zeros((5, 8, 8, 1), np.uint8), np.zeros(5)))


def of_classifier(tmp_path):
    small = {"train.batch_size": "64", "train.steps": "3", "parallel.devices": "1"}
    train(tiny.changed("configs/classifier.py:digits", small, {}), tmp_path)
    return extractor(load(tmp_path))


def of_dinov2(tmp_path):
    network = dinov2.DINOv2(width=12, depth=2, heads=3, side=4)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 28, 28, 3), np.float32))

    def leaf(path, spec):
        random = np.random.default_rng(len(jax.tree_util.keystr(path)))
        return random.normal(0, 0.3, spec.shape).astype(np.float32)

    def apply(variables, images):
        x = np.float32(1 / 255) * images.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
        return Outputs(network.apply(variables, x[:, :28, :28]))

    return Extractor("tiny", 12, {}, jax.tree_util.tree_map_with_path(leaf, shapes), apply)


@pytest.mark.parametrize("make", [of_classifier, of_dinov2])
def test_one_device_and_eight_see_the_same(make, tmp_path):
    """Up to float32's rounding: products are not added up in the same order on parts of another size."""
    network = make(tmp_path)
    one, eight = Embedder(network, layout(devices=1), 16)(IMAGES), Embedder(network, layout(devices=8), 24)(IMAGES)
    scale = np.abs(one.features).max()
    np.testing.assert_allclose(one.features, eight.features, rtol=1e-5, atol=1e-6 * scale)
    assert one.features.std(axis=0).max() > 1e-3 * scale and one.content == eight.content
    if network.classes:
        assert one.logits.shape == (50, network.classes)
        np.testing.assert_allclose(one.logits, eight.logits, rtol=1e-5, atol=1e-6 * np.abs(one.logits).max())


def test_batches_read_ahead_by_threads_come_in_their_order():
    def take(indices):
        time.sleep(0.02 if indices[0] % 8 == 0 else 0)  # every other batch is late
        return IMAGES.take(indices)

    slow = Embedder(PIXELS, layout(devices=1), 4)(Examples(50, take))
    np.testing.assert_array_equal(slow.features, np.asarray(PIXELS(X)))


def test_no_more_is_read_ahead_than_a_few_batches():
    read, seen = [], []

    def take(indices):
        read.append(indices[0])
        return IMAGES.take(indices)

    for x, _ in embedding.read_ahead(Examples(50, take), 1):
        time.sleep(0.01)
        seen.append(x)
        assert len(read) <= len(seen) + embedding.AHEAD + 1
    assert len(seen) == len(read) == 50


def test_what_reading_raises_is_raised_and_nothing_more_is_read():
    read = []

    def take(indices):
        read.append(indices[0])
        if indices[0] == 4:
            raise UserError("image 4 is damaged")
        return IMAGES.take(indices)

    before = threading.active_count()
    with pytest.raises(UserError, match="image 4 is damaged"):
        Embedder(PIXELS, layout(devices=1), 1)(Examples(50, take))
    assert max(read) <= 4 + 2 * embedding.AHEAD and threading.active_count() == before


def content(x, size=16):
    return Embedder(FEATURES["pixels"](x.shape[1:]), layout(devices=1), size)(in_memory(x, np.zeros(len(x)))).content


def test_a_set_is_what_its_images_are_in_any_order_and_any_batches():
    assert content(X) == content(X[::-1]) == content(X, 7)
    changed = X.copy()
    changed[17, 3, 3] ^= 1
    twice = np.concatenate([X, X[:1]])
    wide = X.reshape(-1, 4, 16, 1)
    assert len({content(x) for x in (X, changed, X[1:], twice, wide)}) == 5


def test_some_images_of_a_set_are_the_same_ones_however_it_is_sorted():
    one, other = (Embedder(PIXELS, layout(devices=1))(in_memory(x, np.zeros(50))) for x in (X, X[::-1]))
    np.testing.assert_array_equal(one.at_most(20).features, other.at_most(20).features)
    np.testing.assert_array_equal(one.features[one.order], other.features[other.order])
    assert one.at_most(20).content == other.at_most(20).content != one.content
    assert one.at_most(50) is one and not np.array_equal(one.at_most(20).features, one.features[:20])
