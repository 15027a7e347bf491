"""Embeddings of a set of texts in one file, named by a hash of the encoder's identity and of the texts.

It stands in the cache directory ($DIFFJAX_CACHE, or ~/.cache/diffjax), under `embeddings`.
"""

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from diffjax.caches import cache_directory
from diffjax.errors import UserError


class Embeddings(NamedTuple):
    """What an encoder said of k texts."""

    packed: Float[np.ndarray, "k 1+n d+1"]  # see `packed`
    spans: Int[np.ndarray, "k n 2"]  # the characters that a token stands for: from, to; none for a special one
    cut: Bool[np.ndarray, "k"]  # whether the text has more tokens than are read


def path_of(identity: str, texts: Sequence[str]) -> Path:
    """Where the embeddings of these texts, in this order, are kept."""
    key = hashlib.sha256(json.dumps([identity, *texts]).encode()).hexdigest()[:24]
    return cache_directory() / "embeddings" / f"{key}.npz"


def read(path: Path, shape: tuple[int, ...]) -> Embeddings | None:
    """The embeddings in a file, or None if there is none. Raises UserError for one that is not as it was written."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:  # a damaged member does not fit its checksum
            found = Embeddings(*(file[name] for name in Embeddings._fields))
        if found.packed.shape != shape:
            raise ValueError(f"it holds {found.packed.shape}, and not {shape}")
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cache: {path} is damaged ({error}); remove it, and the embeddings are made again") from error
    return found


def write(path: Path, embeddings: Embeddings) -> None:
    """Keeps them: the file has its name only once it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            partial = Path(file.name)
            try:
                np.savez(file, **embeddings._asdict())
                file.close()
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cache: cannot write {path} ({error.strerror}); point DIFFJAX_CACHE elsewhere") from error
