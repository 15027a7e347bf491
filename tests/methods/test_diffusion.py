"""The diffusion method around its mathematics: labels, guidance, what the denoiser is."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.data.space import Space
from diffjax.diffusion import DDIM, EDM, guidance
from diffjax.errors import UserError
from diffjax.methods import Diffusion
from diffjax.parallel import Axis
from diffjax.precision import Precision
from diffjax.state import HalfLife

LABELLED = Space("points", (2,), num_classes=3, shift=0.0, scale=1.0)


class Table(nn.Module):
    """A network that answers a row for each label, and nothing else."""

    shape: Any
    num_classes: int
    precision: Any
    axis: Any

    @nn.compact
    def __call__(self, x, t, label=None, keys=None):
        rows = self.param("rows", nn.initializers.normal(1.0), (self.num_classes + 1, *self.shape))
        return rows[label] if label is not None else jnp.zeros_like(x)


def method(space=LABELLED, **fields):
    return Diffusion(
        space=space,
        precision=Precision(),
        optimizers={"denoiser": optax.sgd(0.1)},
        ema=HalfLife(),
        batch_size=64,
        accumulate=1,
        network=Table,
        **{"conditional": True} | fields,
    )


def batch(n=64):
    zeros = jnp.zeros((1, n), jnp.int32)
    return {"x": jnp.zeros((1, n, 2)), "label": zeros + 1, "position": jnp.arange(n, dtype=jnp.int32)[None]}


@pytest.mark.parametrize(("dropout", "trained"), [(0.0, {1}), (1.0, {3}), (0.5, {1, 3})])
def test_hidden_labels_train_the_row_that_means_no_label(dropout, trained):
    made = method(label_dropout=dropout)
    state = made.init(jax.random.key(0), batch())
    after, _ = jax.jit(partial(made.step, axis=Axis()))(state, batch(), jax.random.key(1))
    rows = lambda s: np.asarray(s.params["denoiser"]["params"]["rows"])  # noqa: E731
    assert set(np.flatnonzero((rows(after) != rows(state)).any(axis=1))) == trained


def test_the_denoiser_without_a_label_is_the_unconditional_model():
    made = method()
    variables = made.init(jax.random.key(0), batch()).params
    x, t = jnp.ones((2, 2)), jnp.full(2, 0.1)
    none = made.denoiser(variables)(x, t)
    np.testing.assert_array_equal(none.x0, made.denoiser(variables)(x, t, jnp.full(2, 3)).x0)
    assert (none.x0 != made.denoiser(variables)(x, t, jnp.full(2, 1)).x0).all()


def test_a_guidance_scale_of_one_is_the_conditional_model_and_of_zero_the_unconditional():
    made = method()
    variables = made.init(jax.random.key(0), batch()).params
    keys, label, spec = jax.random.split(jax.random.key(2), 4), jnp.full(4, 2), DDIM(steps=3)

    def draw(scale, label):
        return made.sample(variables, made.with_guidance(spec, scale), keys, label)

    np.testing.assert_array_equal(draw(1.0, label).x0, made.sample(variables, spec, keys, label).x0)
    np.testing.assert_array_equal(draw(0.0, label).x0, made.sample(variables, spec, keys, None).x0)
    assert (draw(0.0, label).nfe, draw(1.0, label).nfe, draw(2.0, label).nfe) == (3, 3, 6)
    # This network's answer depends on the label alone, so the sample is linear in the scale.
    expected = draw(0.0, label).x0 + 2 * (draw(1.0, label).x0 - draw(0.0, label).x0)
    np.testing.assert_allclose(draw(2.0, label).x0, expected, atol=1e-4)


def test_a_sampler_starts_where_its_grid_does_with_that_much_noise():
    made = method(process=EDM(sigma_max=7.0))
    variables = made.init(jax.random.key(0), batch()).params
    keys = jax.random.split(jax.random.key(3), 4000)
    start = made.sample(variables, DDIM(steps=2), keys, None, trajectory=True).x_t[0]
    np.testing.assert_allclose(start.std(), 7.0, rtol=0.03)


def test_clipping_is_a_switch_of_the_sampler():
    made = method()
    variables = jax.tree.map(lambda x: x * 50, made.init(jax.random.key(0), batch()).params)
    keys = jax.random.split(jax.random.key(2), 4)
    assert jnp.abs(made.sample(variables, DDIM(steps=3), keys, jnp.full(4, 1)).x0).max() > 1
    assert jnp.abs(made.sample(variables, DDIM(steps=3, clip=True), keys, jnp.full(4, 1)).x0).max() <= 1


def test_guidance_of_a_model_without_labels_is_an_error():
    with pytest.raises(UserError, match="trained without labels"):
        method(conditional=False).with_guidance(DDIM(), 2.0)
    with pytest.raises(UserError, match="method.conditional: the data set has no labels"):
        method(space=replace(LABELLED, num_classes=0))


@dataclass(frozen=True)
class Recorded:
    """A guidance that leaves a mark, to show that the config's own is used."""

    def __call__(self, denoiser, null):
        return guidance.clip_x0(denoiser, 0.25, 0.25)


def test_the_samplers_guidance_is_applied():
    made = method()
    variables = made.init(jax.random.key(0), batch()).params
    drawn = made.sample(variables, DDIM(steps=2, guidance=Recorded()), jax.random.split(jax.random.key(0), 2), None)
    np.testing.assert_allclose(drawn.x0, 0.25)
