"""Configs: components from names and back, overrides, and what a user may get wrong in them."""

import math
from pathlib import Path

import pytest

from configs import base as base_configs
from diffjax import config as configs
from diffjax.config import build, component, differences, fingerprint, override
from diffjax.data import TFDS
from diffjax.data.space import Space
from diffjax.diffusion import DDIM, EDM, Heun
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.training.loop import carry_shapes
from tests import tiny


@pytest.fixture
def base():
    return configs.load("configs/digits.py")


CONFIGS = sorted(path for path in Path("configs").glob("*.py") if path.stem not in ("__init__", "base"))
SMALL = 16 * 16 * 3  # numbers of an example; the steps of larger ones take seconds to trace


def variants(path: Path) -> list[str]:
    """Every variant of a config file, as `FILE.py:variant`: the names among which it looks for its default one."""
    known = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_configs, "check_variant", lambda variant, names: known.append(tuple(names)))
        configs.load(str(path))
    return [f"{path}:{variant}" for variant in known[0]]


@pytest.fixture
def experiments(monkeypatch):
    """Experiments of all variants of a file, whether or not the data sets that TFDS prepares are there."""
    shapes = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}

    def space(tfds):
        *sides, channels = shapes[tfds.dataset]
        return Space("images", (*([tfds.size] * 2 if tfds.size else sides), channels), num_classes=10)

    monkeypatch.setattr(TFDS, "space", property(space))
    return lambda path: {variant: Experiment.of(configs.load(variant)) for variant in variants(path)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_variant_has_the_keys_that_every_config_has_and_is_an_experiment(path, experiments):
    """The step of a small one is traced as well: its networks fit its data and each other."""
    found = experiments(path)
    keys = set(configs.flatten(base_configs.get_config()))
    whole = {key for key in keys if key.partition(".")[0] in ("seed", "train", "precision", "parallel", "eval")}
    for variant, experiment in found.items():
        assert whole <= set(configs.flatten(experiment.config)), variant
    small = [experiment for experiment in found.values() if math.prod(experiment.source.space.shape) <= SMALL]
    for experiment in small[:1]:
        carry_shapes(experiment)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_step_of_every_variant_can_be_traced(path, experiments):
    for experiment in experiments(path).values():
        carry_shapes(experiment)


def test_a_component_shows_all_its_defaults_and_builds_the_object_it_names():
    node = component("sampler", "ddim", steps=20)
    assert set(node) == {"name", "steps", "grid", "guidance", "clip", "eta"}
    assert build("sampler", node).eta == 0.0 and isinstance(build("sampler", node), DDIM)
    assert build("process", component("process", "edm", sigma_max=10.0)) == EDM(sigma_max=10.0)


def test_overriding_a_name_resets_the_component_before_other_overrides(base):
    changed = override(base, [("sampler.eta", "0.5"), ("sampler.name", "ddim")])
    assert changed.sampler.eta == 0.5 and changed.sampler.steps == DDIM().steps
    assert base.sampler.name == "heun" and base.sampler.steps == Heun().steps


def test_a_family_takes_its_member_from_the_name(base):
    assert build("data", override(base, [("data.name", "toy2d:ring")]).data).space.kind == "points"


def test_overrides_of_every_type(base):
    changed = override(
        base,
        [
            ("train.steps", "1e3"), ("optim.learning_rate", "3e-4"), ("method.network.multipliers", "[1, 2, 4]"),
            ("method.network.attention", "8,4"), ("precision.deterministic", "true"), ("train.init_from", "runs/x"),
            ("ema.images", "5"), ("eval.metrics", "frechet_pixels,classifier"),
        ],
    )  # fmt: skip
    assert changed.train.steps == 1000 and isinstance(changed.train.steps, int)
    assert changed.optim.learning_rate == 3e-4
    assert changed.method.network.multipliers == (1, 2, 4) and changed.method.network.attention == (8, 4)
    assert changed.precision.deterministic is True and changed.train.init_from == "runs/x"
    assert changed.eval.metrics == ("frechet_pixels", "classifier")
    assert changed.ema.images == 5.0 and isinstance(changed.ema.images, float)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("train.stepz", "3", "did you mean 'steps'"),
        ("trane.steps", "3", "did you mean 'train'"),
        ("train.steps", "many", "'many' must be an integer"),
        ("train.steps", "1.5", "must be an integer"),
        ("train.steps", "1e999", "must be an integer"),
        ("optim.learning_rate", "fast", "must be a number"),
        ("precision.deterministic", "maybe", "must be true or false"),
        ("method.network.multipliers", "a,b", "must be a tuple"),
        ("sampler.name", "huen", "did you mean 'heun'"),
        ("method.process.name", "edn", "did you mean 'edm'"),
        ("sampler", "ddim", "`config.sampler.name=ddim`"),
        ("train", "3", "cannot replace a section; set one of .*accumulate"),
        ("train.steps.x", "3", "'train.steps' is a value"),
        ("seed.name", "x", "is not a component"),
        ("train.name", "x", "is not a component"),
        ("data.name", "tfds", "write tfds:NAME"),
        ("data.name", "digits:9", "write digits"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(base, path, text, message):
    with pytest.raises(UserError, match=message) as error:
        override(base, [(path, text)])
    assert "\n" not in str(error.value)


def test_a_field_that_a_component_has_not_is_named():
    with pytest.raises(UserError, match="did you mean 'steps'"):
        component("sampler", "ddim", stepz=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no function get_config"),
        ("def get_config(): return 1 / 0", "raised ZeroDivisionError at line 1: division by zero"),
        ("def get_config(", "raised SyntaxError"),
        ("def get_config(): return 3", "returned int; must be a ConfigDict"),
        (
            "from configs import base\ndef get_config():\n  c = base.get_config()\n  c.train.steps = 'x'\n  return c",
            "TypeError",
        ),
    ],
)
def test_a_broken_config_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        configs.load(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_config_file_is_named():
    with pytest.raises(UserError, match="no config file 'configs/digit.py'; did you mean 'configs/digits.py'"):
        configs.load("configs/digit.py")


def test_an_unknown_variant_is_named():
    with pytest.raises(UserError, match="no variant 'edn'"):
        configs.load("configs/digits.py:edn")


FREE = (
    ("train.log_every", "7"), ("train.keep", "5"), ("train.profile", "3"), ("eval.every", "3"),
    ("eval.batch_size", "32"), ("parallel.devices", "2"),
)  # fmt: skip


def test_lengths_intervals_and_devices_may_change_when_a_run_goes_on_and_nothing_else(base):
    assert differences(base, override(base, [("train.steps", "9"), *FREE])) == []
    assert differences(base, override(base, [("optim.learning_rate", "0.5")])) == ["optim.learning_rate: 0.002 -> 0.5"]


def test_the_fingerprint_changes_with_the_result_and_only_with_it(base):
    assert fingerprint(base) == fingerprint(override(base, [*FREE, ("parallel.mode", "pmap")]))
    for change in (("train.steps", "7"), ("seed", "7"), ("eval.num", "7"), ("sampler.steps", "7")):
        assert fingerprint(base) != fingerprint(override(base, [change]))


def test_where_data_lie_decides_nothing_and_where_an_encoder_lies_only_until_its_hash_is_known(base):
    data = override(base, [("data.name", "tfds:mnist")])
    moved = override(data, [("data.data_dir", "/elsewhere")])
    assert differences(data, moved) == [] and fingerprint(data) == fingerprint(moved)
    encoder = "method.network.text"
    reads = [(f"{encoder}.name", "frozen"), (f"{encoder}.encoder", "/t5")]
    for identity, same in (("", False), ("0123456789abcdef", True)):
        one = override(tiny.shapes(), [*reads, (f"{encoder}.identity", identity)])
        other = override(one, [(f"{encoder}.encoder", "/clip")])
        assert (differences(one, other) == []) is same and (fingerprint(one) == fingerprint(other)) is same
