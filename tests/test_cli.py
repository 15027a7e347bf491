"""The command line: errors of the library name its flags; paths."""

import argparse
from pathlib import Path

import pytest

from diffjax.cli import path, place, with_flags


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`ema`: 0.9 must be smaller", "--ema: 0.9 must be smaller"),
        ("`strength`: needs a photo; give `image=x.png`", "--strength: needs a photo; give --image=x.png"),
        ("`config.sampler.stepz`: no such key", "--config.sampler.stepz: no such key"),
        ("`config.sampler.variance=small` helps", "--config.sampler.variance=small helps"),
        ("`samples`: no flag of this command", "`samples`: no flag of this command"),
        ("train.steps: 3; run `python launch.py prepare`", "train.steps: 3; run `python launch.py prepare`"),
    ],
)
def test_fields_of_the_library_are_flags_if_the_command_has_them(message, said):
    assert with_flags(message, ("ema", "strength", "image")) == said


def test_a_tilde_is_the_home_folder_also_where_the_shell_leaves_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert path("~/runs") == Path("/home/ada/runs") and place("~/drawn/") == "/home/ada/drawn/"
    assert place("tfds:cifar10") == "tfds:cifar10"
    with pytest.raises(argparse.ArgumentTypeError, match="is empty"):
        path("")
