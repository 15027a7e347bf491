"""The cache of downloads, embeddings and compiled programs, shared by all runs."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """$DIFFJAX_CACHE, or ~/.cache/diffjax. It may not exist yet."""
    return Path(os.environ.get("DIFFJAX_CACHE") or "~/.cache/diffjax").expanduser()
