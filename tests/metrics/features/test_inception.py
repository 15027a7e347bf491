"""FID's Inception with random weights: its pools, its taps, its factory. What it computes is a parity test's matter."""

import jax
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation import extractors
from diffjax.metrics.features import FEATURES, Outputs
from diffjax.metrics.features import inception as module_of
from diffjax.metrics.features.inception import (
    AVERAGE,
    POOLS,
    Inception,
    our_name,
    preprocess,
    published_shapes,
    shapes,
)
from tests.metrics.features.networks import inception_state_dict, random_variables

HIGHEST, HIGH = jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH  # HIGH is how JAX calls "tensorfloat32"
PRODUCTS = ("conv_general_dilated", "dot_general")


@pytest.fixture(scope="module")
def variables():
    return random_variables(published_shapes())


def test_averages_leave_out_what_lies_beyond_the_border():
    ones = np.ones((1, 5, 4, 2), np.float32)
    np.testing.assert_allclose(AVERAGE(ones), ones, rtol=1e-6)
    np.testing.assert_allclose(POOLS["max"](-ones), -ones)
    assert POOLS["max, half"](np.ones((1, 35, 35, 1))).shape == (1, 17, 17, 1)


def test_it_has_the_published_number_of_layers_and_parameters():
    """94 convolutions; 21,785,568 parameters in them and their normalisation, as Inception-v3 without classes has."""
    params = published_shapes()["params"]
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert sum(path.endswith("['scale']") for path in paths) == 94
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) - params["fc"]["kernel"].size == 21_785_568
    assert params["fc"]["kernel"].shape == (2048, 1008)


def test_what_is_not_used_has_no_name_here_and_an_unknown_key_keeps_its_own():
    assert our_name("Mixed_5b.branch1x1.bn.num_batches_tracked") is None
    assert our_name("fc.bias") is None
    assert our_name("AuxLogits.fc.weight") == "AuxLogits.fc.weight"


def test_the_range_is_the_protocols():
    grey = np.full((1, 4, 4, 1), 255, np.uint8)
    for resize, top in (("tf1", 127 / 128), ("clean", 127 / 128), ("torch", 1.0)):
        x = preprocess(grey, resize)
        assert x.shape == (1, 299, 299, 3)
        np.testing.assert_allclose(x, top, rtol=1e-6)


@pytest.fixture(scope="module")
def file(variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.npz"
    np.savez(path, **inception_state_dict(variables))
    return str(path)


def test_the_precision_asked_for_is_that_of_every_convolution(file):
    """And of the logits; what resizes is never in fewer bits. As the front door makes it of its flag."""
    asked = extractors(["frechet:inception", "inception_score:inception"], (9, 9, 3), file, None, "tensorfloat32")
    of = asked["inception"]
    equations = jax.make_jaxpr(of.apply)(of.variables, np.zeros((1, 9, 9, 3), np.uint8)).eqns
    found = {name: [e.params["precision"] for e in equations if e.primitive.name == name] for name in PRODUCTS}
    assert found == {
        "conv_general_dilated": [(HIGH, HIGH)] * 94,
        "dot_general": [(HIGHEST, HIGHEST)] * 2 + [(HIGH, HIGH)],
    }


def test_the_factory_reads_weights_and_the_extractor_embeds(variables, tmp_path, monkeypatch):
    """From images to features, taps and logits; at 75 x 75 to be quick. Every image by itself, whatever the batch."""
    monkeypatch.setattr(module_of, "SIZE", 75)
    path = tmp_path / "inception.npz"
    np.savez(path, **inception_state_dict(variables))
    extractor = FEATURES["inception"]((12, 10, 3), resize="clean", weights=str(path))
    assert (extractor.name, extractor.dimensions) == ("inception", 2048)
    protocol = extractor.protocol
    assert (protocol["network"], protocol["resize"], protocol["layer"]) == ("inception-2015-12-05", "clean", 2048)

    images = np.random.default_rng(1).integers(0, 256, (3, 12, 10, 3)).astype(np.uint8)
    outputs = jax.jit(extractor.apply)(extractor.variables, images)
    assert isinstance(outputs, Outputs) and outputs.features.shape == (3, 2048) and outputs.logits.shape == (3, 1008)
    again = jax.jit(extractor.apply)(extractor.variables, images[::-1])
    np.testing.assert_allclose(again.features[::-1], outputs.features, rtol=1e-4, atol=1e-5)
    assert np.std(outputs.features, axis=0).mean() > 1e-3
    np.testing.assert_array_equal(extractor(images), outputs.features)
    logits = outputs.features @ variables["params"]["fc"]["kernel"]
    np.testing.assert_allclose(extractor.logits(images), logits, rtol=1e-3, atol=1e-3)


def test_weights_that_do_not_fit_are_named(variables):
    state_dict = inception_state_dict(variables)
    whole = module_of.variables(state_dict)
    jax.tree.map(np.testing.assert_array_equal, whole, variables)
    with pytest.raises(UserError, match="weights: 1 of .* missing, such as that of our batch_stats/Mixed_7a/.*/var"):
        module_of.variables({k: v for k, v in state_dict.items() if k != "Mixed_7a.branch3x3_1.bn.running_var"})
    with pytest.raises(UserError, match="weights: AuxLogits.fc.weight has no place"):
        module_of.variables(state_dict | {"AuxLogits.fc.weight": np.zeros((2, 2))})
    with pytest.raises(
        UserError, match=r"weights: fc.weight has shape \(2048, 1000\) in our layout; must be \(2048, 1008\)"
    ):
        module_of.variables(state_dict | {"fc.weight": np.zeros((1000, 2048), np.float32)})


@pytest.mark.parametrize(
    ("shape", "fields", "said"),
    [
        ((8, 8, 2), {}, "images: "),
        ((8, 8, 3), {"layer": 1024}, "^layer: 1024 is not one of 64, 192, 768, 2048"),
        ((8, 8, 3), {"resize": "pil"}, "^resize: 'pil' is not one of tf1, clean, torch"),
        ((8, 8, 3), {"precision": "low"}, "^precision: 'low'"),
    ],
)
def test_what_does_not_exist_is_refused(shape, fields, said):
    with pytest.raises(UserError, match=said):
        FEATURES["inception"](shape, **fields)


def test_only_uint8_is_embedded():
    with pytest.raises(
        UserError, match="images: float32 pixels; must be uint8, as features are computed after quantisation"
    ):
        preprocess(np.zeros((1, 4, 4, 3), np.float32), "tf1")
    pixels = FEATURES["pixels"]((2, 2, 1))
    np.testing.assert_allclose(pixels(np.full((3, 2, 2, 1), 51, np.uint8)), np.full((3, 4), 0.2), rtol=1e-6)
    with pytest.raises(UserError, match="'pixels' has no class logits"):
        pixels.logits(np.zeros((1, 2, 2, 1), np.uint8))


@pytest.mark.slow
def test_grey_images_are_three_equal_channels_at_full_size(variables, tmp_path):
    path = tmp_path / "inception.npz"
    np.savez(path, **inception_state_dict(variables))
    grey, colour = (FEATURES["inception"]((20, 20, c), weights=str(path)) for c in (1, 3))
    images = np.random.default_rng(2).integers(0, 256, (2, 20, 20, 1)).astype(np.uint8)
    np.testing.assert_allclose(grey(images), colour(np.repeat(images, 3, axis=-1)), rtol=1e-5, atol=1e-6)
    assert grey.protocol["grey"] == "three equal channels" and "grey" not in colour.protocol


def test_all_taps_are_means_of_as_many_channels():
    found = jax.eval_shape(Inception().apply, shapes(), jax.ShapeDtypeStruct((2, 75, 75, 3), np.float32))
    assert {k: v.shape for k, v in found.items()} == {str(k): (2, k) for k in (64, 192, 768, 2048)} | {
        "logits": (2, 1008)
    }
