"""Converts Hugging Face diffusers' `UNet2DModel` to our UNet: its config to fields, its PyTorch weights to variables.

    network, variables = load("path/to/ddpm-cifar10-32")
    eps = network.apply(variables, x, t)  # x [b, h, w, c] instead of [b, c, h, w]; t in 0..999 as in diffusers

It does not need PyTorch: a state dict is {key: NumPy array}, and `load` reads a saved one with the package
safetensors.
"""

import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.interop.state_dicts import read
from diffjax.interop.trees import fitted, turned
from diffjax.models.unet import UNet
from diffjax.parallel import Axis
from diffjax.precision import Precision

DEFAULTS = {  # of diffusers, for keys that configs of older versions lack
    "_class_name": "UNet2DModel",
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
}
SUPPORTED = {
    "_class_name": ("UNet2DModel",),
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),  # "fourier" also divides the output by the time
    "freq_shift": (0, 1),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (0, 1),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None,),
}
BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
}


def unet_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of our UNet, except precision and axis, that make it equivalent to `UNet2DModel(**config)`.

    They include `shape`, `num_classes` and `outputs`: twice as many output as input channels are a learned variance.
    Raises UserError for a setting that our UNet does not support.
    """
    c = DEFAULTS | config
    for name, allowed in SUPPORTED.items():
        _require(c[name] in allowed, c, name, f"must be {' or '.join(map(repr, allowed))}")
    channels = c["block_out_channels"]
    _require(
        all(width % channels[0] == 0 for width in channels), c, "block_out_channels", "must be multiples of the first"
    )
    _require(c["time_embedding_dim"] in (None, 4 * channels[0]), c, "time_embedding_dim", f"must be {4 * channels[0]}")
    _require(c["norm_num_groups"], c, "norm_num_groups", "must be a number")
    _require(c["sample_size"], c, "sample_size", "must be the images' side, which says where to attend")

    size = c["sample_size"]
    height, width = size if isinstance(size, list | tuple) else (size, size)
    outputs = 2 if c["out_channels"] == 2 * c["in_channels"] else 1
    attention_levels = _attended(c)
    shift = c["resnet_time_scale_shift"] == "default"
    return {
        "shape": (height, width, c["out_channels"] // outputs),
        "num_classes": c["num_class_embeds"] or 0,
        "outputs": outputs,
        "channels": channels[0],
        "multipliers": tuple(width // channels[0] for width in channels),
        "blocks": c["layers_per_block"],
        "attention": tuple(height >> level for level, attends in enumerate(attention_levels) if attends),
        "middle_attention": _middle(c),
        "head_dim": c["attention_head_dim"] or 0,
        "modulation": "shift" if shift else "scale_shift",
        "resample": _resample(c),
        "downsample_padding": c["downsample_padding"] if _resample(c) == "conv" else 0,
        "frequencies": "closed" if c["freq_shift"] else "open",
        "groups": c["norm_num_groups"],
        "eps": c["norm_eps"],
        "dropout": c["dropout"],
    }


def unet_variables(state_dict: dict[str, np.ndarray], network: nn.Module, config: dict[str, Any]) -> dict[str, Any]:
    """The variables of `network`, built with `unet_fields(config)`, from a `UNet2DModel`'s state dict.

    Convolutions are transposed from [out, in, h, w] to [h, w, in, out], matrices from [out, in] to [in, out]. The
    embedding of "no label", which diffusers lacks, is 0. Raises UserError naming a key that is missing, unexpected or
    of another shape.
    """
    cosines_first = (DEFAULTS | config)["flip_sin_to_cos"]
    levels = len(network.multipliers)
    named = {}
    for key, value in state_dict.items():
        name = _our_name(key, levels)
        value = np.asarray(value)
        if name == "embedding/label":
            value = np.concatenate([value, np.zeros_like(value[:1])])
        elif name == "embedding/time_1/kernel" and cosines_first != (network.frequencies == "open"):
            value = np.roll(value, network.channels // 2, axis=1)  # ours: sines first if closed, cosines if open
        named[name] = turned(value) if name.endswith("kernel") else value, key

    shapes = jax.eval_shape(network.init, jax.random.key(0), _example(network, named), jnp.zeros(1))
    return {"params": jax.tree.map(jnp.asarray, fitted(named, shapes["params"], "state dict"))}


def load(path: str | Path, precision: Precision = Precision()) -> tuple[UNet, dict[str, Any]]:  # noqa: B008
    """Loads network and variables from a folder with config.json and diffusion_pytorch_model.safetensors.

    Raises UserError if the package safetensors is missing, or a file is missing or damaged, and as `unet_fields` and
    `unet_variables` do.
    """
    config_file, weights_file = Path(path) / "config.json", Path(path) / "diffusion_pytorch_model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise UserError(f"interop: there is no {file}")
    config = _config(config_file)
    network = UNet(**unet_fields(config), precision=precision, axis=Axis())
    return network, unet_variables(read(weights_file), network, config)


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"interop: {file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"interop: {file} must hold the config of a UNet2DModel, a JSON object")
    return config


def _require(condition: Any, config: dict, name: str, rule: str) -> None:
    if not condition:
        raise UserError(f"{name}: {config[name]!r} is not supported; it {rule}")


def _attended(c) -> list[bool]:
    """Whether each level has attention, from the full resolution down."""
    down, up = c["down_block_types"], c["up_block_types"]
    for name, supported in BLOCKS.items():
        _require(all(block in supported for block in c[name]), c, name, f"must be of {', '.join(supported)}")
    down_attention = [block.startswith("Attn") for block in down]
    symmetric = down_attention == [block.startswith("Attn") for block in reversed(up)]
    _require(symmetric, c, "up_block_types", "must attend where down_block_types do")
    return down_attention


def _middle(c) -> str:
    """The kind of middle attention; with "scale_shift" diffusers by default does not normalise it."""
    if not c["add_attention"]:
        return "none"
    groups = c["attn_norm_num_groups"]
    _require(groups in (None, c["norm_num_groups"]), c, "attn_norm_num_groups", "must be norm_num_groups or None")
    return "normalised" if groups or c["resnet_time_scale_shift"] == "default" else "plain"


def _resample(c) -> str:
    """The kind of resampling; our UNet has one kind for all levels, down and up."""
    kinds = set()
    for name, kind in (("down_block_types", c["downsample_type"]), ("up_block_types", c["upsample_type"])):
        for block in c[name][:-1]:  # the last block does not resample
            kinds.add("resnet" if block.startswith("Resnet") else kind if block.startswith("Attn") else "conv")
    name = "downsample_type" if len(kinds) < 2 else "down_block_types"
    _require(kinds <= {"conv", "resnet"} and len(kinds) < 2, c, name, "must resample all levels alike, both ways")
    return "residual" if kinds == {"resnet"} else "conv"


PARTS = {
    "conv_in": "input", "conv_norm_out": "output_norm", "conv_out": "output",
    "time_embedding.linear_1": "embedding/time_1", "time_embedding.linear_2": "embedding/time_2",
    "norm1": "norm_1", "conv1": "conv_1", "time_emb_proj": "condition", "norm2": "norm_2", "conv2": "conv_2",
    "conv_shortcut": "shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "out",
    "query": "q", "key": "k", "value": "v", "proj_attn": "out",  # in checkpoints of 2022
}  # fmt: skip


def _our_name(key: str, levels: int) -> str:
    """Maps a key, such as down_blocks.0.resnets.1.conv1.weight -> down_0_1/conv_1/kernel; unknown keys unchanged."""
    if key == "class_embedding.weight":
        return "embedding/label"
    match = re.fullmatch(
        r"(?:(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnet|attention|(?:down|up)sampler)s\.(\d+)\.)?(.+)\.(\w+)", key
    )
    direction, block_index, kind, index, part, leaf = match.groups() if match else (None,) * 4 + ("", "")
    leaf = "bias" if leaf == "bias" else "scale" if "norm" in part else "kernel"
    if direction is None:
        return f"{PARTS[part]}/{leaf}" if part in PARTS else key
    if part not in PARTS and part not in ("conv", "Conv2d_0"):
        return key
    level = levels - 1 - int(block_index) if direction == "up" else block_index
    if kind.endswith("sampler"):
        module = f"{direction}_{level}_sample"
    elif direction == "mid":
        module = f"middle_{int(index) + 1}" if kind == "resnet" else "middle_attention"
    else:
        module = f"{direction}_{level}_{index}" + ("_attention" if kind == "attention" else "")
    return f"{module}/{PARTS[part]}/{leaf}" if part in PARTS else f"{module}/{leaf}"


def _example(network: nn.Module, named: dict) -> jax.Array:
    """An example input with as many channels as the first convolution in the weights expects."""
    height, width, channels = network.shape
    if "input/kernel" in named:
        channels = named["input/kernel"][0].shape[2]
    return jnp.zeros((1, height, width, channels))
