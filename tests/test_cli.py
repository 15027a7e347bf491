"""The command line: errors of the library name its flags."""

import pytest

from diffjax.cli import with_flags


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
