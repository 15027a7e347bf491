"""Films of both directions: which frames there are, when each is, and that the last shows the samples themselves."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, Flow, VPLinear
from diffjax.drawing import films
from diffjax.experiment import Experiment
from diffjax.inference.sampling import Drawn
from diffjax.run import Run
from tests import tiny

SMALL = {"data.num_train": "64", "data.num_heldout": "64", "method.kernel.steps": "8", "sampler.steps": "4"}
CONFIGS = {
    "points": (tiny.points, 4), "images, a chain": (tiny.bridge, 2), "captions": (tiny.shapes, 2),
    "categories": (lambda: tiny.changed("configs/heartbeat.py", SMALL, {"parallel.devices": "1"}), 4),
}  # fmt: skip


def begun(config):
    """A run of no steps."""
    experiment = Experiment.of(config)
    state = experiment.initial_state(jax.eval_shape(experiment.init, jax.random.key(0)))
    return Run(Path("nowhere"), experiment, state)


@pytest.fixture(scope="module", params=CONFIGS)
def case(request):
    """A run of each kind of method and space, what it draws, and in how many steps."""
    make, steps = CONFIGS[request.param]
    run, num = begun(make()), 6
    return run, run.experiment.generator(batch_size=num, trajectory=True).draw(run.ema, num, seed=0), steps


def halves(frame):
    return np.split(frame, 2, axis=1)


def test_the_way_back_ends_at_time_zero_with_the_samples_themselves(case):
    run, drawn, steps = case
    frames = films.backward(run, drawn, 24)
    assert [key[:2] for key in frames] == [(step, steps) for step in range(steps + 1)]
    times = [t for *_, t in frames]
    assert times[0] == 1 and times[-1] == 0 and (np.diff(times) < 0).all()
    samples = films._block(run.experiment, drawn)
    for half in halves(frames[steps, steps, 0.0]):
        np.testing.assert_array_equal(half, samples)


def test_every_frame_has_x_t_beside_the_x0_that_is_predicted_from_it(case):
    run, drawn, steps = case
    frames = list(films.backward(run, drawn, 24).values())
    for frame, x_t, x0 in zip(frames[:-1], films.frames(run, run.experiment.sampler, drawn), drawn.x0_hat, strict=True):
        left, right = halves(frame)
        np.testing.assert_array_equal(left, films._block(run.experiment, replace(drawn, x=x_t)))
        x0 = np.asarray(run.experiment.method.space.from_model(x0))
        np.testing.assert_array_equal(right, films._block(run.experiment, replace(drawn, x=x0)))


def test_of_fewer_frames_than_steps_the_first_and_the_last_stay(case):
    run, drawn, steps = case
    assert [key[0] for key in films.backward(run, drawn, 2)] == [0, steps]


@pytest.mark.parametrize("process", [VPLinear(), EDM(), Flow()])
def test_times_are_evenly_apart_in_log_snr_and_have_both_ends(process):
    first, *between, last = films.times_of(SimpleNamespace(process=process), 7)
    assert (first, last) == ((1, 1000), (1000, 1000))
    k, T = np.array(between).T
    assert (T == 1000).all()
    # Each t is one of 1000, of which EDM has few where little noise is.
    below, at, above = (np.asarray(process.log_snr(jnp.asarray(x / T))) for x in (k - 0.5, k, k + 0.5))
    assert (np.abs(at - np.array([4, 2, 0, -2, -4])) <= np.abs(above - below)).all()


def test_of_fewer_held_out_examples_than_a_film_shows_all_are_drowned():
    run = begun(tiny.points(data__num_heldout=64))
    frames, every = films.forward(run, 500, 2, seed=0), films.forward(run, 64, 2, seed=0)
    assert list(frames) == [(1, 1000), (1000, 1000)]
    np.testing.assert_array_equal(frames[1, 1000], every[1, 1000])


def test_a_film_shows_as_many_samples_as_can_be_seen_those_with_captions_in_few_columns():
    shown = {name: films.few(Experiment.of(make()).method) for name, (make, _) in CONFIGS.items()}
    assert shown == {"points": 500, "images, a chain": 16, "captions": 8, "categories": 16}


def test_captions_stand_four_to_a_row():
    experiment = Experiment.of(tiny.shapes())

    def block(num):
        captions = experiment.method.captions(["a small red circle on white"] * num)
        return films._block(experiment, Drawn(np.zeros((num, 16, 16, 3), np.uint8), captions, np.zeros(num)))

    assert block(8).shape[1] == block(4).shape[1] and block(8).shape[0] > 1.9 * block(4).shape[0]
