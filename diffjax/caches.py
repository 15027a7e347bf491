"""Where what was fetched or computed once is kept between runs."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """$DIFFJAX_CACHE, or ~/.cache/diffjax; it need not be there yet."""
    return Path(os.environ.get("DIFFJAX_CACHE") or "~/.cache/diffjax").expanduser()
