"""The experiment that most tests of tables run."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def moons(tmp_path):
    """The experiment file, in a folder of its own."""
    (tmp_path / "experiments").mkdir()
    return shutil.copy(Path(__file__).parent / "moons.py", tmp_path / "experiments" / "moons.py")
