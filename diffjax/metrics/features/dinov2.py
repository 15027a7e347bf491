"""DINOv2's vision transformer (Oquab et al. 2023); its class token is the feature (Stein et al. 2023: dgm-eval).

    tokens = [class; patches of 14 x 14] + positions; blocks x + scale * f(norm(x)); norm; the class token

The position embeddings were trained for 37 x 37 patches and are interpolated to 16 x 16 for images of 224 x 224.
"""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, Float64, Shaped

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

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, pixels in [0, 1]
RESIZES = ("pil", "clean")  # dgm-eval's default, and its --clean_resize
EPS = 1e-6
ARCHITECTURES = {  # (fields, (SHA-256 of the published file, its size in MB))
    "vits14": (
        {"width": 384, "depth": 12, "heads": 6},
        ("b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9", 88),
    ),
    "vitb14": (
        {"width": 768, "depth": 12, "heads": 12},
        ("0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73", 346),
    ),
    "vitl14": (
        {"width": 1024, "depth": 24, "heads": 16},
        ("d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428", 1218),
    ),
    "vitg14": (
        {"width": 1536, "depth": 40, "heads": 24, "gated": True},
        ("baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3", 4546),
    ),
}


def published(arch: str) -> files.Published:
    """facebookresearch's file of weights for "vits14", "vitb14", "vitl14" or "vitg14"."""
    _, (sha256, megabytes) = ARCHITECTURES[arch]
    file = f"dinov2_{arch}_pretrain.pth"
    return files.Published(file, f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{arch}/{file}", sha256, megabytes)


def cubic_matrix(n: int, size: int, scale: float) -> Float64[np.ndarray, "size n"]:
    """Matrix of bicubic interpolation (a = -3/4, edges repeated, no antialias) at (i + 1/2) / scale - 1/2: [size, n].

    `scale` is that of PyTorch's interpolate, which may differ from size / n, as it does in DINOv2.
    """
    position = (np.arange(size) + 0.5) / scale - 0.5
    first = np.floor(position).astype(int)
    matrix = np.zeros((size, n))
    for offset in range(-1, 3):
        x = np.abs(position - first - offset)
        near, far = (1.25 * x - 2.25) * x * x + 1, ((-0.75 * x + 3.75) * x - 6) * x + 3
        pixel = np.clip(first + offset, 0, n - 1)
        np.add.at(matrix, (np.arange(size), pixel), np.where(x <= 1, near, far))
    return matrix


class Block(nn.Module):
    """Attention, then an MLP, each as x + scale * f(norm(x)) with a learned scale per channel. x: [n, t, width]."""

    heads: int
    mlp_ratio: float
    gated: bool
    precision: str

    @nn.compact
    def __call__(self, x):
        b, t, width = x.shape

        def dense(features, name):
            return nn.Dense(features, precision=self.precision, name=name)

        h = nn.LayerNorm(EPS, use_fast_variance=False, name="norm_1")(x)
        q, k, v = jnp.split(dense(3 * width, "qkv")(h).reshape(b, t, 3 * self.heads, -1), 3, axis=2)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k, precision=self.precision)
        h = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits), v, precision=self.precision).reshape(b, t, width)
        x = x + self.param("scale_1", nn.initializers.ones_init(), (width,)) * dense(width, "out")(h)

        h = nn.LayerNorm(EPS, use_fast_variance=False, name="norm_2")(x)
        if self.gated:  # SwiGLU, 2/3 as wide for the same number of parameters, rounded up to a multiple of 8
            hidden = -(-int(int(width * self.mlp_ratio) * 2 / 3) // 8) * 8
            gate, h = jnp.split(dense(2 * hidden, "mlp_1")(h), 2, axis=-1)
            h = nn.silu(gate) * h
        else:
            h = nn.gelu(dense(int(width * self.mlp_ratio), "mlp_1")(h), approximate=False)
        return x + self.param("scale_2", nn.initializers.ones_init(), (width,)) * dense(width, "mlp_2")(h)


class DINOv2(nn.Module):
    """x [n, h, w, 3], normalised by ImageNet's mean and std, h and w multiples of `patch` -> class token [n, width]."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    gated: bool = False  # SwiGLU instead of GELU MLPs, in "vitg14"
    patch: int = 14  # pixels
    side: int = 37  # trained position embeddings along a side
    # Added to the number of patches along a side when the interpolation scale is computed. The original has 0.1, a
    # workaround for rounding that became part of the network; transformers' port has 0.
    offset: float = 0.1
    precision: str = "highest"  # of matrix products, on hardware with faster ones than float32

    @nn.compact
    def __call__(self, x: Float32[Array, "n h w 3"]) -> Float32[Array, "n d"]:
        patches = nn.Conv(
            self.width, (self.patch, self.patch), self.patch, "VALID", precision=self.precision, name="patches"
        )(x)
        b, height, width, _ = patches.shape
        normal_init = nn.initializers.normal(0.02)
        token = self.param("class", normal_init, (1, 1, self.width))
        positions = self.param("positions", normal_init, (1, 1 + self.side**2, self.width))
        class_position, patch_positions = positions[:, :1], self.interpolated(positions[0, 1:], height, width)
        patches = patches.reshape(b, height * width, self.width) + patch_positions
        x = jnp.concatenate([jnp.broadcast_to(token + class_position, (b, 1, self.width)), patches], axis=1)
        for i in range(self.depth):
            x = Block(self.heads, self.mlp_ratio, self.gated, self.precision, name=f"block_{i}")(x)
        return nn.LayerNorm(EPS, use_fast_variance=False, name="norm")(x[:, 0])

    def interpolated(self, positions: Float32[Array, "p d"], height: int, width: int) -> Float32[Array, "t d"]:
        """Interpolates the trained square of position embeddings to height x width patches."""
        if height == width == self.side:
            return positions
        square = positions.reshape(self.side, self.side, self.width)
        rows, columns = (cubic_matrix(self.side, n, (n + self.offset) / self.side) for n in (height, width))
        rows, columns = jnp.asarray(rows, jnp.float32), jnp.asarray(columns, jnp.float32)
        return jnp.einsum("ih,jw,hwd->ijd", rows, columns, square, precision="highest").reshape(-1, self.width)


PARTS = {  # facebookresearch's names -> ours
    "norm1": "norm_1", "attn.qkv": "qkv", "attn.proj": "out", "ls1.gamma": "scale_1", "norm2": "norm_2",
    "mlp.fc1": "mlp_1", "mlp.fc2": "mlp_2", "mlp.w12": "mlp_1", "mlp.w3": "mlp_2", "ls2.gamma": "scale_2",
    "patch_embed.proj": "patches", "cls_token": "class", "pos_embed": "positions", "norm": "norm",
}  # fmt: skip
TRANSFORMERS = {  # transformers' names -> facebookresearch's
    "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed",
    "embeddings.mask_token": "mask_token", "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "attention.output.dense": "attn.proj", "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in": "mlp.w12", "mlp.weights_out": "mlp.w3", "layernorm": "norm", "encoder.layer.": "blocks.",
}  # fmt: skip


def from_transformers(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames a state dict of transformers' Dinov2Model to facebookresearch's keys; one that has them is unchanged."""
    if not any(key.startswith("embeddings.") for key in state_dict):
        return state_dict
    renamed = {}
    for key, value in state_dict.items():
        for old, name in TRANSFORMERS.items():
            key = key.replace(old, name)
        renamed[key] = value
    for key in [key for key in renamed if ".attention.attention.query." in key]:
        parts = [renamed.pop(key.replace(".query.", f".{name}.")) for name in ("query", "key", "value")]
        renamed[key.replace("attention.attention.query", "attn.qkv")] = np.concatenate(parts)
    return renamed


def our_name(key: str) -> str | None:
    """Maps a key, such as blocks.3.attn.proj.weight -> params/block_3/out/kernel; None for the training mask."""
    if key == "mask_token":
        return None
    block, part, leaf = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.*?)(?:\.(weight|bias))?", key).groups()
    if part not in PARTS:
        return key
    path = ["params"] + ([f"block_{block}"] if block else []) + [PARTS[part]]
    leaf_names = {None: [], "bias": ["bias"], "weight": ["scale" if "norm" in part else "kernel"]}
    return "/".join(path + leaf_names[leaf])


def variables(state_dict: dict[str, np.ndarray], network: DINOv2) -> Any:
    """The variables of `network` from a published state dict, facebookresearch's or transformers'.

    Raises UserError naming a key that does not fit.
    """
    example = jnp.zeros((1, network.patch, network.patch, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)
    return files.place(from_transformers(state_dict), shapes, our_name)


def dinov2(
    shape: tuple[int, int, int],
    *,
    arch: str = "vitl14",  # "vits14", "vitb14", "vitl14" (of dgm-eval and so of all published FD-DINOv2) or "vitg14"
    resize: str = "pil",  # "pil" or "clean": see resize.py
    precision: str = "highest",  # of matrix products: "highest", "tensorfloat32", "default"
    weights: str = "",  # path of the weights; "": the cache directory, or a download into it
) -> Extractor:
    """DINOv2 for images of shape [h, w, c]. Raises UserError for images that are neither grey nor RGB."""
    check_choice("arch", arch, ARCHITECTURES)
    check_choice("resize", resize, RESIZES)
    check_choice("precision", precision, MATMUL)
    grey = check_channels(shape)
    network = DINOv2(**ARCHITECTURES[arch][0], precision=precision)
    tree, digest = files.load(published(arch), weights, lambda state_dict: variables(state_dict, network))

    def apply(variables: Any, images: Shaped[ArrayLike, "n h w c"]) -> Outputs:
        return Outputs(network.apply(variables, preprocess(images, resize)))

    protocol = {
        "network": f"dinov2-{arch}",
        "weights": digest,
        "layer": "class token",
        "resize": resize,
        "size": SIZE,
        "range": "ImageNet's mean and deviation",
        "precision": precision,
    }
    return Extractor("dinov2", network.width, protocol | grey, tree, apply)


def preprocess(images: Shaped[ArrayLike, "n h w c"], resize: str) -> Float32[Array, "n size size 3"]:
    """Resizes and normalises uint8 images of any size for the network."""
    x = to_rgb(resized(check_pixels(images), SIZE, resize)) / 255
    return (x - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STD, jnp.float32)
