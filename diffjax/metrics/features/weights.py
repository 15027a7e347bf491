"""Published weights: locates or downloads them, verifies their hash, and loads them into our networks.

A file is read from the given path, else from the cache directory ($DIFFJAX_CACHE, or ~/.cache/diffjax), else it is
downloaded there; a download gets its final name only once its SHA-256 is verified.

The protocol of a number has a hash of the *arrays* in use, not of the file: the same weights in another container
are the same network.
"""

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.host.caches import cache_directory
from diffjax.host.progress import Waiting, to_stderr
from diffjax.interop.state_dicts import read
from diffjax.interop.trees import fitted, turned

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
    """The prepared variables on the device, and the first 16 digits of the hash of the published arrays.

    `convert` maps a state dict to published variables, `prepare` those to the network's. Raises UserError as `locate`,
    `read` and `place` do.
    """
    file = locate(published, path)
    try:
        variables = convert(read(file))
    except UserError as error:
        message = str(error) if str(file) in str(error) else f"weights: {file}: {str(error).removeprefix('weights: ')}"
        raise UserError(f"{message}; what is published is {published.url}") from error
    return jax.tree.map(jnp.asarray, prepare(variables)), content_hash(variables)


def locate(published: Published, path: str = "") -> Path:
    """The path of a verified file: at `path`, in the cache directory, or downloaded into it.

    A file with a published name must have the published SHA-256; one with any other name is accepted unchecked. Raises
    UserError if there is no file, saying what to download and where to put it, and for a damaged file.
    """
    names = (published.file, *published.also)
    instruction = f"fetch {published.url} ({published.megabytes} MB)"
    if path:
        file = Path(path).expanduser()
        if not file.is_file():
            raise UserError(f"weights: there is no file {file}; {instruction}, or leave the path empty to download it")
    else:
        cached = [cache_directory() / name for name in names]
        file = next((copy for copy in cached if copy.is_file()), None) or _download(published, cached[0])
    if file.name in names and (digest := _file_hash(file)) != published.sha256:
        raise UserError(
            f"weights: {file} is damaged: its SHA-256 is {digest[:16]}.., must be {published.sha256[:16]}..;"
            f" remove it and {instruction}"
        )
    return file


def _download(published: Published, target: Path) -> Path:
    """Downloads and verifies the file; removes an incomplete or wrong one."""
    partial, digest, done = None, hashlib.sha256(), 0
    to_stderr(f"fetching {published.url} ({published.megabytes} MB) into {target.parent}")
    progress = Waiting(f"{published.file}, MB", to_stderr)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(published.url, timeout=TIMEOUT) as response,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.name, suffix=".part", delete=False) as file,
        ):
            partial = Path(file.name)
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                progress.at(done // CHUNK, max(published.megabytes, done // CHUNK))
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


def place(state_dict: dict[str, np.ndarray], shapes: Tree, our_name: Callable[[str], str | None]) -> Tree:
    """Arranges arrays of a state dict in the tree of `shapes`; `our_name` maps a key to its path ("params/fc/kernel").

    Kernels are transposed from [out, in, h, w] to [h, w, in, out], or from [out, in] to [in, out]. Keys mapped to None
    are left out. Raises UserError naming a key that is missing, unexpected, or of another shape.
    """
    named = {}
    for key, value in state_dict.items():
        name = our_name(key)
        if name is not None:
            value = np.asarray(value)
            named[name] = turned(value) if name.endswith("/kernel") else value, key
    return fitted(named, shapes, "weights")


def content_hash(variables: Tree) -> str:
    """16 digits of the SHA-256 of a tree's paths, dtypes, shapes and values, independent of file format."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path, simple=True, separator='/')} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()[:16]
