import jax
import jax.numpy as jnp
import numpy as np

from diffjax.models.labels import LabelledLogit, with_label_planes
from diffjax.precision import Precision

KEY = jax.random.key(0)


def test_a_label_stands_beside_every_pixel_and_every_point():
    x, label = jnp.arange(24.0).reshape(2, 2, 2, 3), jnp.array([2, 0])
    y = with_label_planes(x, label, 4)
    np.testing.assert_array_equal(y[..., :3], x)
    np.testing.assert_array_equal(y[0, :, :, 3:], jnp.broadcast_to(jnp.array([0, 0, 1, 0]), (2, 2, 4)))
    np.testing.assert_array_equal(with_label_planes(jnp.ones((1, 2)), jnp.array([1]), 2), [[1, 1, 0, 1]])
    for unlabelled in (with_label_planes(x, None, 4), with_label_planes(x, label, 0)):
        np.testing.assert_array_equal(unlabelled, x)


def test_an_auxiliary_classifier_stands_beside_the_logit():
    h, label = jax.random.normal(KEY, (5, 6)), jnp.array([0, 1, 2, 1, 0])
    logit, several = (LabelledLogit(3, Precision(), scale=1.0, outputs=outputs) for outputs in (1, 4))
    variables = several.init(KEY, h, label)
    y = several.apply(variables, h, label)
    assert y.shape == (5, 4)
    np.testing.assert_allclose(logit.apply(variables, h, label), y[:, 0], rtol=1e-6)
    np.testing.assert_allclose(h @ variables["params"]["classes"]["kernel"], y[:, 1:], rtol=1e-4, atol=1e-5)


def test_a_projection_is_the_inner_product_with_the_labels_embedding():
    h, label = jax.random.normal(KEY, (5, 6)), jnp.array([0, 1, 2, 1, 0])
    head = LabelledLogit(3, Precision(), scale=1.0)
    variables = head.init(KEY, h, label)
    rows = variables["params"]["embed"]["embedding"][label]
    difference = head.apply(variables, h, label) - head.apply(variables, h, None)
    np.testing.assert_allclose(difference, jnp.sum(rows * h, axis=1), rtol=1e-4, atol=1e-5)


def test_all_its_weights_have_a_spectral_norm_if_any():
    head = LabelledLogit(3, Precision(), outputs=4, spectral_norm=True)
    variables = jax.eval_shape(head.init, KEY, jnp.ones((2, 6)), jnp.array([0, 1]))
    assert set(variables["spectral"]) == set(variables["params"]) == {"logit", "embed", "classes"}
