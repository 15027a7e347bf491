"""Reads files of weights, as other libraries save them, as state dicts {key: array}.

PyTorch files need PyTorch; .npz and .safetensors files, with the same keys, do not.
"""

import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from diffjax.errors import UserError

INSTALL = "pip install -e '.[weights]'"


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dict {key: array} from .npz, .safetensors or a PyTorch file. Raises UserError if it cannot."""
    reader = {".npz": _read_npz, ".safetensors": _read_safetensors}.get(path.suffix, _read_torch)
    try:
        return reader(path)
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, pickle.PickleError, zlib.error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"weights: {path} cannot be read: {reason}") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return dict(file)
    except (zipfile.BadZipFile, ValueError) as error:  # NumPy's own message suggests unsafe loading
        raise ValueError("it is no whole .npz of arrays") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f"weights: reading {path} needs safetensors; {INSTALL}") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(error) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"weights: reading {path} needs PyTorch; {INSTALL}, or save the arrays as .npz where it is"
        ) from error
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch's own message suggests unsafe loading
        raise ValueError("it is no whole PyTorch file of tensors alone") from error
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise ValueError("it must hold a state dict of tensors")
    return {key: value.numpy() for key, value in state_dict.items()}
