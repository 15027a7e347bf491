"""Published weights: found, checked against their hash, read, and put where our networks have them.

A file is looked for at the path given; else in the cache directory ($DIFFJAX_CACHE, or ~/.cache/diffjax); else it is
downloaded into that, and keeps its name only once its SHA-256 is right. PyTorch files need PyTorch to be read; .npz and
.safetensors, with the same keys, do not.

The protocol of a number carries a hash of the *numbers* in use, not of the file: the same weights in another container
are the same network.
"""

import hashlib
import http.client
import pickle
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.caches import cache_directory
from diffjax.errors import UserError
from diffjax.interop.trees import fitted, turned
from diffjax.progress import Waiting, aside

Tree = Any
CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """A file of weights on the web."""

    file: str
    url: str
    sha256: str
    megabytes: int
    also: tuple[str, ...] = ()  # other names under which it is published


def load(
    published: Published,
    path: str,
    convert: Callable[[dict[str, np.ndarray]], Tree],
    prepare: Callable[[Tree], Tree] = lambda tree: tree,
) -> tuple[Tree, str]:
    """The variables on the device, and the first 16 digits of their hash, from before `prepare` makes of them what the
    network takes: of the numbers that were published. Raises UserError as the functions below."""
    found = locate(published, path)
    try:
        variables = convert(read(found))
    except UserError as error:
        said = str(error) if str(found) in str(error) else f"weights: {found}: {str(error).removeprefix('weights: ')}"
        raise UserError(f"{said}; what is published is {published.url}") from error
    return jax.tree.map(jnp.asarray, prepare(variables)), content_hash(variables)


def locate(published: Published, path: str = "") -> Path:
    """A file that may be trusted: at `path`, in the cache directory, or downloaded into it.

    Whatever bears a published name must have the published SHA-256. A file of any other name is taken as it is.
    Raises UserError, which says what to fetch and where to put it, if there is none, or naming a file that is damaged.
    """
    names = (published.file, *published.also)
    fetch = f"fetch {published.url} ({published.megabytes} MB)"
    if path:
        found = Path(path).expanduser()
        if not found.is_file():
            raise UserError(f"weights: there is no file {found}; {fetch}, or leave the path empty to have it fetched")
    else:
        places = [cache_directory() / name for name in names]
        found = next((place for place in places if place.is_file()), None) or _download(published, places[0])
    if found.name in names and (digest := _file_hash(found)) != published.sha256:
        raise UserError(
            f"weights: {found} is damaged: its SHA-256 is {digest[:16]}.., must be {published.sha256[:16]}..;"
            f" remove it and {fetch}"
        )
    return found


def _download(published: Published, target: Path) -> Path:
    """The file, once it is there whole; whatever else came is removed."""
    partial, digest, done = None, hashlib.sha256(), 0
    aside(f"fetching {published.url} ({published.megabytes} MB) into {target.parent}")
    waiting = Waiting(f"{published.file}, MB", aside)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(published.url, timeout=TIMEOUT) as answer,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.name, suffix=".part", delete=False) as file,
        ):
            partial = Path(file.name)
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                waiting.at(done // CHUNK, max(published.megabytes, done // CHUNK))
        if digest.hexdigest() != published.sha256:
            raise OSError(f"what came has the SHA-256 {digest.hexdigest()[:16]}.., not {published.sha256[:16]}..")
        partial.replace(target)
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and full disks are OSErrors
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"weights: {published.url} ({published.megabytes} MB) could not be fetched ({reason});"
            f" put it at {target}, or say where it is (eval.weights, of images --weights)"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> dict[str, np.ndarray]:
    """A state dict {key: array} from .npz, .safetensors or a PyTorch file. Raises UserError if it cannot be read."""
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
    except (zipfile.BadZipFile, ValueError) as error:  # NumPy's advice is to load it unsafely
        raise ValueError("it is no whole .npz of arrays") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f"weights: reading {path} needs safetensors; pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(error) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"weights: reading {path} needs PyTorch; pip install torch, or save the arrays as .npz where it is"
        ) from error
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch's advice is to load it unsafely
        raise ValueError("it is no whole PyTorch file of tensors alone") from error
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise ValueError("it holds something else than a state dict")
    return {key: value.numpy() for key, value in state_dict.items()}


def place(state_dict: dict[str, np.ndarray], shapes: Tree, our_name: Callable[[str], str | None]) -> Tree:
    """The state dict's arrays in the tree of `shapes`, by the path ("params/fc/kernel") that `our_name` gives each key.

    Kernels turn from [out, in, h, w] to [h, w, in, out], or from [out, in] to [in, out]. Keys whose name is None are
    left out. Raises UserError naming a key that is missing, superfluous, or of another shape.
    """
    named = {}
    for key, value in state_dict.items():
        name = our_name(key)
        if name is not None:
            value = np.asarray(value)
            named[name] = turned(value) if name.endswith("/kernel") else value, key
    return fitted(named, shapes, "weights")


def content_hash(variables: Tree) -> str:
    """16 digits of the SHA-256 of a tree's paths, shapes and numbers, whatever file they came in."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path, simple=True, separator='/')} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()[:16]
