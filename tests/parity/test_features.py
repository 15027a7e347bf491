"""Feature networks and resizes against torch-fidelity, pytorch-fid, Pillow and transformers, with the same weights.

The weights are random, the batch statistics too, and they go through files that PyTorch wrote. Nothing is downloaded.
The networks are compared on pooled features, each by itself: relative to its size, down to what float32 rounds of the
largest one.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.interop.state_dicts import read
from diffjax.metrics.features import FEATURES, weights
from diffjax.metrics.features import inception as inception_module
from diffjax.metrics.features.dinov2 import DINOv2, preprocess, variables
from diffjax.metrics.features.resize import resize
from tests.metrics.features.networks import inception_state_dict, random_variables

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
torchvision = pytest.importorskip("torchvision", reason="needs the extra `parity`")
torch_fidelity = pytest.importorskip("torch_fidelity", reason="needs the extra `parity`")
pytestmark = pytest.mark.parity


def images(n, h, w, c=3, seed=0):
    """Noise over a ramp: high and low frequencies, and the ends of the range."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-60, 315, h)[:, None, None] * np.linspace(0.3, 1, w)[:, None]
    return np.clip(ramp + rng.normal(0, 50, (n, h, w, c)), 0, 255).astype(np.uint8)


def channels_first(x):
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy())


def close(ours, theirs, tolerance=1e-4):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert np.abs(theirs).max() > 1e-2 and theirs.std(axis=0).mean() > 1e-4  # something is there, and it varies
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (400, 333)])
@pytest.mark.parametrize("size", [299, 224])
def test_tf1_is_torch_fidelitys(height, width, size):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as theirs

    x = images(2, height, width)
    expected = theirs(channels_first(x).float(), (size, size), align_corners=False).numpy()
    np.testing.assert_allclose(resize(x, size, "tf1"), np.moveaxis(expected, 1, -1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (400, 333)])
def test_torch_is_pytorch_fids(height, width):
    x = images(2, height, width)
    expected = torch.nn.functional.interpolate(channels_first(x).float(), (299, 299), mode="bilinear")
    expected = np.moveaxis(expected.numpy(), 1, -1)
    np.testing.assert_allclose(resize(x, 299, "torch"), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("side", [32, 500])
def test_pil_is_torchvisions_resize_of_pictures(side):
    from torchvision.transforms import InterpolationMode, Resize

    x = images(1, side, side)
    picture = torchvision.transforms.functional.to_pil_image(x[0])
    expected = np.asarray(Resize((224, 224), InterpolationMode.BICUBIC)(picture))
    np.testing.assert_array_equal(resize(x, 224, "pil")[0], expected)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """A file such as the published one, written by PyTorch."""
    random = random_variables(inception_module.published_shapes())
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    state_dict = inception_state_dict(random)
    torch.save({key: torch.tensor(np.ascontiguousarray(value)) for key, value in state_dict.items()}, path)
    return path


TAPS = ("64", "192", "768", "2048", "logits_unbiased")


def test_inception_is_torch_fidelitys(inception_file):
    """From uint8 images of 40 x 32 on: resize, range, network; all taps, and the logits of the Inception Score."""
    network = torch_fidelity.FeatureExtractorInceptionV3("random", list(TAPS), str(inception_file))
    x = images(2, 40, 32)
    with torch.no_grad():
        theirs = dict(zip(TAPS, network(channels_first(x)), strict=True))
    ours = FEATURES["inception"](x.shape[1:], weights=str(inception_file))
    outputs = jax.jit(ours.apply)(ours.variables, x)
    close(outputs.features, theirs["2048"])
    close(outputs.logits, theirs["logits_unbiased"])

    def taps(variables, x):
        return inception_module.Inception().apply(variables, inception_module.preprocess(x, "tf1"))

    found = jax.jit(taps)(ours.variables, x)
    for tap in TAPS[:-1]:
        close(found[tap], theirs[tap])


def test_inception_is_pytorch_fids(inception_file, monkeypatch):
    """Its network is built from torchvision's and patched; its range differs from torch-fidelity's."""
    from pytorch_fid import inception

    file = torch.load(inception_file, weights_only=True)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: file)
    network = inception.InceptionV3().eval()
    x = images(2, 40, 32)
    with torch.no_grad():
        theirs = network(channels_first(x).float() / 255)[0][..., 0, 0]
    ours = FEATURES["inception"](x.shape[1:], resize="torch", weights=str(inception_file))
    close(ours(x), theirs)


def test_a_file_of_pytorchs_goes_from_the_web_through_the_cache_into_the_network(inception_file, tmp_path, monkeypatch):
    """Fetched, verified, read, kept; truncated, it is refused; and it has the hash of the same numbers as .npz."""
    sha256 = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    published = weights.Published("net-1234.pth", inception_file.as_uri(), sha256, 96)
    monkeypatch.setattr(inception_module, "PUBLISHED", published)
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path))
    fetched = FEATURES["inception"]((8, 8, 3))
    assert hashlib.sha256((tmp_path / "net-1234.pth").read_bytes()).hexdigest() == sha256
    np.savez(tmp_path / "same.npz", **read(inception_file))
    assert FEATURES["inception"]((8, 8, 3), weights=str(tmp_path / "same.npz")).protocol == fetched.protocol

    (tmp_path / "net-1234.pth").write_bytes(inception_file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="net-1234.pth is damaged"):
        FEATURES["inception"]((8, 8, 3))
    (tmp_path / "mine.pth").write_bytes(inception_file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="mine.pth cannot be read") as error:
        FEATURES["inception"]((8, 8, 3), weights=str(tmp_path / "mine.pth"))
    assert "\n" not in str(error.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="list.pth cannot be read: it must hold a state dict of tensors"):
        FEATURES["inception"]((8, 8, 3), weights=str(tmp_path / "list.pth"))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("side", [70, 112])  # pixels; at 70 the positions are as learned, at 112 interpolated
def test_dinov2_is_transformers(gated, side, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra `parity`")
    config = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=70, patch_size=14, use_swiglu_ffn=gated
    )
    torch.manual_seed(0)
    theirs = transformers.Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    network = DINOv2(width=48, depth=3, heads=4, gated=gated, side=5, offset=0.0)
    ours = variables(read(tmp_path / "model.safetensors"), network)
    x = np.random.default_rng(0).normal(size=(3, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(channels_first(x)).last_hidden_state[:, 0]
    close(jax.jit(network.apply)(ours, x), expected)


@pytest.mark.parametrize("side", [224, 280])
def test_positions_are_interpolated_as_facebooks_are(side):
    """Theirs hands PyTorch a scale of (n + 0.1) / 37 instead of a size."""
    network = DINOv2(width=6)
    positions = np.random.default_rng(0).normal(size=(37 * 37, 6)).astype(np.float32)
    n = side // 14
    square = torch.tensor(positions).reshape(1, 37, 37, 6).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(square, scale_factor=((n + 0.1) / 37,) * 2, mode="bicubic")
    ours = network.interpolated(jnp.asarray(positions), n, n)
    np.testing.assert_allclose(ours, expected[0].permute(1, 2, 0).reshape(n * n, 6), rtol=1e-4, atol=1e-5)


def test_dinov2_sees_images_as_dgm_eval_does():
    """A picture resized by torchvision, as a tensor in 0..1, normalised by ImageNet's moments."""
    from torchvision import transforms as t

    x = images(1, 90, 90)
    normalise = t.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    resized = t.Resize((224, 224), t.InterpolationMode.BICUBIC)(t.functional.to_pil_image(x[0]))
    expected = normalise(t.functional.to_tensor(resized)).permute(1, 2, 0)
    np.testing.assert_allclose(preprocess(x, "pil")[0], expected, rtol=1e-5, atol=1e-6)
