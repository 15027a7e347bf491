import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.config import build, component
from diffjax.errors import UserError
from diffjax.models import ADM, NETWORKS, DDPMpp, NCSNpp, TextTransformer, UNet
from diffjax.models.embeddings import positions_2d
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

FLOAT32 = Precision()
SHAPE = (8, 8, 2)
UNATTENDED = {"attention": (16,), "middle_attention": "none"}  # 16 is the height of no level


def unet(shape=SHAPE, num_classes=3, precision=FLOAT32, **hyper):
    return UNet(
        shape,
        num_classes,
        precision,
        Axis(),
        **{"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), **hyper},
    )


def inputs(batch=4, dtype=jnp.float32):
    x = jax.random.normal(jax.random.key(0), (batch, *SHAPE), dtype)
    return x, jnp.linspace(-1.5, 1.1, batch, dtype=dtype), jnp.arange(batch) % 4


@pytest.fixture(scope="module")
def variables():
    return trained(unet(), *inputs(), size=0.1)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(unet(dropout=0.2).apply)


def parameters(module):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *module.shape)), jnp.zeros(1))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): x
        for path, x in jax.tree_util.tree_leaves_with_path(shapes)
        if path[0].key == "params"
    }


def test_the_defaults_are_ddpms_cifar10_network_to_the_last_parameter():
    network = UNet((32, 32, 3), 0, Precision(), Axis())
    assert sum(x.size for x in parameters(network).values()) == 35_746_307  # "35.7 million", Ho et al. 2020, appendix B


def test_ddpms_256_pixel_network_has_114_million_parameters():
    network = UNet((256, 256, 3), 0, Precision(), Axis(), multipliers=(1, 1, 2, 2, 4, 4))
    assert sum(x.size for x in parameters(network).values()) == 113_673_219  # "114 million", ibid.


@pytest.mark.parametrize(
    ("network", "shape", "num_classes", "outputs", "count"),
    [
        (DDPMpp, (32, 32, 3), 0, 1, 55_732_739),  # Karras et al. 2022: 56M
        (NCSNpp, (32, 32, 3), 0, 1, 56_395_523),  # the same
        (ADM, (64, 64, 3), 1000, 1, 295_900_035),  # the same: 296M; 768 of them are our row for "no label"
        (ADM, (64, 64, 3), 1000, 2, 295_905_222),  # Dhariwal & Nichol 2021, with a learned variance: 296M
    ],
)
def test_the_other_papers_networks_have_their_number_of_parameters(network, shape, num_classes, outputs, count):
    made = network(shape, num_classes, Precision(), Axis(), outputs=outputs)
    assert sum(x.size for x in parameters(made).values()) == count


def test_an_untrained_network_says_exactly_zero():
    x, t, label = inputs()
    key = jax.random.key(1, impl="rbg")  # compiles in half of threefry's time
    output, _ = jax.jit(unet().init_with_output)(key, x, t, label)
    assert output.shape == x.shape
    assert output.dtype == jnp.float32
    assert not output.any()


def test_attention_stands_where_it_was_asked_for_and_in_the_middle():
    def attended(attention):
        names = parameters(unet((16, 16, 1), multipliers=(1, 1, 2), attention=attention))
        return {name.split("/")[1] for name in names if "attention/q/kernel" in name}

    middle = {"middle_attention"}
    assert attended(()) == middle
    assert attended((8,)) == middle | {"down_1_0_attention", "up_1_0_attention", "up_1_1_attention"}
    assert attended((16, 4)) == middle | {
        f"{way}_{level}_{i}_attention" for level in (0, 2) for way, i in (("down", 0), ("up", 0), ("up", 1))
    }
    assert attended((5,)) == middle


def test_examples_do_not_see_each_other(variables, apply):
    x, t, label = inputs()
    order = jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label)
    np.testing.assert_allclose(apply(variables, x[order], t[order], label[order]), y[order], atol=2e-5)


def test_time_and_label_reach_the_output(variables, apply):
    x, t, label = inputs()
    y = apply(variables, x, t, label)
    for other in (apply(variables, x, t + 0.5, label), apply(variables, x, t, (label + 1) % 4)):
        assert np.abs(other - y).reshape(4, -1).max(axis=1).min() > 1e-3


def test_dropout_masks_go_with_the_example_and_are_off_without_keys(variables, apply):
    x, t, label = inputs()
    keys, order = jax.random.split(jax.random.key(5), 4), jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label, keys)
    moved = apply(variables, x[order], t[order], label[order], keys[order])
    np.testing.assert_allclose(moved, y[order], atol=2e-5)
    assert np.abs(apply(variables, x, t, label) - y).max() > 1e-2
    assert np.abs(apply(variables, x, t, label, keys[order]) - y).reshape(4, -1).max(axis=1).min() > 1e-2


EVERYTHING = {
    "attention": (4,), "attention_up": "last", "head_dim": 8, "modulation": "scale_shift",
    "resample": "projected", "resample_filter": (1, 3, 3, 1), "encoder": "residual", "decoder": "skip",
    "frequencies": "random", "labels": "early", "fourier_features": (1,), "skip_scale": 0.7, "groups": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def everything():
    """Variables of a network with every switch turned, and its output and gradient."""
    network = unet(outputs=2, **EVERYTHING)
    x, t, label = inputs()
    variables = trained(network, x, t, label, size=0.2)

    def loss(params, x):
        y = network.apply(variables | {"params": params}, x, t, label)
        return jnp.sum(jnp.sin(y)), y

    return variables, jax.jit(jax.value_and_grad(loss, has_aux=True))


def test_with_every_switch_turned_every_parameter_is_heard(everything):
    variables, gradient = everything
    (_, y), of_params = gradient(variables["params"], inputs()[0])
    assert y.shape == (4, 8, 8, 2 * 2)
    names = {jax.tree_util.keystr(path): g for path, g in jax.tree_util.tree_leaves_with_path(of_params)}
    deaf = [name for name, g in names.items() if not np.abs(g).max() > 1e-5]
    assert all(name.endswith("['k']['bias']") for name in deaf), deaf  # softmax ignores what all its logits share


def test_with_every_switch_turned_examples_do_not_see_each_other(everything):
    variables, gradient = everything
    x = inputs()[0]
    (_, y), _ = gradient(variables["params"], x)
    (_, other), _ = gradient(variables["params"], x.at[1].add(1.0))
    rest = np.array([0, 2, 3])
    np.testing.assert_allclose(other[rest], y[rest], atol=1e-5)
    assert np.abs(other[1] - y[1]).max() > 1e-2


def test_with_mirrored_kernels_residual_resampling_makes_the_mirrored_image_of_a_mirrored_image(everything):
    """Nothing moves by half a pixel on the way down or up, nor in the pyramids of the encoder and the decoder."""
    variables, gradient = everything
    x = inputs()[0]
    mirrored = jax.tree.map(lambda w: w[:, ::-1] if w.ndim == 4 else w, variables["params"])
    (_, y), _ = gradient(variables["params"], x)
    (_, of_mirrored), _ = gradient(mirrored, x[:, :, ::-1])
    np.testing.assert_allclose(of_mirrored, y[:, :, ::-1], atol=2e-5 * np.abs(y).max())


def test_what_is_conditioned_on_stands_beside_x_and_the_output_has_the_datas_channels():
    x, t, label = inputs()
    beside = jnp.concatenate([x, x, x[..., :1]], axis=-1)
    for network, channels in ((unet(), 2), (unet(outputs=2), 4), (unet(encoder="skip", decoder="skip"), 2)):
        y, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), beside, t, label)
        assert y.shape == (4, 8, 8, channels)
        assert variables["params"]["input"]["kernel"].shape[2] == 5


def test_positions_are_what_further_channels_of_sines_would_say():
    x, t, label = inputs()
    variables = trained(unet(positions=True), x, t, label, size=0.2)
    told = unet(positions=True).apply(variables, x, t, label)
    assert np.abs(unet().apply(variables, x, t, label) - told).max() > 1e-2
    sines = jnp.broadcast_to(positions_2d(8, 8, 8).reshape(8, 8, 8), (4, 8, 8, 8))
    heard = jnp.zeros((3, 3, 8, 8)).at[1, 1].set(jnp.eye(8))
    kernel = variables["params"]["input"]["kernel"]
    variables["params"]["input"]["kernel"] = jnp.concatenate([kernel, heard], axis=2)
    beside = jnp.concatenate([x, sines], axis=-1)
    np.testing.assert_allclose(unet().apply(variables, beside, t, label), told, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "ddpmpp", "ncsnpp", "adm"])
def test_a_config_shows_what_a_paper_chose_and_outputs_are_not_for_it_to_choose(name):
    node = component("network", name)
    assert "outputs" not in node and "shape" not in node
    assert node.channels == NETWORKS[name].channels
    made = build("network", component("network", name, channels=8, multipliers=(1, 2), blocks=1, head_dim=0))
    network = made(shape=SHAPE, num_classes=3, precision=FLOAT32, axis=Axis(), outputs=2)
    assert type(network) is NETWORKS[name]
    y = jax.eval_shape(network.init_with_output, jax.random.key(0), *inputs())[0]
    assert y.shape == (4, 8, 8, 4) and y.dtype == jnp.float32


def test_recomputing_blocks_changes_memory_and_not_the_gradients():
    x, t, label = inputs()
    keys = jax.random.split(jax.random.key(5, impl="rbg"), 4)  # compiles in half of threefry's time
    small = {"multipliers": (1,), "attention": (), "dropout": 0.2}
    variables = trained(unet(**small), x, t, label, size=0.1)

    def gradient(remat):
        network = unet(remat=remat, **small)

        def loss(variables):
            return jnp.mean((network.apply(variables, x, t, label, keys) - x) ** 2)

        return loss, jax.jit(jax.grad(loss))(variables)

    (plain_loss, plain), (remat_loss, remat) = gradient(False), gradient(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max() + 1e-7), plain, remat)
    for loss, recomputes in ((plain_loss, False), (remat_loss, True)):
        assert ("remat" in str(jax.make_jaxpr(jax.grad(loss))(variables))) == recomputes


def test_bfloat16_computes_in_16_bits_but_keeps_float32_parameters_and_output(variables, apply):
    x, t, label = inputs()
    network = unet(precision=Precision(compute="bfloat16"))
    assert {p.dtype for p in parameters(network).values()} == {jnp.dtype("float32")}
    y = jax.jit(network.apply)(variables, x, t, label)
    exact = apply(variables, x, t, label)
    assert y.dtype == jnp.float32
    assert np.linalg.norm(y - exact) < 0.03 * np.linalg.norm(exact)
    jaxpr = str(jax.make_jaxpr(network.apply)(variables, x, t, label))
    convolutions = re.findall(r"(\w+)\[[\d,]+\] = conv_general_dilated", jaxpr)
    assert convolutions == ["bf16"] * (len(convolutions) - 1) + ["f32"]  # the last one writes the output


def test_in_float64_nothing_is_rounded_to_fewer_bits(x64):
    x, t, label = inputs(dtype=jnp.float64)
    network = unet(precision=Precision(compute="float64", params="float64"), head_dim=4)
    shapes = jax.eval_shape(network.init, jax.random.key(1), x, t, label)
    jaxpr = str(jax.make_jaxpr(network.apply)(shapes, x, t, label))
    assert "f64[4,8,8,2]" in jaxpr
    assert not re.search(r"\b(f32|f16|bf16)\[", jaxpr)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        (
            {"shape": (28, 28, 1), "multipliers": (1, 2, 2, 2)},
            r"multipliers: \(1, 2, 2, 2\) .*28x28.* halved 2 times at most; give 3 numbers",
        ),
        ({"shape": (9, 8, 1), "multipliers": (1, 2)}, r"multipliers: .*9x8.* halved 0 times at most"),
        ({"shape": (2,)}, "name: UNet is for images.*use mlp"),
        ({"multipliers": ()}, "method.network.multipliers"),
        ({"channels": 0}, "method.network.channels: 0 must be at least 1"),
        ({"head_dim": 3}, "method.network.head_dim: 3 does not divide"),
        ({"dropout": 1.0}, "method.network.dropout: 1.0"),
        ({"resample": "pool"}, "method.network.resample: 'pool' is not one of conv, residual, projected"),
        ({"resample_filter": (1, 2, 1), "encoder": "skip"}, r"resample_filter: \(1, 2, 1\) must be symmetric, of even"),
        ({"resample_filter": (1, 3, 3, 1)}, r"resample_filter: .* nothing to filter"),
        ({"resample": "residual", "downsample_padding": 1}, "downsample_padding: 1"),
        ({"groups": 3}, "method.network.groups: 3 does not divide the 8 channels"),
        ({"skip_scale": 0.0}, "method.network.skip_scale: 0.0 must be positive"),
        ({"final_scale": -1.0}, "method.network.final_scale: -1.0"),
        ({"outputs": 0}, "method.network.outputs: 0"),
        ({"channels": 6, "positions": True}, "method.network.channels: 6 must be a multiple of 4"),
        (UNATTENDED | {"text": TextTransformer}, "method.network.text.conditioning: must be pooled, as this network"),
        (
            UNATTENDED | {"text": partial(TextTransformer, conditioning="cross_attention")},
            r"text.conditioning: must be pooled, .* such as method.network.attention=\(4,\)",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_anything_is_compiled(hyper, message):
    with pytest.raises(UserError, match=f"{message}") as error:
        unet(**hyper)
    assert "\n" not in str(error.value)


def test_a_pooled_caption_needs_no_attention():
    assert unet(**UNATTENDED, text=partial(TextTransformer, conditioning="pooled")).attention == (16,)
