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

from diffjax.augment import Ada, EdmAugment, NoAugment
from diffjax.data.space import Space
from diffjax.diffusion import (
    DDIM,
    EDM,
    GUIDANCE,
    Adaptive,
    Ancestral,
    Euler,
    EulerMaruyama,
    Flow,
    LearnedLogSNR,
    LearnedTable,
    PredictorCorrector,
    clock,
    ddpm_linear,
    editing,
    end_terms,
    grid,
    guidance,
    normal,
    target,
    times,
    variance,
    weighting,
)
from diffjax.errors import UserError
from diffjax.methods import Diffusion
from diffjax.methods.method import example_keys
from diffjax.models import UNet
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision

LABELLED = Space("points", (2,), num_classes=3, shift=0.0, scale=1.0)
IMAGES = Space("images", (8, 8, 1), num_classes=3)


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
    given = {
        "space": space, "precision": Precision(), "optimizers": {"denoiser": optax.sgd(0.1)}, "ema": HalfLife(),
        "batch_size": 64, "accumulate": 1, "network": Table, "conditional": True,
    }  # fmt: skip
    return Diffusion(**given | fields)


def batch(n=64):
    zeros = jnp.zeros((1, n), jnp.int32)
    return {"x": jnp.zeros((1, n, 2)), "label": zeros + 1, "position": jnp.arange(n, dtype=jnp.int32)[None]}


class Hinted(nn.Module):
    """A network that answers with the sum of what it is told was done to the image, and nothing else."""

    shape: Any
    num_classes: int
    precision: Any
    axis: Any
    augment_dim: int = 0

    @nn.compact
    def __call__(self, x, t, label=None, keys=None, augment_labels=None):
        weights = self.param("weights", nn.initializers.ones_init(), (self.augment_dim,))
        told = jnp.zeros((len(x), self.augment_dim)) if augment_labels is None else augment_labels
        return jnp.zeros_like(x) + (told @ weights)[:, None, None, None]


def test_augmentation_is_told_to_the_network_in_training_and_nothing_at_sampling():
    """Karras et al. 2022, section 5: non-leaky. Hints are zeros for images left alone, so samples are of those."""
    images = Space("images", (8, 8, 1))
    made = method(images, network=Hinted, conditional=False, augment=EdmAugment(p=0.5), target=target.X0())
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 64, 8, 8, 1)), jnp.uint8)
    state = made.init(jax.random.key(0), batch() | {"x": x})
    after, _ = jax.jit(partial(made.step, axis=Axis()))(state, batch() | {"x": x}, jax.random.key(1))
    moved = np.asarray(after.params["denoiser"]["params"]["weights"] != 1)
    assert moved.shape == (9,) and moved.all()  # every hint was heard of
    assert (made.denoiser(after.params)(jnp.ones((2, 8, 8, 1)), jnp.full(2, 0.1)).x0 == 0).all()
    unet = partial(UNet, channels=4, multipliers=(1,), blocks=1)
    plain, told = (method(images, network=unet, conditional=False, augment=a) for a in (NoAugment(), EdmAugment()))
    states = (jax.eval_shape(m.init, jax.random.key(0), batch() | {"x": x}) for m in (plain, told))
    counts = [sum(w.size for w in jax.tree.leaves(state.params)) for state in states]
    assert counts[1] - counts[0] == 9 * 4  # one linear map of the nine numbers, without a bias


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augment": Ada()}, "method.augment: must be edm or none; a diffusion model would learn other augmentations"),
        ({"augment": EdmAugment(), "space": LABELLED}, "method.augment: must be none for points"),
        ({"augment": EdmAugment(), "network": Table}, "method.network: must take the labels of the augmentation"),
    ],
)
def test_augmentation_that_cannot_be_is_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        method(**{"space": Space("images", (8, 8, 1), num_classes=3)} | fields)


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
    assert [set(draw(scale, label).nfe.tolist()) for scale in (0.0, 1.0, 2.0)] == [{3}, {3}, {6}]
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
    with pytest.raises(UserError, match="needs a model trained with labels"):
        method(conditional=False).with_guidance(DDIM(), 2.0)
    with pytest.raises(UserError, match="method.conditional: true, but the data have neither labels nor captions"):
        method(space=replace(LABELLED, num_classes=0))


def test_a_classifiers_gradient_is_added_to_a_clipped_x0_and_any_other_guidance_is_clipped_last():
    """As in the released code of Dhariwal & Nichol 2021, and in Ho & Salimans 2022's."""
    made = method(target=target.X0())
    rows = jnp.asarray([[0.2, 0.3], [0.5, -3.0], [-0.4, 2.0], [4.0, 0.1]])  # the last is of no label
    variables, x = {"denoiser": {"params": {"rows": rows}}}, jnp.ones((3, 2))
    t, label = jnp.asarray(0.01), jnp.arange(3)  # sigma = 0.8

    def linear(x, t):
        return x[:, :1] * jnp.arange(3)

    def x0(guide):
        return made.denoiser(variables, DDIM(clip=True, guidance=guide))(x, t, label).x0

    by_classifier = partial(guidance.classifier, other=linear, scale=2.0)
    moved = 0.64 * 2 * jnp.arange(3)  # sigma^2 / alpha times the gradient
    for guide in (by_classifier, partial(guidance.interval, low=0.0, guidance=by_classifier)):
        np.testing.assert_allclose(x0(guide), jnp.stack([1 + moved, jnp.full(3, 0.1)], axis=1), rtol=1e-6)
    free = rows[3] + 2 * (rows[:3] - rows[3])
    guided = x0(partial(guidance.classifier_free, scale=2.0))
    np.testing.assert_allclose(guided, jnp.clip(free, -1, 1), rtol=1e-6)


class Seeing(Table):
    """A network that answers with the image it sees beside x_t, times a number of its own."""

    @nn.compact
    def __call__(self, x, t, label=None, keys=None):
        return self.param("scale", nn.initializers.ones_init(), ()) * x[..., self.shape[-1] :]


def test_both_models_of_autoguidance_see_the_photo():
    made = method(Space("images", (4, 4, 1)), network=Seeing, conditional=False, super_resolution=2, target=target.X0())
    better, worse = ({"denoiser": {"params": {"scale": jnp.asarray(scale)}}} for scale in (1.0, 3.0))
    guide = partial(guidance.autoguidance, other=made.denoiser(worse), scale=2.0)
    photo, x, t = jnp.arange(16.0).reshape(4, 4, 1), jnp.ones((2, 4, 4, 1)), jnp.asarray(0.01)
    for nest in (guide, partial(guidance.interval, low=0.0, guidance=guide)):
        seen = made.denoiser(better, editing.ImageConditioned.around(DDIM(guidance=nest), photo))(x, t).x0
        np.testing.assert_allclose(seen, jnp.stack([-photo, -photo]))  # 2 photo - 3 photo
        np.testing.assert_array_equal(made.denoiser(better, DDIM(guidance=nest))(x, t).x0, jnp.zeros_like(x))


@dataclass(frozen=True)
class Recorded:
    """A guidance that leaves a mark, to show that the config's own is used."""

    def __call__(self, denoiser, null, process):
        return guidance.clip_x0(denoiser, 0.25, 0.25)


def test_the_samplers_guidance_is_applied():
    made = method()
    variables = made.init(jax.random.key(0), batch()).params
    drawn = made.sample(variables, DDIM(steps=2, guidance=Recorded()), jax.random.split(jax.random.key(0), 2), None)
    np.testing.assert_allclose(drawn.x0, 0.25)


class Constant(nn.Module):
    """A network that answers a number of its own, whatever it is shown."""

    shape: Any
    num_classes: int
    precision: Any
    axis: Any
    outputs: int = 1

    @nn.compact
    def __call__(self, x, t, label=None, keys=None):
        row = self.param("row", nn.initializers.normal(0.5), (self.outputs * self.shape[-1],))
        return jnp.broadcast_to(row, (*x.shape[:-1], len(row)))


def points(n=64):
    return batch(n) | {"x": jax.random.normal(jax.random.key(5), (1, n, 2)) * 0.5}


def stepped(made, batch=None, count=1, key=1):
    """The states before and after some steps, and the last metrics."""
    batch = points() if batch is None else batch
    before = made.init(jax.random.key(0), batch)
    step, state = jax.jit(partial(made.step, axis=Axis())), before
    for _ in range(count):
        state, metrics = step(state, batch, jax.random.key(key))
    return before, state, metrics


def of_process(state):
    return state.params["denoiser"]["params"]["process"]


def test_a_learned_schedules_parameters_are_trained_averaged_and_drawn_with():
    spec = LearnedTable(timesteps=6)
    made = method(
        conditional=False, network=Constant, process=spec, weighting=weighting.VLB(), times=times.Uniform(),
        reverse_variance=variance.Learned(), clock=clock.index, target=target.Eps(),
        ema=HalfLife(images=0.0),
    )  # fmt: skip
    before, after, _ = stepped(made, count=3)
    assert (of_process(after)["logits"] != of_process(before)["logits"]).any()
    np.testing.assert_array_equal(after.ema["denoiser"]["params"]["process"]["logits"], of_process(after)["logits"])
    process = made.process_of(after.params)
    np.testing.assert_allclose(process.alpha(jnp.ones(())), spec.bind(of_process(after)).alpha(jnp.ones(())))
    drawn = made.sample(
        after.params, Ancestral(steps=6, variance="learned"), jax.random.split(jax.random.key(0), 3), None
    )
    assert np.isfinite(drawn.x0).all()


def vdm(**fields):
    slow = {"denoiser": optax.sgd(1e-4)}
    return method(
        conditional=False, network=Constant, weighting=weighting.VLB(), times=times.Uniform(t_min=0.0),
        low_discrepancy=True, target=target.X0(), clock=clock.log_snr, optimizers=slow, **fields,
    )  # fmt: skip


def test_the_ends_of_a_learned_schedule_follow_the_bound_and_its_inside_the_bounds_variance():
    """Kingma et al. 2021, section 5.1 and appendix I.2: to the last digit, by hand from the two objectives."""
    made = vdm(process=LearnedLogSNR(log_snr_max=5.0, log_snr_min=-3.0, width=4))
    before, after, metrics = stepped(made)
    x0 = LABELLED.to_model(points()["x"][0])
    keys = example_keys(jax.random.key(1), before.step, {"position": jnp.arange(64)})
    noise = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)[0]
    key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(noise)
    eps = normal(key_eps, x0)
    shared = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), before.step), 2**31 - 1)
    t = times.evenly_spread(shared, jnp.arange(64) / 64)
    row = before.params["denoiser"]["params"]["row"]

    def bound(params):
        process = made.process.bind(params)
        slope = jax.vmap(jax.grad(lambda t: -process.log_snr(t)))(t)
        diffusion = slope * jnp.exp(process.log_snr(t)) / 2 * jnp.mean((row - x0) ** 2, axis=1)
        return diffusion + end_terms(process, x0, eps, made.decoder)

    start = of_process(before)
    to_ends, to_inside = jax.jit(
        lambda params: (
            jax.grad(lambda p: jnp.mean(bound(p)))(params),
            jax.grad(lambda p: jnp.mean(bound(p) ** 2))(params),
        )
    )(start)
    for name, value in of_process(after).items():
        slope = (to_inside if name in made.process.inner else to_ends)[name]
        np.testing.assert_allclose(value, start[name] - 1e-4 * slope, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(metrics["loss"], jnp.mean(bound(start)), rtol=1e-4)


def test_one_draw_shared_by_the_batch_makes_the_bound_less_noisy():
    """The same expected loss; with evenly spread t its spread over steps, of examples all alike, is a fraction."""
    even = vdm(process=LearnedLogSNR(log_snr_max=4.0, log_snr_min=-4.0, width=0))
    alike = batch() | {"x": jnp.full((1, 64, 2), 0.5)}
    state = even.init(jax.random.key(0), alike)

    def losses(made):
        step = jax.jit(lambda key: made.step(state, alike, key, Axis())[1]["loss"])
        return np.asarray([step(jax.random.key(i)) for i in range(100)])

    together, alone = losses(even), losses(replace(even, low_discrepancy=False))
    np.testing.assert_allclose(together.mean(), alone.mean(), rtol=4 * alone.std() / alone.mean() / 10)
    assert together.std() < alone.std() / 2  # what is left is eps's share, in the reconstruction term


def test_the_losses_that_importance_sampling_remembers_are_in_the_state_and_survive_accumulation():
    process = ddpm_linear(timesteps=5)
    fields = {
        "conditional": False, "network": Constant, "process": process, "weighting": weighting.VLB(),
        "times": times.LossSecondMoment(history=4), "target": target.Eps(), "clock": clock.index,
        "reverse_variance": variance.LearnedRange(),
    }  # fmt: skip
    before, after, _ = stepped(method(**fields))
    assert before.extra["times"]["count"].sum() == 0 and after.extra["times"]["count"].sum() == 64
    assert (after.extra["times"]["losses"] != 0).any()
    in_parts = stepped(replace(method(**fields), accumulate=4))[1]
    for name in ("losses", "count"):
        np.testing.assert_allclose(in_parts.extra["times"][name], after.extra["times"][name], rtol=1e-5)
    later = stepped(method(**fields), count=6)[1]
    share = fields["times"].bind(later.extra["times"]).share
    assert len(set(np.asarray(share).round(6))) > 1  # its history full, it no longer draws uniformly


def test_a_learned_uncertainty_is_trained_with_the_network():
    made = method(conditional=False, network=Constant, weighting=weighting.Uncertainty(features=8))
    before, after, _ = stepped(made)
    mix = [state.params["denoiser"]["params"]["weighting"]["mix"] for state in (before, after)]
    assert (mix[0] == 0).all() and (mix[1] != 0).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reverse_variance": variance.Learned()}, "method.reverse_variance: .* steps of a table"),
        ({"times": times.LossSecondMoment()}, "method.times: loss_second_moment"),
        ({"process": ddpm_linear(), "weighting": weighting.Sigmoid()}, "method.weighting"),
        ({"label_dropout": 1.5}, "method.label_dropout"),
        ({"process": LearnedLogSNR(width=0)}, "method.weighting: must be vlb, as a learned schedule"),
        ({"process": ddpm_linear(), "times": times.Discrete(steps=10)}, "method.times.steps"),
        ({"process": ddpm_linear(), "times": times.LogitNormal()}, "method.times: logit_normal"),
        ({"space": Space("categories", (20, 1), values=2)}, "method.name: 'diffusion' needs images or points"),
        (
            {"process": ddpm_linear(), "weighting": weighting.VLB()},
            "method.times: log_normal has no density on a table of steps, and vlb divides by that; use uniform",
        ),
        ({"process": ddpm_linear(), "target": target.Velocity()}, "method.target: velocity is a derivative in t"),
        *(
            (
                {"process": Flow(), "target": ask, "weighting": weigh, "times": times.Discrete()},
                f"method.target: {name} says nothing of x0 at t = 1, where this process has alpha = 0",
            )
            for name, ask, weigh in (
                ("eps", target.Eps(), weighting.Simple()),
                ("score", target.Score(), weighting.Uniform()),
            )
        ),
        *(
            (
                {"process": Flow(), "target": ask, "weighting": weigh, "times": density},
                f"method.times: {name} draws t = 1, where log-SNR falls infinitely fast, and method.weighting {per}",
            )
            for name, density, ask, per, weigh in (
                ("discrete", times.Discrete(), target.Velocity(), "vlb", weighting.VLB()),
                ("discrete", times.Discrete(), target.V(), "sigmoid", weighting.Sigmoid()),
                ("logit_normal", times.LogitNormal(std=9.0), target.X0(), "vlb", weighting.VLB()),
            )
        ),
    ],
)
def test_switches_that_do_not_fit_together_are_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        stepped(method(**{"conditional": False, "network": Constant} | fields))


def test_eps_may_be_trained_on_a_flow_short_of_its_end_or_by_its_own_error():
    eps = {"process": Flow(), "target": target.Eps(), "conditional": False, "network": Constant}
    for weigh, density in ((weighting.Simple(), times.Uniform()), (weighting.Plain(), times.Discrete(steps=1))):
        made = method(weighting=weigh, times=density, **eps)
        made.check_sampler(DDIM(steps=3, grid=grid.log_snr))
        assert np.isfinite(stepped(made)[2]["loss"])


@pytest.mark.parametrize("density", [times.Uniform(), times.Cosine(), times.LogitNormal()])
def test_an_integral_over_log_snr_may_be_trained_on_a_flow_by_times_short_of_its_end(density):
    flow = {"process": Flow(), "target": target.Velocity(), "conditional": False, "network": Constant}
    assert np.isfinite(stepped(method(weighting=weighting.VLB(), times=density, **flow))[2]["loss"])


def test_a_sampler_that_asks_for_a_variance_the_model_has_not_learned_is_one_line():
    with pytest.raises(UserError, match="sampler.variance: must be small or large; this model has no learned variance"):
        method().check_sampler(Ancestral(steps=5, variance="learned"))


@pytest.mark.parametrize(
    ("fields", "spec", "message"),
    [
        ({}, DDIM(steps=3, clip=True), "sampler.clip: must be false for points"),
        (
            {"label_dropout": 0.0},
            DDIM(steps=3, guidance=partial(guidance.classifier, other=None)),
            "sampler.guidance.name: needs a model trained with hidden labels",
        ),
        (
            {"process": ddpm_linear(), "reverse_variance": variance.Learned()},
            Ancestral(steps=5, variance="learned", guidance=guidance.interval),
            "sampler.variance: 'learned' is not known under guidance by interval",
        ),
        (
            {"process": ddpm_linear(), "reverse_variance": variance.Learned()},
            Ancestral(
                steps=5, variance="learned", guidance=partial(guidance.dynamic_threshold, guidance=guidance.interval)
            ),
            "sampler.guidance.name: must not be dynamic_threshold for points",
        ),
        (
            {"process": ddpm_linear(), "reverse_variance": variance.Learned(), "space": IMAGES, "network": Constant},
            Ancestral(
                steps=5, variance="learned", guidance=partial(guidance.dynamic_threshold, guidance=guidance.interval)
            ),
            "sampler.variance: 'learned' is not known under guidance by interval",
        ),
        *(
            (
                {"process": ddpm_linear()},
                spec,
                f"sampler.{name} cannot draw, as a table of 1000 steps has no derivative",
            )
            for spec, name in (
                (Euler(steps=3), "name: 'euler'"),
                (EulerMaruyama(steps=3), "name: 'euler_maruyama'"),
                (Adaptive(), "name: 'adaptive'"),
                (PredictorCorrector(steps=3, predictor="euler_maruyama"), "predictor: 'euler_maruyama'"),
            )
        ),
        (
            {"process": Flow(), "target": target.Eps(), "times": times.Uniform()},
            DDIM(steps=3),
            "sampler.grid: must start below t = 1, where alpha = 0 and a network that predicts eps says nothing",
        ),
        (
            {},
            editing.RePaint.around(Ancestral(steps=5, variance="learned"), np.zeros(2), known=np.zeros(2, bool)),
            "sampler.variance: must be small or large",
        ),
        ({}, editing.SDEdit.around(DDIM(), np.zeros(3)), r"sampler.photo: its shape \(3,\) must be the data's, \(2,\)"),
        ({}, editing.ImageConditioned.around(DDIM(), np.zeros(2)), "sampler.name: ImageConditioned needs a model of"),
        (
            {"process": LearnedTable(timesteps=9), "weighting": weighting.VLB(), "times": times.Uniform()},
            DDIM(steps=3, grid=grid.karras),
            "sampler.grid: must be linear, quadratic, ddim_quadratic or explicit; a learned table",
        ),
    ],
)
def test_a_sampler_that_does_not_fit_the_model_is_one_line(fields, spec, message):
    with pytest.raises(UserError, match=message):
        method(**fields).check_sampler(spec)


def test_an_edit_that_walks_back_and_forth_fits_wherever_its_sampler_does():
    walk = editing.RePaint.around(DDIM(steps=5), np.zeros(2), known=np.zeros(2, bool))
    method().check_sampler(method().with_guidance(walk, 2.0))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("classifier_free", "scale", -1.0),
        ("classifier_free", "scale", float("nan")),
        ("classifier_free", "rescale", 2.0),
        ("interval", "low", 3.0),
        ("autoguidance", "scale", float("inf")),
        ("classifier", "scale", -0.5),
        ("dynamic_threshold", "percentile", 0.0),
        ("rounded", "steps", 0),
    ],
)
def test_a_guidance_that_could_not_draw_is_one_line_before_training(name, field, value):
    guide = partial(GUIDANCE[name], **{field: value})
    for nest in (guide, partial(guidance.interval, guidance=guide)):
        with pytest.raises(UserError, match=f"^sampler.guidance.{field}: {value} must be [^\n]*$"):
            method().check_sampler(DDIM(steps=3, guidance=nest))


def test_a_learned_schedule_is_not_moved_by_the_density_from_which_its_times_are_drawn():
    """Whatever draws t, the ends feel the bound's own slope: the means of two ways to sample one integral agree."""
    slopes = {}
    for name, density in (("uniform", times.Uniform(t_min=0.0)), ("cosine", times.Cosine())):
        made = replace(vdm(process=LearnedLogSNR(log_snr_max=3.0, log_snr_min=-3.0, width=0)), times=density)
        state = made.init(jax.random.key(0), points())

        def ends(key, made=made, state=state):
            after, _ = made.step(state, points(), key, Axis())
            return {name: (of_process(state)[name] - of_process(after)[name]) / 1e-4 for name in of_process(state)}

        slopes[name] = jax.vmap(ends)(jax.random.split(jax.random.key(3), 400))
    for end in ("gamma_0", "gamma_1"):
        one, other = (np.asarray(slopes[name][end], np.float64) for name in slopes)
        error = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) < 4 * error, end
