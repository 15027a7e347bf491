"""What comparing a network with its PyTorch form takes: the same weights under both names, layers in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
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
        self.variables = variables

    def at(self, *path, collection="params"):
        node = self.variables.get(collection, {})
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
    """`check` of a network in training, whose further inputs are labels."""

    def ours(x):
        return network.apply(variables, x, *inputs[1:], train=True, mutable=["batch_stats", "spectral"])[0]

    labels = [torch.tensor(np.asarray(value)).long() for value in inputs[1:]]
    check(ours, lambda x: theirs(x, *labels), inputs[0])


def check(ours, theirs, x, close=CLOSE):
    """Outputs, and the gradient of a sum of them with respect to x."""
    given = to_torch(x).requires_grad_()
    expected = theirs(given)
    assert expected.std() > 0.05  # there is something to compare
    y = jax.jit(ours)(x)
    np.testing.assert_allclose(y, to_numpy(expected), **close)
    weight = normal(*y.shape, seed=9).astype(y.dtype)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weight * ours(x))))(x)
    (expected_gradient,) = torch.autograd.grad((expected * to_torch(weight)).sum(), given)
    scale = float(expected_gradient.abs().max())
    np.testing.assert_allclose(gradient / scale, to_numpy(expected_gradient) / scale, **close)


def filter_of_pixels(channels, taps=(1, 3, 3, 1), dtype=torch.float32):
    taps = torch.tensor(taps, dtype=dtype)
    return (torch.outer(taps, taps) / taps.sum() ** 2).expand(channels, 1, -1, -1)


def torch_up(x, taps=(1, 3, 3, 1)):
    pixels, c = filter_of_pixels(x.shape[1], taps, x.dtype), x.shape[1]
    return F.conv_transpose2d(x, 4 * pixels, stride=2, padding=len(taps) // 2 - 1, groups=c)


def torch_down(x, taps=(1, 3, 3, 1)):
    pixels, c = filter_of_pixels(x.shape[1], taps, x.dtype), x.shape[1]
    return F.conv2d(x, pixels, stride=2, padding=len(taps) // 2 - 1, groups=c)
