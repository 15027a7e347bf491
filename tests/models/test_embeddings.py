import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.models.embeddings import TimeAndLabel, positions_2d, timestep_embedding, with_fourier_features
from diffjax.optim.state import TrainState, update
from diffjax.parallel import Axis
from tests.models.trained import trained


def test_the_time_embedding_is_its_closed_form(x64):
    t, half = np.array([0.0, 0.37, -1.5, 1.0, 999.0]), 8
    frequencies = np.array([10_000.0 ** (-i / (half - 1)) for i in range(half)])
    expected = np.concatenate([np.sin(np.outer(t, frequencies)), np.cos(np.outer(t, frequencies))], axis=1)
    np.testing.assert_allclose(timestep_embedding(jnp.asarray(t), 16), expected, atol=1e-11)
    assert (frequencies[0], frequencies[-1]) == (1.0, pytest.approx(1e-4))
    np.testing.assert_array_equal(
        timestep_embedding(jnp.asarray(t), 17)[:, :16], timestep_embedding(jnp.asarray(t), 16)
    )
    assert not timestep_embedding(jnp.asarray(t), 17)[:, 16].any()


def test_no_two_steps_of_a_thousand_share_an_embedding():
    embeddings = np.asarray(timestep_embedding(jnp.arange(1000.0), 32))
    distances = np.linalg.norm(embeddings[1:] - embeddings[:-1], axis=1)
    assert distances.min() > 0.5
    assert len(np.unique(embeddings.round(3), axis=0)) == 1000


def test_the_null_label_has_a_row_of_its_own_and_stands_for_no_label():
    module = TimeAndLabel(embedding=8, width=12, num_classes=3)
    t = jnp.array([0.1, 0.1, 0.1, 0.1])
    variables = trained(module, t)
    table = variables["params"]["label"]
    assert table.shape == (4, 12)
    rows = module.apply(variables, t, jnp.arange(4)) - TimeAndLabel(8, 12, 0).apply(variables, t)
    np.testing.assert_allclose(rows, table, atol=1e-6)
    np.testing.assert_array_equal(module.apply(variables, t), module.apply(variables, t, jnp.full(4, 3)))


def test_open_frequencies_stop_short_and_cosines_come_first(x64):
    t, half = np.array([0.37, 999.0]), 8
    angles = np.outer(t, [10_000.0 ** (-i / half) for i in range(half)])
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(timestep_embedding(jnp.asarray(t), 16, frequencies="open"), expected, atol=1e-11)


def test_an_early_label_joins_before_the_dense_layers():
    t, label = jnp.array([0.1, 0.1, 0.7]), jnp.array([0, 2, 2])
    module = TimeAndLabel(embedding=8, width=12, num_classes=3, labels="early")
    variables = trained(module, t)
    params = variables["params"]
    assert params["label"].shape == (4, 8)
    h = timestep_embedding(t, 8) + params["label"][label]
    for name in ("time_1", "time_2"):
        h = h @ params[name]["kernel"] + params[name]["bias"]
        h = jax.nn.silu(h) if name == "time_1" else h
    np.testing.assert_allclose(module.apply(variables, t, label), h, rtol=1e-5, atol=1e-5)


def test_random_frequencies_are_kept_with_the_variables_and_never_trained():
    module, t = TimeAndLabel(embedding=1024, width=2, num_classes=0, frequencies="random"), jnp.array([0.1, -0.3])
    variables = module.init(jax.random.key(3), t)
    frequencies = variables["constants"]["frequencies"]
    assert "frequencies" not in variables["params"]
    assert abs(np.std(frequencies) / 16 - 1) < 4 / np.sqrt(2 * 512)
    assert not np.array_equal(frequencies, module.init(jax.random.key(4), t)["constants"]["frequencies"])

    def loss(variables, batch):
        return jnp.mean(module.apply(variables, batch) ** 2), {"metrics": {}, "stats": {}}

    optimizer = optax.adamw(0.1)
    state = TrainState.create({"net": variables}, {"net": optimizer}, averaged=("net",))
    for accumulate in (1, 2):
        new, _, norm = jax.jit(update, static_argnums=(1, 2, 4, 5, 6))(
            state, "net", loss, t, optimizer, Axis(), accumulate
        )[:3]
        np.testing.assert_array_equal(new.params["net"]["constants"]["frequencies"], frequencies)
        assert norm > 0 and not np.array_equal(
            new.params["net"]["params"]["time_2"]["kernel"], variables["params"]["time_2"]["kernel"]
        )


def test_fourier_features_tell_neighbouring_levels_of_grey_apart():
    levels = (jnp.arange(256) + 0.5) / 128 - 1
    features = with_fourier_features(levels.reshape(1, 16, 16, 1), (7, 8)).reshape(256, 5)
    np.testing.assert_array_equal(features[:, 0], levels)
    for column, wave in ((1, np.sin), (3, np.cos)):
        for i, n in enumerate((7, 8)):
            exact = wave(2.0**n * np.pi * np.asarray(levels, np.float64))
            np.testing.assert_allclose(features[:, column + i], exact, atol=1e-4)
    assert np.abs(np.diff(features[:, 1])).min() > 1.9  # sin(2^7 pi x) goes from -1 to 1 and back
    assert with_fourier_features(jnp.zeros((2, 3, 3, 4)), ()).shape == (2, 3, 3, 4)


def test_positions_tell_every_cell_of_a_grid_apart_and_rows_from_columns():
    embedded = np.asarray(positions_2d(3, 5, 16)).reshape(3, 5, 16)
    np.testing.assert_allclose(embedded[2, :, :8], np.tile(embedded[2, 0, :8], (5, 1)))
    np.testing.assert_allclose(embedded[:, 4, 8:], np.tile(embedded[0, 4, 8:], (3, 1)))
    np.testing.assert_allclose(embedded[2, 2, :8], embedded[2, 2, 8:])
    assert len(np.unique(embedded.reshape(15, 16).round(4), axis=0)) == 15
