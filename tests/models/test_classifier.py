import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from diffjax.errors import UserError
from diffjax.models import CNNClassifier
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

FLOAT32 = Precision()


def classifier(shape=(8, 8, 1), num_classes=10, precision=FLOAT32, **hyper):
    return CNNClassifier(shape, num_classes, precision, Axis(), **hyper)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (5, 7, 2)])
def test_images_of_any_size_get_a_logit_for_each_class(shape):
    logits, variables = jax.eval_shape(classifier(shape).init_with_output, jax.random.key(0), jnp.zeros((2, *shape)))
    assert logits.shape == (2, 10)
    assert logits.dtype == jnp.float32


def test_an_images_logits_depend_on_nothing_else_in_the_batch():
    x, keys = jax.random.normal(jax.random.key(0), (6, 8, 8, 1)), jax.random.split(jax.random.key(1), 6)
    network = classifier(channels=8)
    variables, apply = trained(network, x), jax.jit(network.apply)
    np.testing.assert_allclose(apply(variables, x[::-1]), apply(variables, x)[::-1], atol=1e-4)
    np.testing.assert_allclose(apply(variables, x[::-1], keys[::-1]), apply(variables, x, keys)[::-1], atol=1e-4)
    assert np.abs(apply(variables, x, keys) - apply(variables, x)).max() > 1e-2


def test_the_logits_are_linear_in_the_features():
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    network = classifier(width=24)
    variables = trained(network, x)
    last = variables["params"]["logits"]
    features = network.apply(variables, x, features=True)
    assert features.shape == (3, 24)
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], network.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"shape": (2,)}, "needs images"),
        ({"num_classes": 0}, "needs labelled data"),
        ({"dropout": 1.0}, "method.network.dropout: 1.0"),
    ],
)
def test_data_it_cannot_take_are_refused(hyper, message):
    with pytest.raises(UserError, match=message):
        classifier(**hyper)


@pytest.mark.slow
def test_six_hundred_steps_read_98_percent_of_unseen_digits():
    digits = load_digits()
    x = (digits.images[..., None] / 8 - 1).astype(np.float32)
    x, unseen, y, truth = train_test_split(x, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    network, steps, batch = classifier(), 600, 128
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=0.01)
    variables = network.init(jax.random.key(0), x[:1])

    @jax.jit
    def step(variables, state, key):
        pick, drop = jax.random.split(key)
        i = jax.random.randint(pick, (batch,), 0, len(x))

        def loss(variables):
            logits = network.apply(variables, jnp.asarray(x)[i], jax.random.split(drop, batch))
            return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(y)[i]).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state, variables)
        return optax.apply_updates(variables, updates), state

    state = optimizer.init(variables)
    for key in jax.random.split(jax.random.key(1), steps):
        variables, state = step(variables, state, key)
    assert np.mean(np.argmax(network.apply(variables, unseen), axis=-1) == truth) >= 0.98
