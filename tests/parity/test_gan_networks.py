"""The networks of GANs against PyTorch with the same weights: its spectral norm, and networks written here anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.models.denoising_gan import DenoisingDiscriminator
from diffjax.models.modulated import StyledConv, enlarged, folded, modulated, same
from diffjax.models.norms import SpectralConv, SpectralDense
from diffjax.models.r3gan import Block, R3GANDiscriminator, R3GANGenerator
from diffjax.models.resgan import BigGANDiscriminator, BigGANGenerator, ResDiscriminator, ResGenerator
from diffjax.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.parallel import Axis
from diffjax.precision import Precision

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytestmark = pytest.mark.parity

F = torch.nn.functional
KEY = jax.random.key(0)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FORMATS = {"dtype": "float32", "param_dtype": "float32"}


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(x):
    """Images and features as PyTorch has them, and vectors as they are."""
    x = torch.tensor(np.asarray(x))
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def to_numpy(x):
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).detach().numpy()


def randomised(variables):
    """No weight is 0 or 1, as some are in a new network, and every layer keeps about the size of what it is given."""
    leaves, structure = jax.tree.flatten(variables["params"])
    fresh = []
    for i, leaf in enumerate(leaves):
        size = np.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.3
        fresh.append(jnp.asarray(size * normal(*leaf.shape, seed=i)))
    return variables | {"params": structure.unflatten(fresh)}


class Weights:
    """A tree of Flax's weights, as PyTorch's layers take them."""

    def __init__(self, variables):
        self.params, self.spectral = variables["params"], variables.get("spectral", {})

    def at(self, *path, collection="params"):
        node = getattr(self, collection)
        for name in path:
            if name not in node:
                return None
            node = node[name]
        return torch.tensor(np.asarray(node))

    def kernel(self, *path, name="kernel"):
        """[out, in, h, w] or [out, in], divided by its singular value where u is kept."""
        kernel = self.at(*path, name)
        matrix = kernel.reshape(-1, kernel.shape[-1]).T
        u = self.at(*path, "u", collection="spectral")
        if u is not None:
            v = F.normalize(matrix.T @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            kernel = kernel / torch.dot(u, matrix @ v)
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T if name == "kernel" else kernel

    def conv(self, x, *path, groups=1):
        kernel = self.kernel(*path)
        return F.conv2d(x, kernel, self.at(*path, "bias"), padding=kernel.shape[-1] // 2, groups=groups)

    def linear(self, x, *path):
        return F.linear(x, self.kernel(*path), self.at(*path, "bias"))


def check_both(network, variables, inputs, theirs):
    """Outputs, and the gradient of a sum of them with respect to the first input."""

    def ours(x):
        return network.apply(variables, x, *inputs[1:], train=True, mutable=["batch_stats", "spectral"])[0]

    x = to_torch(inputs[0]).requires_grad_()
    expected = theirs(x, *(torch.tensor(np.asarray(value)).long() for value in inputs[1:]))
    assert expected.std() > 0.05  # there is something to compare
    y = jax.jit(ours)(inputs[0])
    np.testing.assert_allclose(y, to_numpy(expected), **CLOSE)
    weight = normal(*y.shape, seed=9)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weight * ours(x))))(inputs[0])
    (expected_gradient,) = torch.autograd.grad((expected * to_torch(weight)).sum(), x)
    scale = float(expected_gradient.abs().max())
    np.testing.assert_allclose(gradient / scale, to_numpy(expected_gradient) / scale, **CLOSE)


# --------------------------------------------------------------------------------------------------- spectral norm


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_spectral_norm_is_pytorchs(kind):
    if kind == "conv":
        ours, layer = SpectralConv(6, (3, 3), train=True), torch.nn.Conv2d(4, 6, 3, padding=1)
        x = normal(2, 5, 5, 4)
    else:
        ours, layer, x = SpectralDense(6, train=True), torch.nn.Linear(4, 6), normal(2, 4)
    variables = ours.init(KEY, x)
    layer = torch.nn.utils.spectral_norm(layer)
    kernel = variables["params"]["kernel"]
    with torch.no_grad():
        layer.weight_orig.copy_(torch.tensor(np.asarray(kernel.transpose(3, 2, 0, 1) if kind == "conv" else kernel.T)))
        layer.bias.zero_()
        layer.weight_u.copy_(torch.tensor(np.asarray(variables["spectral"]["u"])))
    for _ in range(3):
        y, kept = ours.apply(variables, x, mutable=["spectral"])
        np.testing.assert_allclose(y, to_numpy(layer(to_torch(x))), **CLOSE)
        np.testing.assert_allclose(kept["spectral"]["u"], layer.weight_u, **CLOSE)
        variables = variables | kept

    def loss(kernel):
        return jnp.sum(ours.apply(variables | {"params": variables["params"] | {"kernel": kernel}}, x) ** 2)

    (layer(to_torch(x)) ** 2).sum().backward()
    gradient = layer.weight_orig.grad
    expected = gradient.permute(2, 3, 1, 0) if kind == "conv" else gradient.T
    np.testing.assert_allclose(jax.grad(loss)(kernel), expected.numpy(), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------- denoising GANs


def test_the_discriminator_of_denoising_gans():
    """Xiao et al. 2021, appendix C, as their code has it: downsampling after the first convolution of a block."""
    network = DenoisingDiscriminator((8, 8, 3), 0, Precision(), Axis(), width=4, multipliers=(1, 2, 2), embedding=6)
    x, x_t, t = normal(4, 8, 8, 3), normal(4, 8, 8, 3, seed=2), np.array([0, 1, 2, 3], np.float32)
    variables = randomised(network.init(KEY, x, x_t, t))
    weights = Weights(variables)

    def act(x):
        return F.leaky_relu(x, 0.2)

    def theirs(x):
        frequencies = 10_000.0 ** (-torch.arange(3) / 2)
        angles = torch.tensor(t)[:, None] * frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=1)
        for i in range(2):
            time = act(weights.linear(time, f"time_{i}"))
        h = weights.conv(torch.cat([x, to_torch(x_t)], dim=1), "input")
        for i in range(3):
            block, down = f"block_{i}", torch_down if i else lambda x: x
            skip = weights.conv(down(h), block, "shortcut")
            h = weights.conv(act(h), block, "conv_1") + weights.linear(time, block, "time")[:, :, None, None]
            h = (weights.conv(down(act(h)), block, "conv_2") + skip) / 2**0.5
        deviation = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()  # four images are one group
        h = torch.cat([h, deviation.expand(4, 1, 2, 2)], dim=1)
        return weights.linear(act(weights.conv(h, "last")).sum((2, 3)), "logit", "logit")[:, 0]

    def ours(x):
        return network.apply(variables, x, x_t, t)

    given = to_torch(x).requires_grad_()
    expected = theirs(given)
    assert expected.std() > 0.05
    np.testing.assert_allclose(jax.jit(ours)(x), to_numpy(expected), **CLOSE)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(ours(x))))(x)
    (expected,) = torch.autograd.grad(expected.sum(), given)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(gradient / scale, to_numpy(expected) / scale, **CLOSE)


# ---------------------------------------------------------------------------------------------------------- R3GAN


def torch_block(weights, x, name, groups):
    h = F.leaky_relu(weights.conv(x, *name, "expand"), 0.2)
    h = F.leaky_relu(weights.conv(h, *name, "grouped", groups=groups), 0.2)
    return x + weights.conv(h, *name, "contract")


def filter_of_pixels(channels):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return (torch.outer(taps, taps) / 64).expand(channels, 1, 4, 4)


def torch_up(x):
    return F.conv_transpose2d(x, 4 * filter_of_pixels(x.shape[1]), stride=2, padding=1, groups=x.shape[1])


def torch_down(x):
    return F.conv2d(x, filter_of_pixels(x.shape[1]), stride=2, padding=1, groups=x.shape[1])


R3GAN = {"widths": (8, 4), "blocks": (1, 2), "group": 4}


def test_a_grouped_block_of_r3gan():
    block, x = Block(8, 2, 4, FORMATS), normal(2, 5, 5, 4)
    variables = randomised(block.init(KEY, x))
    weights = Weights(variables)
    expected = torch_block(weights, to_torch(x), (), 2)
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), to_numpy(expected), **CLOSE)


def test_r3gan_generator():
    network = R3GANGenerator((8, 8, 3), 5, Precision(), Axis(), **R3GAN)
    z, label = normal(3, 64), jnp.array([0, 4, 2])
    variables = randomised(network.init(KEY, z, label))
    weights = Weights(variables)

    def theirs(z, label):
        z = torch.cat([z, weights.at("embed", "embedding")[label]], dim=1)
        h = weights.linear(z, "modulate")[:, :, None, None] * weights.at("basis").permute(2, 0, 1)
        h = torch_block(weights, h, ("block_0_0",), 4)
        h = torch_up(weights.conv(h, "project_1"))
        for i in range(2):
            h = torch_block(weights, h, (f"block_1_{i}",), 2)
        return weights.conv(h, "image")

    check_both(network, variables, (z, label), theirs)


def test_r3gan_discriminator():
    network = R3GANDiscriminator((8, 8, 3), 5, Precision(), Axis(), **R3GAN)
    x, label = normal(3, 8, 8, 3), jnp.array([0, 4, 2])
    variables = randomised(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        h = weights.conv(x, "input")
        for i in range(2):
            h = torch_block(weights, h, (f"block_1_{i}",), 2)
        h = torch_block(weights, weights.conv(torch_down(h), "project_1"), ("block_0_0",), 4)
        basis = weights.at("basis").permute(2, 0, 1)[:, None]
        h = F.conv2d(h, basis, groups=8).flatten(1)
        return (weights.linear(h, "logit") * weights.at("embed", "embedding")[label]).sum(1)

    check_both(network, variables, (x, label), theirs)


# ------------------------------------------------------------------------------------------------------- StyleGAN2


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


# --------------------------------------------------------------------------------------- SNGAN, WGAN-GP and BigGAN


def torch_attention(weights, x, name):
    b, _, height, width = x.shape
    q = weights.conv(x, name, "q").flatten(2)
    k, v = (F.max_pool2d(weights.conv(x, name, part), 2).flatten(2) for part in ("k", "v"))
    beta = torch.softmax(q.transpose(1, 2) @ k, dim=-1)
    seen = (v @ beta.transpose(1, 2)).reshape(b, -1, height, width)
    return x + weights.at(name, "gamma") * weights.conv(seen, name, "out")


def torch_norm(weights, h, name, condition):
    if condition is None:
        return F.batch_norm(h, None, None, weights.at(name, "scale"), weights.at(name, "bias"), training=True)
    h = F.batch_norm(h, None, None, training=True)
    if condition.ndim == 1:
        scale, shift = (weights.at(name, part, "embedding")[condition] for part in ("scale", "shift"))
    else:
        scale, shift = (weights.linear(condition, name, part) for part in ("scale", "shift"))
    return h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


GENERATORS = {
    "sngan": (ResGenerator, {}),
    "biggan": (BigGANGenerator, {"embedding": 5, "attention": (8,)}),
    "other widths": (ResGenerator, {"multipliers": (2, 1), "spectral_norm": True}),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_residual_generators(name):
    kind, fields = GENERATORS[name]
    network = kind((8, 8, 3), 5, Precision(), Axis(), **{"width": 8, "latent": 6} | fields)
    z, label = normal(4, 6), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, z, label))
    weights = Weights(variables)

    def theirs(z, label):
        condition = label
        if network.hierarchical:
            z, part = z.chunk(2, dim=1)
            condition = torch.cat([weights.at("embed", "embedding")[label], part], dim=1)
        # Flax's pixels are [height, width, channels], also in the rows of a matrix.
        h = weights.linear(z, "project").reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        x = weights.conv(F.interpolate(h, scale_factor=2), "shortcut_0")  # in the papers' order
        h = F.interpolate(F.relu(torch_norm(weights, h, "norm_0_1", condition)), scale_factor=2)
        h = F.relu(torch_norm(weights, weights.conv(h, "conv_0_1"), "norm_0_2", condition))
        h = x + weights.conv(h, "conv_0_2")
        h = torch_attention(weights, h, "attention_0") if network.attention else h
        return torch.tanh(weights.conv(F.relu(torch_norm(weights, h, "norm", None)), "image"))

    check_both(network, variables, (z, label), theirs)


DISCRIMINATORS = {
    "sngan": (ResDiscriminator, {}),
    "wgan_gp": (ResDiscriminator, {"spectral_norm": False, "pooling": "mean"}),
    "biggan": (BigGANDiscriminator, {"attention": (4,)}),
    "other widths": (ResDiscriminator, {"multipliers": (1, 2, 2)}),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_residual_discriminators(name):
    kind, fields = DISCRIMINATORS[name]
    network = kind((8, 8, 3), 5, Precision(), Axis(), **{"width": 8, "multipliers": (1, 1, 1)} | fields)
    x, label = normal(4, 8, 8, 3), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        h = x
        for i in range(3):
            before = h
            h = weights.conv(F.relu(h) if i else h, f"conv_{i}_1")
            h = weights.conv(F.relu(h), f"conv_{i}_2")
            if i < 2:  # the first block's shortcut is averaged and convolved, the second's the other way round
                h = F.avg_pool2d(h, 2)
                pooled = weights.conv(F.avg_pool2d(before, 2), f"shortcut_{i}")
                before = F.avg_pool2d(weights.conv(before, f"shortcut_{i}"), 2) if i else pooled
            h = h + before
            h = torch_attention(weights, h, "attention_0") if network.attention and not i else h
        h = F.relu(h)
        h = h.sum((2, 3)) if network.pooling == "sum" else h.mean((2, 3))
        rows = weights.kernel("logit", "embed", name="embedding")[label]
        return weights.linear(h, "logit", "logit")[:, 0] + (rows * h).sum(1)

    check_both(network, variables, (x, label), theirs)
