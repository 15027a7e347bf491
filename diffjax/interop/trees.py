"""Arrays from elsewhere, under other names, as a tree of variables."""

from typing import Any

import jax
import numpy as np

from diffjax.errors import UserError


def turned(kernel: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in, h, w] as [h, w, in, out], its [out, in] as [in, out]."""
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def fitted(named: dict[str, tuple[np.ndarray, str]], shapes: Any, what: str) -> Any:
    """The arrays in the tree of `shapes`: {"params/fc/kernel": (array, its name elsewhere)}, in the tree's formats.

    Raises UserError that begins with `what` and names an array that is missing, superfluous, or of another shape.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    expected = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if missing := expected.keys() - named.keys():
        raise UserError(f"{what}: {len(missing)} of {len(expected)} are missing, such as that of our {min(missing)}")
    if superfluous := named.keys() - expected.keys():
        raise UserError(f"{what}: {named[min(superfluous)][1]} has no place in this network")
    for name, leaf in expected.items():
        value, key = named[name]
        if value.shape != leaf.shape:
            raise UserError(f"{what}: {key} has our shape {value.shape}, must be {leaf.shape}")
    arrays = [np.ascontiguousarray(named[name][0], leaf.dtype) for name, leaf in expected.items()]
    return jax.tree.unflatten(tree, arrays)
