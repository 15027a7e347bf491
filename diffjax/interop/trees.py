"""Arranges arrays of other libraries in trees of variables."""

from typing import Any

import jax
import numpy as np

from diffjax.errors import UserError


def turned(kernel: np.ndarray) -> np.ndarray:
    """Transposes a PyTorch kernel: [out, in, h, w] -> [h, w, in, out], or [out, in] -> [in, out]."""
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def fitted(named: dict[str, tuple[np.ndarray, str]], shapes: Any, what: str) -> Any:
    """Arranges `named`, {"params/fc/kernel": (array, original key)}, in the tree of `shapes`, with its dtypes.

    Raises UserError, prefixed by `what`, naming an array that is missing, unexpected, or of another shape.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    expected = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if missing := expected.keys() - named.keys():
        raise UserError(f"{what}: {len(missing)} of {len(expected)} are missing, such as that of our {min(missing)}")
    if unexpected := named.keys() - expected.keys():
        raise UserError(f"{what}: {named[min(unexpected)][1]} has no place in this network")
    for name, leaf in expected.items():
        value, key = named[name]
        if value.shape != leaf.shape:
            raise UserError(f"{what}: {key} has shape {value.shape} in our layout; must be {leaf.shape}")
    arrays = [np.ascontiguousarray(named[name][0], leaf.dtype) for name, leaf in expected.items()]
    return jax.tree.unflatten(treedef, arrays)
