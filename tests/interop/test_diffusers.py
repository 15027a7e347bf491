"""Names, shapes and orders of what is converted, without PyTorch; tests/parity/test_unet.py compares the outputs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.interop.diffusers import load, unet_fields, unet_variables
from diffjax.models import UNet
from diffjax.parallel import Axis
from diffjax.precision import Precision

CONFIG = {
    "sample_size": 4,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": 4,
    "num_class_embeds": 3,
}


def shapes_of(resnets, attentions, samplers):
    """{key: shape} of a state dict, as diffusers 0.35 writes it, from the channels (in, out) of its modules."""
    shapes = {"class_embedding": (3, 16)}

    def layer(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    layer("conv_in", 4, 1, 3, 3)
    layer("time_embedding.linear_1", 16, 4)
    layer("time_embedding.linear_2", 16, 16)
    for name, (before, after) in resnets.items():
        layer(f"{name}.norm1", before)
        layer(f"{name}.conv1", after, before, 3, 3)
        layer(f"{name}.time_emb_proj", after, 16)
        layer(f"{name}.norm2", after)
        layer(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            layer(f"{name}.conv_shortcut", after, before, 1, 1)
    for name in attentions:
        layer(f"{name}.group_norm", 8)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            layer(f"{name}.{part}", 8, 8)
    for name, channels in samplers.items():
        layer(f"{name}.conv", channels, channels, 3, 3)
    layer("conv_norm_out", 4)
    layer("conv_out", 1, 4, 3, 3)
    shapes["class_embedding.weight"] = shapes.pop("class_embedding")
    return shapes


SHAPES = shapes_of(
    resnets={
        "down_blocks.0.resnets.0": (4, 4), "down_blocks.1.resnets.0": (4, 8), "mid_block.resnets.0": (8, 8),
        "mid_block.resnets.1": (8, 8), "up_blocks.0.resnets.0": (16, 8), "up_blocks.0.resnets.1": (12, 8),
        "up_blocks.1.resnets.0": (12, 4), "up_blocks.1.resnets.1": (8, 4),
    },
    attentions=(
        "down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0", "up_blocks.0.attentions.1",
    ),
    samplers={"down_blocks.0.downsamplers.0": 4, "up_blocks.0.upsamplers.0": 8},
)  # fmt: skip


@pytest.fixture
def weights():
    numbers = np.random.default_rng(0)
    return {key: numbers.normal(size=shape).astype(np.float32) for key, shape in SHAPES.items()}


def network(config=CONFIG):
    return UNet(**unet_fields(config), precision=Precision(), axis=Axis())


def test_a_config_becomes_fields():
    fields = unet_fields(CONFIG)
    assert fields["shape"] == (4, 4, 1) and fields["num_classes"] == 3 and fields["outputs"] == 1
    assert (fields["channels"], fields["multipliers"], fields["attention"]) == (4, (1, 2), (2,))
    assert (fields["frequencies"], fields["downsample_padding"], fields["eps"]) == ("open", 1, 1e-5)  # its defaults
    learned = unet_fields(CONFIG | {"out_channels": 2})
    assert learned["shape"] == (4, 4, 1) and learned["outputs"] == 2


def test_every_weight_finds_its_place_and_is_turned_the_right_way(weights):
    variables = unet_variables(weights, network(), CONFIG)["params"]
    for (module, layer), key in {
        ("down_1_0", "conv_1"): "down_blocks.1.resnets.0.conv1",
        ("up_1_1", "shortcut"): "up_blocks.0.resnets.1.conv_shortcut",
        ("up_0_0", "conv_2"): "up_blocks.1.resnets.0.conv2",
    }.items():
        np.testing.assert_array_equal(
            variables[module][layer]["kernel"], weights[f"{key}.weight"].transpose(2, 3, 1, 0)
        )
    np.testing.assert_array_equal(variables["up_1_sample"]["bias"], weights["up_blocks.0.upsamplers.0.conv.bias"])
    attention = weights["mid_block.attentions.0.to_out.0.weight"]
    np.testing.assert_array_equal(variables["middle_attention"]["out"]["kernel"], attention.T)
    np.testing.assert_array_equal(variables["output_norm"]["scale"], weights["conv_norm_out.weight"])
    assert sum(x.size for x in jax.tree.leaves(variables)) == sum(x.size for x in weights.values()) + 16


def test_no_label_adds_nothing(weights):
    table = unet_variables(weights, network(), CONFIG)["params"]["embedding"]["label"]
    np.testing.assert_array_equal(table[:3], weights["class_embedding.weight"])
    np.testing.assert_array_equal(table[3], 0)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("flip", [False, True])
def test_sines_and_cosines_meet_their_weights_in_any_order(weights, flip, shift):
    config = CONFIG | {"flip_sin_to_cos": flip, "freq_shift": shift}
    made = network(config)
    kernel = unet_variables(weights, made, config)["params"]["embedding"]["time_1"]["kernel"]
    angles = 37.0 * 10_000.0 ** (-np.arange(2) / (2 - shift))
    waves = [np.cos(angles), np.sin(angles)] if flip else [np.sin(angles), np.cos(angles)]
    theirs = weights["time_embedding.linear_1.weight"] @ np.concatenate(waves)
    ours = [np.sin(angles), np.cos(angles)] if made.frequencies == "closed" else [np.cos(angles), np.sin(angles)]
    np.testing.assert_allclose(np.concatenate(ours) @ kernel, theirs, rtol=1e-5)


def test_checkpoints_of_2022_name_their_attention_otherwise(weights):
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in weights.items():
        for new_name, old_name in renamed.items():
            key = key.replace(f".{new_name}.", f".{old_name}.")
        old[key] = value
    assert old.keys() != weights.keys()
    jax.tree.map(
        np.testing.assert_array_equal,
        unet_variables(old, network(), CONFIG),
        unet_variables(weights, network(), CONFIG),
    )


def test_weights_that_do_not_fit_are_named(weights):
    without = {key: value for key, value in weights.items() if key != "mid_block.resnets.1.conv2.weight"}
    with pytest.raises(UserError, match="are missing, such as that of our middle_2/conv_2/kernel"):
        unet_variables(without, network(), CONFIG)
    with pytest.raises(UserError, match="down_blocks.7.resnets.0.conv1.weight has no place"):
        unet_variables(weights | {"down_blocks.7.resnets.0.conv1.weight": np.zeros((4, 4, 3, 3))}, network(), CONFIG)
    with pytest.raises(UserError, match="encoder.something.weight has no place"):
        unet_variables(weights | {"encoder.something.weight": np.zeros(3)}, network(), CONFIG)
    with pytest.raises(UserError, match="conv_out.bias has shape"):
        unet_variables(weights | {"conv_out.bias": np.zeros(5)}, network(), CONFIG)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "_class_name: 'UNet2DConditionModel'"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type: 'fourier'.* must be 'positional'"),
        ({"center_input_sample": True}, "center_input_sample: True"),
        ({"mid_block_scale_factor": 1.4}, "mid_block_scale_factor: 1.4"),
        ({"block_out_channels": (4, 6)}, r"block_out_channels: \(4, 6\).* multiples of the first"),
        ({"down_block_types": ("SkipDownBlock2D", "DownBlock2D")}, "down_block_types: .*Skip"),
        ({"up_block_types": ("UpBlock2D", "UpBlock2D")}, "up_block_types: .* attend where"),
        ({"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D")}, "down_block_types: .* all levels alike"),
        ({"attn_norm_num_groups": 4}, "attn_norm_num_groups: 4"),
        ({"act_fn": "gelu"}, "act_fn: 'gelu'"),
        ({"class_embed_type": "timestep"}, "class_embed_type: 'timestep'"),
        ({"sample_size": None}, "sample_size: None"),
    ],
)
def test_a_setting_without_a_counterpart_is_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message) as error:
        unet_fields(CONFIG | setting)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_is_an_error_in_one_line(tmp_path, weights):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(UserError, match="there is no .*/diffusion_pytorch_model.safetensors") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_files_are_errors_in_one_line(tmp_path):
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"cut short")
    for text, said in (
        ("{", "interop: .*/config.json cannot be read: "),
        ("[]", "interop: .*/config.json must hold the config of a UNet2DModel, a JSON object"),
        (json.dumps(CONFIG), "weights: .*/diffusion_pytorch_model.safetensors cannot be read: "),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=said) as error:
            load(tmp_path)
        assert "\n" not in str(error.value)


def test_an_imported_network_answers(weights):
    made = network()
    y = jax.eval_shape(made.apply, unet_variables(weights, made, CONFIG), jnp.zeros((2, 4, 4, 1)), jnp.zeros(2))
    assert y.shape == (2, 4, 4, 1)
