"""StyleGAN2's pieces and networks against those written anew in PyTorch with their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.models.layers import folded
from diffjax.models.modulated import StyledConv, enlarged, modulated, same
from diffjax.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.parity.networks import (
    CLOSE,
    KEY,
    F,
    Weights,
    check_both,
    filter_of_pixels,
    normal,
    to_numpy,
    to_torch,
    torch,
    torch_up,
)

pytestmark = pytest.mark.parity


def torch_activate(x):
    return 2**0.5 * F.leaky_relu(x, 0.2)


def torch_normalised(x):
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def torch_equal(weights, x, *path, multiplier=1.0):
    """A linear map whose weights are scaled as they are used."""
    kernel = weights.kernel(*path)
    return F.linear(x, kernel * multiplier / kernel.shape[1] ** 0.5, weights.at(*path, "bias") * multiplier)


def torch_equal_conv(weights, x, *path, halve=False):
    """Zeros around, the filter at every second pixel of a plain convolution wherever it is not zero."""
    kernel = weights.kernel(*path)
    kernel, bias = kernel / kernel[0].numel() ** 0.5, weights.at(*path, "bias")
    if not halve:
        return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)
    h = F.conv2d(x, kernel, padding=kernel.shape[-1] - 1)
    h = F.conv2d(h, filter_of_pixels(h.shape[1]), stride=2, padding=1 - kernel.shape[-1] // 2, groups=h.shape[1])
    return h if bias is None else h + bias[:, None, None]


def torch_modulated(x, kernel, style, demodulate=True, grow=False):
    """One group of a grouped convolution for each example, with weights of its own; after zeros and filter to grow."""
    kernel = kernel[None] * style[:, None, :, None, None]
    if demodulate:
        kernel = kernel / (kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    if grow:
        x = F.conv_transpose2d(x, 4 * filter_of_pixels(x.shape[1]), stride=2, groups=x.shape[1])
    b, _, height, width = x.shape
    y = F.conv2d(
        x.reshape(1, -1, height, width), kernel.flatten(0, 1), padding=0 if grow else kernel.shape[-1] // 2, groups=b
    )
    return y.reshape(b, -1, *y.shape[2:])


def torch_styled(weights, x, w, *path, noise=None, grow=False):
    style = torch_equal(weights, w, *path, "style")
    h = torch_modulated(x, weights.kernel(*path), style, grow=grow)
    if noise is not None:
        h = h + weights.at(*path, "noise") * noise
    return torch_activate(h + weights.at(*path, "bias")[:, None, None])


def torch_mapping(weights, parts, layers, *path):
    h = torch.cat(parts, dim=1)
    for i in range(layers):
        h = torch_activate(torch_equal(weights, h, *path, f"layer_{i}", multiplier=0.01))
    return h


def torch_embedded(weights, label, *path):
    one_hot = F.one_hot(label, 5).float()
    return torch_normalised(torch_equal(weights, one_hot, *path, "embed"))


def at_their_size(variables):
    """Equalised weights are of size 1, and those of the mapping's layers of size 100."""

    def resized(path, leaf):
        names = [key.key for key in path]
        size = 1.0 if names[-1] == "kernel" else 0.3
        slow = any(name.startswith("layer_") for name in names)
        seed = sum(map(ord, "/".join(names)))
        return jnp.asarray((100.0 if slow else 1.0) * size * normal(*leaf.shape, seed=seed))

    return jax.tree_util.tree_map_with_path(resized, variables)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("grow", [False, True])
def test_a_modulated_convolution(grow, demodulate):
    x, kernel, style, weight = (
        normal(3, 4, 5, 2),
        normal(3, 3, 2, 6),
        normal(3, 2),
        normal(3, 4 + 4 * grow, 5 + 5 * grow, 6),
    )

    def ours(*given):
        return modulated(*given, demodulate=demodulate, convolution=enlarged if grow else same)

    given = [to_torch(x), torch.tensor(kernel).permute(3, 2, 0, 1), torch.tensor(style)]
    given = [array.requires_grad_() for array in given]
    expected = torch_modulated(*given, demodulate=demodulate, grow=grow)
    np.testing.assert_allclose(jax.jit(ours)(x, kernel, style), to_numpy(expected), **CLOSE)
    gradients = jax.jit(jax.grad(lambda *given: jnp.sum(weight * ours(*given)), argnums=(0, 1, 2)))(x, kernel, style)
    theirs = torch.autograd.grad((expected * to_torch(weight)).sum(), given)
    theirs = theirs[0].permute(0, 2, 3, 1), theirs[1].permute(2, 3, 1, 0), theirs[2]
    for gradient, other in zip(gradients, theirs, strict=True):
        scale = float(other.abs().max())
        np.testing.assert_allclose(gradient / scale, other / scale, **CLOSE)


def test_a_styled_layer_with_its_noise_given():
    layer, x, w, keys = StyledConv(6, True, Precision()), normal(3, 4, 4, 5), normal(3, 7), jax.random.split(KEY, 3)
    variables = at_their_size(layer.init(KEY, x, w, None))
    noise = jax.vmap(lambda key: jax.random.normal(key, (8, 8, 1)))(folded(keys, ""))
    expected = torch_styled(Weights(variables), to_torch(x), torch.tensor(w), noise=to_torch(noise), grow=True)
    np.testing.assert_allclose(layer.apply(variables, x, w, keys), to_numpy(expected), **CLOSE)


def test_stylegan2_generator():
    fields = {"latent": 6, "style": 8, "mapping_layers": 3, "channel_base": 64, "channel_max": 12}
    network = StyleGAN2Generator((16, 16, 3), 5, Precision(), Axis(), **fields)
    z, label = normal(3, 6), jnp.array([0, 4, 2])
    variables = at_their_size(network.init(KEY, z, label))
    weights = Weights(variables)

    def theirs(z, label):
        w = torch_mapping(weights, [torch_normalised(z), torch_embedded(weights, label, "mapping")], 3, "mapping")
        h = weights.at("synthesis", "constant").permute(2, 0, 1).expand(3, -1, -1, -1)
        image = 0
        for i in range(3):
            if i:
                h = torch_styled(weights, h, w, "synthesis", f"grow_{i}", grow=True)
                image = torch_up(image)
            h = torch_styled(weights, h, w, "synthesis", f"conv_{i}")
            read = ("synthesis", f"image_{i}")
            style = torch_equal(weights, w, *read, "style") / h.shape[1] ** 0.5
            y = torch_modulated(h, weights.kernel(*read), style, demodulate=False)
            image = image + y + weights.at(*read, "bias")[:, None, None]
        return image

    check_both(network, variables, (z, label), theirs)


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_stylegan2_discriminator(architecture):
    fields = {"channel_base": 64, "channel_max": 12, "mapping_layers": 2, "minibatch_std": 2}
    network = StyleGAN2Discriminator((16, 16, 3), 5, Precision(), Axis(), architecture=architecture, **fields)
    x, label = normal(4, 16, 16, 3), jnp.array([0, 4, 2, 1])
    variables = at_their_size(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        h = torch_activate(torch_equal_conv(weights, x, "input"))
        for i in (2, 1):
            before = h
            h = torch_activate(torch_equal_conv(weights, h, f"conv_{i}"))
            h = torch_activate(torch_equal_conv(weights, h, f"halve_{i}", halve=True))
            if architecture == "resnet":
                h = (h + torch_equal_conv(weights, before, f"shortcut_{i}", halve=True)) / 2**0.5
        pairs = h.reshape(2, 2, *h.shape[1:])
        spread = (pairs.var(dim=1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(2)
        h = torch.cat([h, spread[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
        h = torch_activate(torch_equal_conv(weights, h, "last"))
        # Flax's pixels are [height, width, channels], also in the rows of a matrix.
        h = torch_activate(torch_equal(weights, h.permute(0, 2, 3, 1).flatten(1), "features"))
        target = torch_mapping(weights, [torch_embedded(weights, label, "mapping")], 2, "mapping")
        return (torch_equal(weights, h, "logit") * target).sum(1) / h.shape[1] ** 0.5

    check_both(network, variables, (x, label), theirs)
