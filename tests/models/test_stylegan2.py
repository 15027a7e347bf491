from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models.layers import BILINEAR, downsample, upsample
from diffjax.models.modulated import (
    EqualizedConv,
    EqualizedDense,
    Mapping,
    StyledConv,
    convolve,
    enlarged,
    modulated,
    same,
    transposed,
)
from diffjax.models.stylegan2 import FORGETS, StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

KEY = jax.random.key(0)
WIDTHS = {"channel_base": 32, "channel_max": 6}  # 6 channels at 4 pixels, 4 at 8
TINY = {"latent": 3, "style": 5, "mapping_layers": 2, **WIDTHS}


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


def generator(shape=(8, 8, 1), num_classes=0, precision=None, axis=None, **fields):
    return StyleGAN2Generator(shape, num_classes, precision or Precision(), axis or Axis(), **TINY | fields)


def discriminator(shape=(8, 8, 1), num_classes=0, precision=None, **fields):
    return StyleGAN2Discriminator(shape, num_classes, precision or Precision(), Axis(), **WIDTHS | fields)


def variables_of(network, *inputs):
    """As training might leave them: nothing is 0, and every layer keeps about the size of what it is given."""

    def resized(path, leaf):
        names = [key.key for key in path]
        size = 3 * (100 if any(name.startswith("layer_") for name in names) else 1) if names[-1] == "kernel" else 1
        return size * leaf

    return jax.tree_util.tree_map_with_path(resized, trained(network, *inputs))


def applied(network, **fixed):
    """The network as one compiled function of (variables, ...)."""
    return jax.jit(partial(network.apply, **fixed))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# ------------------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("convolution", [same, enlarged])
def test_a_modulated_convolution_is_one_with_weights_of_each_examples_own(convolution, demodulate):
    x, kernel, style = normal(3, 4, 5, 2), normal(3, 3, 2, 4, seed=2), normal(3, 2, seed=3)
    own = style[:, None, None, :, None] * kernel
    if demodulate:
        own = own / jnp.sqrt(jnp.sum(own**2, axis=(1, 2, 3), keepdims=True))
    expected = jnp.concatenate([convolution(x[i : i + 1], own[i]) for i in range(3)])
    y = jax.jit(partial(modulated, demodulate=demodulate, convolution=convolution))(x, kernel, style)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_demodulated_outputs_have_the_variance_of_their_inputs_whatever_the_style():
    style = jnp.exp(normal(4, 16))
    y = modulated(normal(4, 48, 48, 16), 3.0 * normal(3, 3, 16, 8, seed=2), style)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(jnp.var(y, axis=(1, 2)), 1, atol=0.2)  # 2,116 pixels, neighbours alike
    np.testing.assert_allclose(jnp.var(y), 1, atol=0.03)


def test_an_enlarging_convolution_is_one_after_zeros_and_filter_wherever_these_reach():
    x, kernel = normal(2, 4, 5, 3), normal(3, 3, 3, 2, seed=2)
    around = upsample(jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), BILINEAR)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(jax.jit(enlarged)(x, kernel), convolve(around, kernel, (1, 1), "VALID"), atol=1e-5)


def test_a_halving_convolution_is_one_before_the_filter_wherever_it_reaches():
    x, layer = normal(2, 6, 8, 3), EqualizedConv(2, halve=True)
    variables = variables_of(layer, x)
    kernel, bias = (variables["params"][name] for name in ("kernel", "bias"))
    around = convolve(x, kernel / 27**0.5, (1, 1), ((3, 3), (3, 3)))
    np.testing.assert_allclose(layer.apply(variables, x), downsample(around, BILINEAR)[:, 1:-1, 1:-1] + bias, atol=1e-5)


def test_a_transposed_convolution_and_its_second_derivatives_are_xlas_own_which_other_devices_take():
    x, kernel = normal(1, 3, 4, 2), normal(3, 3, 2, 3, seed=2)
    native = partial(convolve, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def penalty(kernel, method):
        slope = jax.grad(lambda x: jnp.sum(jnp.tanh(method(x, kernel))))(x)
        return jnp.sum(slope**2)

    np.testing.assert_allclose(jax.jit(transposed)(x, kernel), native(x, kernel), atol=1e-5)
    ours, theirs = (jax.jit(jax.grad(partial(penalty, method=method)))(kernel) for method in (transposed, native))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    lowered = {
        p: jax.jit(transposed).trace(x, kernel).lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")
    }
    assert ["lhs_dilate = [2, 2]" in lowered[platform] for platform in ("cpu", "cuda")] == [False, True]


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_an_equalised_layer_is_as_large_at_first_and_as_slow_as_its_multiplier(multiplier):
    layer, x = EqualizedDense(400, multiplier), normal(50, 64)
    params = layer.init(KEY, x)["params"]
    np.testing.assert_allclose(jnp.std(params["kernel"]), 1 / multiplier, rtol=0.02)
    np.testing.assert_allclose(jnp.var(layer.apply({"params": params}, x)), 1, rtol=0.1)
    step = jax.tree.map(lambda w: w + 1.0, params)  # every weight by as much, as Adam might
    change = layer.apply({"params": step}, x) - layer.apply({"params": params}, x)
    expected = multiplier * (x.sum(-1, keepdims=True) / 64**0.5 + 1)
    np.testing.assert_allclose(change, jnp.broadcast_to(expected, change.shape), rtol=1e-2, atol=1e-3 * multiplier)


def test_the_mapping_does_not_see_how_long_z_is():
    mapping = Mapping(6, 2, 3, {"dtype": "float32", "param_dtype": "float32"})
    z, label = normal(4, 5), jnp.array([0, 1, 2, 0])
    variables, call = variables_of(mapping, z, label), applied(mapping)
    w = call(variables, z, label)
    np.testing.assert_allclose(call(variables, 7 * z, label), w, rtol=1e-5, atol=1e-6)
    assert jnp.abs(call(variables, z, (label + 1) % 3) - w).max() > 0.1


def test_noise_is_the_examples_own_one_number_a_pixel_and_at_first_of_no_strength():
    layer, x, w, keys = StyledConv(3, True, Precision()), normal(4, 4, 4, 2), normal(4, 5), jax.random.split(KEY, 4)
    first, call = jax.jit(layer.init)(KEY, x, w, None), applied(layer)
    np.testing.assert_array_equal(call(first, x, w, keys), call(first, x, w, None))
    linear = first["params"] | {"noise": jnp.float32(0.5), "bias": jnp.full(3, 100.0)}  # far above the kink
    without, noisy = (call({"params": linear}, x, w, given) for given in (None, keys))
    noise = (noisy - without) / (0.5 * 2**0.5)
    np.testing.assert_allclose(noise, jnp.broadcast_to(noise[..., :1], noise.shape), atol=1e-3)
    assert 0.8 < jnp.std(noise[..., 0]) < 1.2
    part = call({"params": linear}, x[2:], w[2:], keys[2:])
    np.testing.assert_allclose(part, noisy[2:], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------- generator


def test_every_example_has_noise_of_its_own_and_none_without_keys():
    network, z = generator(), jnp.broadcast_to(normal(1, 3), (3, 3))
    variables, keys = variables_of(network, z), jax.random.split(KEY, 3)
    draw = jax.jit(lambda variables, z, keys: network.apply(variables, z, keys=keys))
    images = draw(variables, z, keys)
    assert jnp.abs(images[0] - images[1]).max() > 0.1
    np.testing.assert_allclose(draw(variables, z, keys[::-1]), images[::-1], rtol=1e-4, atol=1e-4)
    flat = jax.tree_util.tree_map_with_path(lambda path, w: 0 * w if path[-1].key == "noise" else w, variables)
    silent = draw(flat, z, keys)
    np.testing.assert_allclose(silent, draw(variables, z, None), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(silent[0], silent[1], rtol=1e-4, atol=1e-4)


def test_the_mean_style_follows_the_batch_in_training_alone_on_any_number_of_devices():
    network, z = generator(), normal(8, 3)
    variables = variables_of(network, z)
    w = applied(network, method="styles")(variables, z)[:, 0]
    before = variables["styles"]["mean"]
    expected = before + FORGETS * (w.mean(0) - before)

    def train(axis, train=True):
        made = {"method": "styles", "mutable": ["styles"], "train": train}
        return lambda z: generator(axis=axis).apply(variables, z, **made)[1]["styles"]["mean"]

    np.testing.assert_allclose(jax.jit(train(Axis()))(z), expected, rtol=1e-5, atol=1e-6)
    many = jax.jit(jax.vmap(train(Axis("data")), axis_name="data"))(z.reshape(4, 2, 3))
    np.testing.assert_allclose(many, jnp.broadcast_to(expected, (4, 5)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(jax.jit(train(Axis(), train=False))(z), before)
    np.testing.assert_array_equal(jax.jit(network.init)(KEY, z)["styles"]["mean"], jnp.zeros(5))


def test_psi_0_is_the_image_of_the_mean_style_whatever_z_and_psi_1_changes_nothing():
    network, z = generator(), normal(3, 3)
    variables = variables_of(network, z)
    middle = jnp.broadcast_to(variables["styles"]["mean"], (3, 4, 5))
    expected, images = applied(network, method="draw")(variables, middle), applied(network)(variables, z)
    assert jnp.abs(images[0] - images[1]).max() > 0.1
    np.testing.assert_allclose(applied(network, psi=0.0)(variables, z), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(applied(network, psi=1.0)(variables, z), images)
    whole, half = (applied(network, method="styles", psi=psi)(variables, z) for psi in (1.0, 0.5))
    np.testing.assert_allclose(half, (middle + whole) / 2, rtol=1e-4, atol=1e-4)


def test_mixing_gives_later_layers_another_style_in_training():
    network, z, keys = generator(mixing=0.75), normal(400, 3), jax.random.split(KEY, 400)
    variables = variables_of(network, z)
    styles = applied(network, method="styles")
    train = jax.jit(lambda z, keys: network.apply(variables, z, keys=keys, train=True, method="styles"))
    plain, mixed = styles(variables, z), train(z, keys)
    np.testing.assert_array_equal(styles(variables, z, None, keys), plain)
    other = jnp.abs(mixed - plain).max(-1) > 0
    assert plain.shape[1] == 4 and (other[:, 1:] >= other[:, :-1]).all()  # from some layer on
    np.testing.assert_allclose(jnp.mean(other, axis=0), [0, 0.25, 0.5, 0.75], atol=0.1)  # any but the first
    np.testing.assert_array_equal(jnp.where(other[:, 2:3], mixed[:, 3], 0), jnp.where(other[:, 2:3], mixed[:, 2], 0))
    assert jnp.ptp(mixed[other[:, 3], 3], axis=0).max() > 1  # each of another z
    np.testing.assert_allclose(train(z[::-1], keys[::-1]), mixed[::-1], rtol=1e-4, atol=1e-4)


def test_an_image_is_the_sum_of_those_read_off_at_each_side():
    network, z = generator(), normal(2, 3)
    variables, draw = variables_of(network, z), applied(network)
    sides = {"image_0", "image_1"}

    def only(*names):
        synthesis = variables["params"]["synthesis"]
        silent = {n: jax.tree.map(jnp.zeros_like, synthesis[n]) for n in sides.difference(names)}
        return draw(variables | {"params": variables["params"] | {"synthesis": synthesis | silent}}, z)

    np.testing.assert_allclose(only("image_0") + only("image_1"), only(*sides), rtol=1e-4, atol=1e-4)
    assert jnp.ptp(only("image_0")) > 0.1 and jnp.ptp(only("image_1")) > 0.1


# ------------------------------------------------------------------------------------------------------ both networks


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (16, 28, 3)])
def test_the_generator_makes_images_that_the_discriminator_judges(shape):
    networks = generator(shape, channel_base=256), discriminator(shape, channel_base=256)
    x, _ = jax.eval_shape(lambda z: networks[0].init_with_output(KEY, z), jnp.zeros((4, 3)))
    logits, _ = jax.eval_shape(lambda x: networks[1].init_with_output(KEY, x), x)
    assert (x.shape, x.dtype, logits.shape, logits.dtype) == ((4, *shape), jnp.float32, (4,), jnp.float32)
    packed = jnp.zeros((4, *shape[:2], 2 * shape[2]))
    assert jax.eval_shape(lambda x: networks[1].init_with_output(KEY, x), packed)[0].shape == (4,)


def parameters(shape, num_classes, g, d):
    """Those of the published widths: nothing is compiled."""
    label = jnp.zeros(1, int) if num_classes else None
    g, d = (
        StyleGAN2Generator(shape, num_classes, Precision(), Axis(), **g),
        StyleGAN2Discriminator(shape, num_classes, Precision(), Axis(), **d),
    )
    x = jnp.zeros((1, *shape))
    return tuple(
        count(jax.eval_shape(n.init, KEY, given, label)["params"]) for n, given in ((g, jnp.zeros((1, 512))), (d, x))
    )


def test_they_have_as_many_parameters_as_the_authors_code_prints():
    assert parameters((1024, 1024, 3), 0, {"mapping_layers": 2}, {}) == (28_794_124, 29_012_513)


@pytest.mark.parametrize(("num_classes", "expected"), [(0, (19_947_539, 20_720_641)), (10, (20_215_315, 23_089_664))])
def test_those_for_cifar_have_some_20_million_each(num_classes, expected):
    assert parameters((32, 32, 3), num_classes, {"mapping_layers": 2}, {"architecture": "orig"}) == expected


def test_a_fresh_network_keeps_the_size_of_what_it_is_given():
    g = generator(latent=32, style=32, channel_base=256, channel_max=32)
    d = discriminator(channel_base=256, channel_max=32)
    for network, x in ((g, normal(64, 32)), (d, normal(64, 8, 8, 1))):
        made = jax.jit(lambda x: network.apply(network.init(KEY, x[:1]), x))(x)  # noqa: B023
        assert 0.3 < jnp.sqrt(jnp.mean(made**2)) < 3


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_labels_change_the_answer_where_there_are_any(architecture):
    x, one, other = normal(4, 8, 8, 1), jnp.full(4, 3), jnp.full(4, 4)
    network = discriminator(num_classes=10, architecture=architecture, mapping_layers=2)
    variables, judge = variables_of(network, x, one), applied(network)
    assert jnp.abs(judge(variables, x, one) - judge(variables, x, other)).min() > 0.01
    assert ("shortcut_1" in variables["params"]) == (architecture == "resnet")
    several = network.clone(outputs=11)
    assert jax.eval_shape(several.init_with_output, KEY, x)[0].shape == (4, 11)
    assert "mapping" not in jax.eval_shape(network.init, KEY, x)["params"]


def test_the_generator_shows_a_label_beside_z():
    network, z = generator(num_classes=10), normal(1, 3)
    variables, draw = variables_of(network, z, jnp.array([3])), applied(network)
    three, four = (draw(variables, z, jnp.array([label])) for label in (3, 4))
    assert jnp.abs(three - four).max() > 0.1
    assert "embed" not in jax.eval_shape(network.init, KEY, z)["params"]["mapping"]


def test_the_discriminator_looks_at_neighbours_if_it_is_to():
    x = normal(4, 8, 8, 1)
    other = x.at[1].set(2 * x[1])
    for group, sees in ((0, False), (2, True)):
        network = discriminator(minibatch_std=group)
        variables, judge = variables_of(network, x), applied(network)
        before, after = (judge(variables, images) for images in (x, other))
        assert (jnp.abs(before - after)[0] > 1e-3) == sees
        np.testing.assert_allclose(after[2:], before[2:], rtol=1e-5)


@pytest.mark.parametrize("make", [generator, discriminator])
def test_networks_compute_in_bfloat16_and_answer_in_float32(make):
    network = make(num_classes=10, precision=Precision(compute="bfloat16"))
    seen = jnp.ones((4, 3) if make is generator else (4, 8, 8, 1))
    label = jnp.array([0, 1, 2, 3])
    out, variables = jax.eval_shape(network.init_with_output, KEY, seen, label)
    assert out.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    variables = variables_of(network, seen, label)
    rough, fine = (applied(n)(variables, seen, label) for n in (network, network.clone(precision=Precision())))
    np.testing.assert_allclose(rough, fine, atol=0.05 * float(jnp.abs(fine).max()))


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (generator, {"shape": (30, 30, 3)}, "StyleGAN2.* cannot have the 30x30x3 of data"),
        (discriminator, {"shape": (30, 30, 3)}, "StyleGAN2.* cannot have the 30x30x3 of data"),
        (generator, {"channel_base": 7}, "generator.channel_base: 7 must be at least 8"),
        (discriminator, {"channel_max": 0}, "method.discriminator.channel_max: 0 must be at least 1"),
        (generator, {"mixing": 1.5}, "method.generator.mixing: 1.5 must be a probability"),
        (generator, {"mapping_layers": 0}, "method.generator.mapping_layers: 0 must be at least 1"),
        (discriminator, {"mapping_layers": 0}, "method.discriminator.mapping_layers: 0 must be at least 1"),
        (discriminator, {"architecture": "skip"}, "discriminator.architecture: 'skip' is not one of orig, resnet"),
    ],
)
def test_what_it_cannot_build_is_the_users_mistake(make, fields, message):
    with pytest.raises(UserError, match=message):
        network = make(**fields)
        network.init(KEY, jnp.zeros((1, 3)) if make is generator else jnp.zeros((1, *network.shape)))
