"""Files of embeddings: one for each set of texts, named by a hash of the encoder's identity and of the texts.

They are in the cache directory ($DIFFJAX_CACHE, or ~/.cache/diffjax), under `embeddings`.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from diffjax.errors import UserError
from diffjax.host.atomic import atomic_write
from diffjax.host.caches import cache_directory


class Embeddings(NamedTuple):
    """An encoder's embeddings of k texts."""

    packed: Float[np.ndarray, "k 1+n d+1"]  # see `packed`
    spans: Int[np.ndarray, "k n 2"]  # [start, end) of each token in the text, in characters; empty for special tokens
    cut: Bool[np.ndarray, "k"]  # whether the text was truncated


def path_of(identity: str, texts: Sequence[str]) -> Path:
    """The path of the file of embeddings of these texts, in this order."""
    key = hashlib.sha256(json.dumps([identity, *texts]).encode()).hexdigest()[:24]
    return cache_directory() / "embeddings" / f"{key}.npz"


def read(path: Path, shape: tuple[int, ...]) -> Embeddings | None:
    """Reads the embeddings in a file; None if there is no file. Raises UserError for a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:  # a zip has checksums
            embeddings = Embeddings(*(file[name] for name in Embeddings._fields))
        if embeddings.packed.shape != shape:
            raise ValueError(f"it has shape {embeddings.packed.shape}, must be {shape}")
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cache: {path} is damaged ({error}); remove it, and the embeddings are made again") from error
    return embeddings


def write(path: Path, embeddings: Embeddings) -> None:
    """Writes embeddings atomically. Raises UserError if that is not possible."""
    try:
        with atomic_write(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **embeddings._asdict())
    except OSError as error:
        raise UserError(f"cache: cannot write {path} ({error.strerror}); point DIFFJAX_CACHE elsewhere") from error
