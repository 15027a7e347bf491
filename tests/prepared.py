"""Where the tests look for the MNIST that TFDS has prepared; those that need it are skipped where it is not."""

import os
from pathlib import Path

import pytest

from tests import tiny

BESIDE = tiny.ROOT.parent / "shared" / "data" / "tfds"  # beside the checkout, where CI keeps its data sets
USUAL = Path.home() / "tensorflow_datasets"


def prepared_in(environment=os.environ) -> Path:
    """The directory of prepared data sets: TFDS_DATA_DIR, or if it is not set the first of two usual ones with MNIST.

    If none has it, TFDS's own default.
    """
    if told := environment.get("TFDS_DATA_DIR"):
        return Path(told).expanduser()
    return next((place for place in (BESIDE, USUAL) if (place / "mnist").is_dir()), USUAL)


PREPARED = prepared_in()
needs_mnist = pytest.mark.skipif(
    not (PREPARED / "mnist").is_dir(), reason=f"needs MNIST as TFDS prepares it, in {PREPARED}; or set TFDS_DATA_DIR"
)
