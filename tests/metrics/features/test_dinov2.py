"""DINOv2 in a tiny configuration: closed forms, both namings of its weights, its factory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from diffjax.errors import UserError
from diffjax.metrics.features import FEATURES
from diffjax.metrics.features import dinov2 as module_of
from diffjax.metrics.features.dinov2 import ARCHITECTURES, DINOv2, cubic_matrix, preprocess, published

TINY = {"width": 12, "depth": 2, "heads": 3, "side": 4}


def state_dict(gated=False, naming="facebook"):
    """Random weights of a tiny network under the keys of either publisher."""
    rng = np.random.default_rng(0)
    d, hidden = 12, 32 if gated else 48

    def some(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    facebook = naming == "facebook"
    top = ["cls_token", "mask_token", "pos_embed", "patch_embed.proj", "norm"] if facebook else [
        "embeddings.cls_token", "embeddings.mask_token", "embeddings.position_embeddings",
        "embeddings.patch_embeddings.projection", "layernorm",
    ]  # fmt: skip
    found = {top[0]: some(1, 1, d), top[1]: some(1, d), top[2]: some(1, 17, d)}
    found |= {f"{top[3]}.weight": some(d, 3, 14, 14), f"{top[3]}.bias": some(d)}
    found |= {f"{top[4]}.weight": some(d), f"{top[4]}.bias": some(d)}
    for i in range(2):
        block, qkv = f"blocks.{i}." if facebook else f"encoder.layer.{i}.", (some(3 * d, d), some(3 * d))
        for leaf, value in zip(("weight", "bias"), qkv, strict=True):
            if facebook:
                found[f"{block}attn.qkv.{leaf}"] = value
            else:
                names = (f"{block}attention.attention.{part}.{leaf}" for part in ("query", "key", "value"))
                found |= dict(zip(names, np.split(value, 3), strict=True))
        mlp = [("mlp.w12", "mlp.w3"), ("mlp.weights_in", "mlp.weights_out")] if gated else [("mlp.fc1", "mlp.fc2")] * 2
        wide = 2 * hidden if gated else hidden
        out = "attn.proj" if facebook else "attention.output.dense"
        first, second = mlp[0 if facebook else 1]
        for name, shape in ((out, (d, d)), (first, (wide, d)), (second, (d, hidden)), ("norm1", (d,)), ("norm2", (d,))):
            found |= {f"{block}{name}.weight": some(*shape), f"{block}{name}.bias": some(shape[0])}
        for scale in ("ls1.gamma", "ls2.gamma") if facebook else ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            found[block + scale] = some(d)
    return found


@pytest.mark.parametrize("gated", [False, True])
def test_both_publishers_keys_give_the_same_network(gated):
    network = DINOv2(**TINY, gated=gated)
    one, other = (module_of.variables(state_dict(gated, naming), network) for naming in ("facebook", "transformers"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    short = {key: value for key, value in state_dict(gated).items() if key != "blocks.1.ls2.gamma"}
    with pytest.raises(UserError, match="missing, such as that of our params/block_1/scale_2"):
        module_of.variables(short, network)
    with pytest.raises(UserError, match="weights: register_tokens has no place"):
        module_of.variables(state_dict(gated) | {"register_tokens": np.zeros((1, 4, 12))}, network)


def test_without_positions_the_class_token_does_not_know_where_patches_are():
    network = DINOv2(**TINY)
    variables = module_of.variables(state_dict() | {"pos_embed": np.zeros((1, 17, 12), np.float32)}, network)
    x = 0.1 * np.random.default_rng(1).normal(size=(1, 28, 28, 3)).astype(np.float32)
    apply = jax.jit(network.apply)
    features = apply(variables, x)
    np.testing.assert_allclose(apply(variables, np.roll(x, 14, axis=2)), features, rtol=1e-4, atol=1e-5)
    moved = np.roll(x, 7, axis=2)
    assert np.abs(apply(variables, moved) - features).max() > 1e-2
    there = module_of.variables(state_dict(), network)
    assert np.abs(apply(there, np.roll(x, 14, axis=2)) - apply(there, x)).max() > 1e-3


def test_with_scales_of_zero_only_the_class_token_is_left():
    """norm(class + its position), by hand."""
    weights = state_dict()
    weights |= {key: np.zeros_like(value) for key, value in weights.items() if key.endswith("gamma")}
    network = DINOv2(**TINY)
    x = jnp.ones((2, 28, 28, 3))
    token = (weights["cls_token"] + weights["pos_embed"][:, :1])[0, 0].astype(float)
    expected = (token - token.mean()) / np.sqrt(token.var() + 1e-6) * weights["norm.weight"] + weights["norm.bias"]
    found = jax.jit(network.apply)(module_of.variables(weights, network), x)
    np.testing.assert_allclose(found, np.stack([expected] * 2), rtol=1e-5, atol=1e-6)


def test_cubic_interpolation_reproduces_points_constants_and_lines():
    np.testing.assert_allclose(cubic_matrix(7, 7, 1.0), np.eye(7), atol=1e-12)
    np.testing.assert_allclose(cubic_matrix(9, 21, 21 / 9).sum(axis=1), 1, rtol=1e-12)
    n, size, scale = 37, 16, 16.1 / 37
    inner = (cubic_matrix(n, size, scale) @ np.arange(n))[1:-1]
    # a = -3/4 is exact on lines only at points and half way between them; elsewhere it is off by at most 0.05
    np.testing.assert_allclose(inner, ((np.arange(size) + 0.5) / scale - 0.5)[1:-1], atol=0.05)


def test_positions_are_as_learned_at_their_own_size_and_shrunk_with_an_offset_elsewhere():
    network = DINOv2(**TINY)
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(16, 12)), jnp.float32)
    np.testing.assert_array_equal(network.interpolated(positions, 4, 4), positions)
    with_offset = network.interpolated(positions, 2, 3)
    without = DINOv2(**TINY, offset=0.0).interpolated(positions, 2, 3)
    assert with_offset.shape == (6, 12) and 1e-3 < np.abs(with_offset - without).max() < 1


def test_images_are_normalised_by_the_moments_of_imagenet():
    white, black = (np.full((1, 3, 3, 3), value, np.uint8) for value in (255, 0))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(preprocess(white, "pil")[0, 5, 5], (1 - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(preprocess(black, "clean")[0, 5, 5], -mean / std, rtol=1e-5)


def test_the_factory_reads_weights_and_the_extractor_embeds(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "vits14", (TINY, ("0" * 64, 1)))
    monkeypatch.setattr(module_of, "SIZE", 28)
    np.savez(tmp_path / "tiny.npz", **state_dict())
    grey, colour = (FEATURES["dinov2"]((9, 9, c), arch="vits14", weights=str(tmp_path / "tiny.npz")) for c in (1, 3))
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 1)).astype(np.uint8)
    assert colour.dimensions == 12 and colour.protocol["network"] == "dinov2-vits14"
    np.testing.assert_allclose(grey(images), colour(np.repeat(images, 3, axis=-1)), rtol=1e-5, atol=1e-6)
    assert grey.protocol == colour.protocol | {"grey": "three equal channels"}
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    sharded = jax.jit(grey.apply, in_shardings=(whole, split))(grey.variables, np.concatenate([images, images]))
    np.testing.assert_allclose(sharded.features, np.concatenate([grey(images)] * 2), rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="features: 'dinov2' has no class logits; must be a classifier"):
        colour.logits(np.repeat(images, 3, axis=-1))


def test_what_is_published_and_what_does_not_exist():
    assert published("vitl14").url == "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
    assert all(len(published(arch).sha256) == 64 for arch in ("vits14", "vitb14", "vitl14", "vitg14"))
    for fields, said in (
        ({"arch": "vith14"}, "^arch: 'vith14'"),
        ({"resize": "tf1"}, "^resize: 'tf1'"),
    ):
        with pytest.raises(UserError, match=said):
            FEATURES["dinov2"]((8, 8, 3), **fields)


@pytest.mark.parametrize(("arch", "millions"), [("vits14", 22.06), ("vitl14", 304.37), ("vitg14", 1136.48)])
def test_the_architectures_have_the_published_numbers_of_parameters(arch, millions):
    network = DINOv2(**ARCHITECTURES[arch][0])
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 14, 14, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6 == pytest.approx(millions, abs=0.01)
