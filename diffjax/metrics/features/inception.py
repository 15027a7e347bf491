"""Inception-v3 as used for FID: the TensorFlow graph of 2015-12-05 with its quirks (Szegedy et al. 2015).

Names and sizes are those of its published PyTorch port. Differences from other versions of Inception-v3: 3x3 average
pooling excludes the padding; the last block uses max pooling; there are 1008 classes.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import zeros
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, Shaped

from diffjax.metrics.features import weights as files
from diffjax.metrics.features.extractor import (
    Extractor,
    Outputs,
    check_channels,
    check_choice,
    check_pixels,
    to_rgb,
)
from diffjax.metrics.features.resize import resize as resized
from diffjax.precision import MATMUL

PUBLISHED = files.Published(
    file="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    megabytes=96,
    also=("weights-inception-2015-12-05-6726825d.pth",),  # torch-fidelity's name of the same file
)
SIZE = 299
CLASSES = 1008  # number of logits
EPSILON = 1e-3  # of batch normalisation
RANGES = {  # resize -> (shift, scale) of (x - shift) / scale, as in each published protocol
    "tf1": (128.0, 128.0),
    "clean": (128.0, 128.0),
    "torch": (127.5, 127.5),  # 2 x / 255 - 1
}
LAYERS = (64, 192, 768, 2048)


class Conv(NamedTuple):
    """One published layer: a convolution without bias, batch normalisation, ReLU."""

    name: str
    channels: int
    height: int
    width: int
    stride: int = 1
    padding: str = "SAME"
    averaged: bool = False  # 3x3 average pooling before the convolution


HALVE = {"stride": 2, "padding": "VALID"}
STEM = {  # by the number of output channels
    "64": (
        Conv("Conv2d_1a_3x3", 32, 3, 3, **HALVE),
        Conv("Conv2d_2a_3x3", 32, 3, 3, padding="VALID"),
        Conv("Conv2d_2b_3x3", 64, 3, 3),
        "max, half",
    ),
    "192": (Conv("Conv2d_3b_1x1", 80, 1, 1), Conv("Conv2d_4a_3x3", 192, 3, 3, padding="VALID"), "max, half"),
}


def _a(pooled: int) -> tuple:
    return (
        (Conv("branch1x1", 64, 1, 1),),
        (Conv("branch5x5_1", 48, 1, 1), Conv("branch5x5_2", 64, 5, 5)),
        (Conv("branch3x3dbl_1", 64, 1, 1), Conv("branch3x3dbl_2", 96, 3, 3), Conv("branch3x3dbl_3", 96, 3, 3)),
        (Conv("branch_pool", pooled, 1, 1, averaged=True),),
    )


def _c(inner: int) -> tuple:
    return (
        (Conv("branch1x1", 192, 1, 1),),
        (Conv("branch7x7_1", inner, 1, 1), Conv("branch7x7_2", inner, 1, 7), Conv("branch7x7_3", 192, 7, 1)),
        (
            Conv("branch7x7dbl_1", inner, 1, 1),
            Conv("branch7x7dbl_2", inner, 7, 1),
            Conv("branch7x7dbl_3", inner, 1, 7),
            Conv("branch7x7dbl_4", inner, 7, 1),
            Conv("branch7x7dbl_5", 192, 1, 7),
        ),
        (Conv("branch_pool", 192, 1, 1, averaged=True),),
    )


def _e(*pooled) -> tuple:
    return (
        (Conv("branch1x1", 320, 1, 1),),
        (
            Conv("branch3x3_1", 384, 1, 1),
            (Conv("branch3x3_2a", 384, 1, 3), Conv("branch3x3_2b", 384, 3, 1)),  # in parallel
        ),
        (
            Conv("branch3x3dbl_1", 448, 1, 1),
            Conv("branch3x3dbl_2", 384, 3, 3),
            (Conv("branch3x3dbl_3a", 384, 1, 3), Conv("branch3x3dbl_3b", 384, 3, 1)),
        ),
        pooled,
    )


MIXED = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": (
        (Conv("branch3x3", 384, 3, 3, **HALVE),),
        (
            Conv("branch3x3dbl_1", 64, 1, 1),
            Conv("branch3x3dbl_2", 96, 3, 3),
            Conv("branch3x3dbl_3", 96, 3, 3, **HALVE),
        ),
        ("max, half",),
    ),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": (
        (Conv("branch3x3_1", 192, 1, 1), Conv("branch3x3_2", 320, 3, 3, **HALVE)),
        (
            Conv("branch7x7x3_1", 192, 1, 1),
            Conv("branch7x7x3_2", 192, 1, 7),
            Conv("branch7x7x3_3", 192, 7, 1),
            Conv("branch7x7x3_4", 192, 3, 3, **HALVE),
        ),
        ("max, half",),
    ),
    "Mixed_7b": _e(Conv("branch_pool", 192, 1, 1, averaged=True)),
    "Mixed_7c": _e("max", Conv("branch_pool", 192, 1, 1)),
}
POOLS = {
    "max, half": partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)),
    "max": partial(nn.max_pool, window_shape=(3, 3), padding="SAME"),
}
AVERAGE = partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)


class Layer(nn.Module):
    """relu(conv(x) + bias), with batch normalisation folded into both. [n, h, w, c] -> [n, h', w', channels].

    Average pooling is applied after the convolution: it commutes with a 1x1 convolution, and is cheaper there.
    """

    spec: Conv
    precision: str

    @nn.compact
    def __call__(self, x):
        _, channels, height, width, stride, padding, averaged = self.spec
        kernel = self.param("kernel", zeros, (height, width, x.shape[-1], channels))
        bias = self.param("bias", zeros, (channels,))
        x = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=self.precision
        )
        return nn.relu((AVERAGE(x) if averaged else x) + bias)


def _follow(steps: tuple, x: Array, precision: str) -> Array:
    """Applies steps in sequence within the calling module: each is pooling, a convolution, or parallel convolutions."""
    for step in steps:
        if isinstance(step, str):
            x = POOLS[step](x)
        elif isinstance(step, Conv):
            x = Layer(step, precision, name=step.name)(x)
        else:
            x = jnp.concatenate([Layer(conv, precision, name=conv.name)(x) for conv in step], axis=-1)
    return x


class Mixed(nn.Module):
    """Concatenates branches applied to the same input. [n, h, w, c] -> [n, h', w', c']."""

    branches: tuple
    precision: str

    @nn.compact
    def __call__(self, x):
        return jnp.concatenate([_follow(branch, x, self.precision) for branch in self.branches], axis=-1)


class Inception(nn.Module):
    """x [n, h, w, 3] in [-1, 1] -> {"64", "192", "768", "2048": spatial means of that many channels, "logits"}.

    The logits [n, 1008] lack the bias, as in torch-fidelity's Inception Score. Any size from 75 works; published
    numbers use 299 x 299. Under jit, unused outputs are not computed.
    """

    precision: str = "highest"  # of matrix products, on hardware with faster ones than float32

    @nn.compact
    def __call__(self, x: Float32[Array, "n h w 3"]) -> dict[str, Float32[Array, "n d"]]:
        outputs = {}
        for channels, steps in STEM.items():
            x = _follow(steps, x, self.precision)
            outputs[channels] = x.mean((1, 2))
        for name, branches in MIXED.items():
            x = Mixed(branches, self.precision, name=name)(x)
            if name == "Mixed_6e":
                outputs["768"] = x.mean((1, 2))
        outputs["2048"] = x.mean((1, 2))
        fc = nn.Dense(CLASSES, use_bias=False, precision=self.precision, name="fc")
        return outputs | {"logits": fc(outputs["2048"])}


@cache
def shapes() -> Any:
    """The tree of shapes of the network's variables."""
    return jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 75, 75, 3)))


@cache
def published_shapes() -> Any:
    """The tree of shapes of the published variables: those of the network plus batch normalisation."""
    layers = dict(shapes()["params"])
    fc = layers.pop("fc")
    params = _each_layer(lambda layer: layer | {"scale": layer["bias"]}, layers)
    stats = _each_layer(lambda layer: {"mean": layer["bias"], "var": layer["bias"]}, layers)
    return {"params": params | {"fc": fc}, "batch_stats": stats}


def folded(published: Any) -> Any:
    """The network's variables: published ones with batch normalisation folded in, computed in float64."""
    layers = dict(published["params"])
    fc = layers.pop("fc")

    def fold(layer: dict[str, np.ndarray], stats: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kernel, scale, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "scale", "bias"))
        gain = scale / np.sqrt(np.asarray(stats["var"], np.float64) + EPSILON)
        return {"kernel": np.float32(kernel * gain), "bias": np.float32(bias - stats["mean"] * gain)}

    return {"params": _each_layer(fold, layers, published["batch_stats"]) | {"fc": fc}}


def _each_layer(make: Callable[..., Any], *trees: Any) -> Any:
    """Maps `make` over corresponding layers of trees, keeping the structure of the first."""
    if "kernel" in trees[0]:
        return make(*trees)
    return {name: _each_layer(make, *(tree[name] for tree in trees)) for name in trees[0]}


NAMES = {
    "bn.weight": "params/{}/scale",
    "bn.bias": "params/{}/bias",
    "bn.running_mean": "batch_stats/{}/mean",
    "bn.running_var": "batch_stats/{}/var",
    "conv.weight": "params/{}/kernel",
}


def our_name(key: str) -> str | None:
    """Maps a key, such as Mixed_5b.branch1x1.bn.weight -> params/Mixed_5b/branch1x1/scale; None for an unused one."""
    if key == "fc.bias" or key.endswith("num_batches_tracked"):
        return None
    if key == "fc.weight":
        return "params/fc/kernel"
    module, _, field = key.replace(".bn.", " bn.").replace(".conv.", " conv.").partition(" ")
    return NAMES[field].format(module.replace(".", "/")) if field in NAMES else key


def variables(state_dict: dict[str, Any]) -> Any:
    """The published variables, by our names, from a state dict. Raises UserError naming a key that misfits."""
    return files.place(state_dict, published_shapes(), our_name)


def inception(
    shape: tuple[int, int, int],
    *,
    layer: int = 2048,  # features are the spatial mean of this layer's 64, 192, 768 or 2048 channels
    resize: str = "tf1",  # "tf1", "clean" or "torch": see resize.py
    precision: str = "highest",  # of matrix products: "highest", "tensorfloat32", "default"
    weights: str = "",  # path of the weights; "": the cache directory, or a download into it
) -> Extractor:
    """FID's Inception for images of shape [h, w, c]. Raises UserError for images neither grey nor RGB."""
    check_choice("layer", layer, LAYERS)
    check_choice("resize", resize, RANGES)
    check_choice("precision", precision, MATMUL)
    grey = check_channels(shape)
    tree, digest = files.load(PUBLISHED, weights, variables, folded)
    network = Inception(precision)

    def apply(variables: Any, images: Shaped[ArrayLike, "n h w c"]) -> Outputs:
        outputs = network.apply(variables, preprocess(images, resize))
        return Outputs(outputs[str(layer)], outputs["logits"])

    shift, scale = RANGES[resize]
    protocol = {
        "network": "inception-2015-12-05",
        "weights": digest,
        "layer": layer,
        "resize": resize,
        "size": SIZE,
        "range": f"(x - {shift:g}) / {scale:g}",
        "precision": precision,
    }
    return Extractor("inception", layer, protocol | grey, tree, apply, CLASSES)


def preprocess(images: Shaped[ArrayLike, "n h w c"], resize: str) -> Float32[Array, "n size size 3"]:
    """Resizes and normalises uint8 images of any size for the network."""
    shift, scale = RANGES[resize]
    return (to_rgb(resized(check_pixels(images), SIZE, resize)) - shift) / scale
