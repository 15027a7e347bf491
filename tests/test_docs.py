"""The documents are true and complete: commands are accepted, links lead somewhere, code runs, no name is missing.

All Python of the documents runs, except fragments with "..." in them.
"""

import importlib.util
import inspect
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax
import launch
from diffjax import config as configs
from diffjax import data, diffusion, methods, models
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.cli import split_overrides
from diffjax.config import FLAX_FIELDS, TABLES
from diffjax.data import Shapes
from diffjax.data.digits import Digits
from diffjax.data.text import decode
from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.errors import UserError
from diffjax.evaluation import METRICS, table
from diffjax.interop import diffusers
from tests import tiny
from tests.diffusion.test_samplers_orders import measured

DOCUMENTS = [tiny.ROOT / "README.md", tiny.ROOT / "tests" / "README.md", *sorted((tiny.ROOT / "docs").glob("*.md"))]
TEXT = {path.relative_to(tiny.ROOT).as_posix(): path.read_text() for path in DOCUMENTS}
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:diffjax|configs|experiments|benchmarks|tests|docs)/[\w/.]+\.\w+)(?::[\w.]+)?`")
KEY = re.compile(r"--config\.([a-z_.]+\w)=")


def blocks(document: str, language: str) -> list[str]:
    """The fenced code of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT[document], re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """The commands of a document that start with `python launch.py`, without those that leave something out."""
    fenced = "\n".join(blocks(document, "bash")).replace("\\\n", " ")
    inline = re.findall(r"`(python launch\.py [^`]+)`", TEXT[document].replace("\n", " "))
    lines = [line for line in fenced.splitlines() if line.startswith("python launch.py ")]
    return [command for command in [*lines, *inline] if "..." not in shlex.split(command)]


def written_by_the_reader() -> set[str]:
    """The files that a document shows and asks the reader to write."""
    return {
        first.removeprefix("# ")
        for document in TEXT
        for block in blocks(document, "python")
        if (first := block.partition("\n")[0]).startswith("# ") and first.endswith(".py")
    }


@pytest.mark.parametrize("document", TEXT)
def test_every_command_is_accepted(document):
    """Flags parse, configs and their variants exist, and every override is a key of the config and has its type."""
    for command in commands(document):
        words = shlex.split(command, comments=True)[2:]
        others, overrides = split_overrides(words)
        arguments = launch.parser().parse_args(others)
        config = configs.load(getattr(arguments, "config", None) or "configs/digits.py")
        configs.override(config, overrides)
        if experiment := getattr(arguments, "experiment", None):
            assert experiment in written_by_the_reader() or (tiny.ROOT / experiment).is_file(), command


def test_commands_are_found():
    found = {document: len(commands(document)) for document in TEXT}
    assert found["README.md"] > 15 and found["docs/words.md"] > 5 and found["docs/ablations.md"] > 5


@pytest.mark.parametrize("document", TEXT)
def test_every_link_and_every_file_named_exists(document):
    path = tiny.ROOT / document
    for target in LINK.findall(TEXT[document]):
        file, _, anchor = target.partition("#")
        if not target.startswith("http"):
            linked = path.parent / file if file else path
            assert linked.is_file(), f"{document}: {target}"
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [anchor_of(heading) for heading in headings], f"{document}: {target}"
    for file in FILE.findall(TEXT[document]):
        file = file.replace("/X.", "/*.")  # X stands for any name
        assert list(tiny.ROOT.glob(file)) or file in written_by_the_reader(), f"{document}: {file}"


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", TEXT)
def test_the_last_part_of_every_overridden_key_is_a_key_or_a_hyper_parameter(document):
    known = {key.rpartition(".")[2] for key in configs.flatten(configs.load("configs/digits.py"))}
    for slot in TABLES.values():
        for factory in slot.values():
            known |= set(inspect.signature(factory).parameters) - set(FLAX_FIELDS)
    for path in KEY.findall(TEXT[document]):
        assert path.rpartition(".")[2] in known | {"name"}, f"{document}: --config.{path}"


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("README.md", [path.stem for path in Path("experiments").glob("*.py") if path.stem != "__init__"]),
        ("docs/evaluation.md", METRICS),
        *(
            ("docs/diffusion.md", [name for name in TABLES[slot] if name != "none"])
            for slot in ("process", "target", "reverse_variance", "weighting", "times", "clock", "grid", "guidance")
        ),
        ("docs/diffusion.md", diffusion.SAMPLERS),
        *(("docs/gans.md", TABLES[slot]) for slot in ("loss", "penalty", "augment")),
        ("docs/extending.md", ["SOURCES", "NETWORKS", "PROCESSES", "SAMPLERS", "METHODS", "METRICS"]),
    ],
)
def test_every_name_that_can_be_chosen_is_documented(document, names):
    missing = [name for name in names if f"`{name}`" not in TEXT[document]]
    assert not missing, f"{document} lacks {', '.join(missing)}"


# ------------------------------------------------------------------------------------------------------ blocks of code


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The current directory is an empty one, where a block finds what the test puts there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_notebook_of_the_readme_runs(elsewhere, capsys):
    """On a config of its name whose network is tiny."""
    (elsewhere / "configs").mkdir()
    keys = "method__conditional='false', train__steps=2, eval__metrics='()'"
    config = f"from tests import tiny\n\n\ndef get_config():\n    return tiny.digits({keys})\n"
    (elsewhere / "configs" / "digits.py").write_text(config)
    (block,) = blocks("README.md", "python")
    exec(block, done := {})
    assert done["images"].shape == (16, 8, 8, 1) and done["images"].dtype == np.uint8
    assert done["x0"].shape == (4, 8, 8, 1) and done["fast"].sample(1).nfe == [10]
    assert "frechet_pixels" in capsys.readouterr().out and list((elsewhere / "runs/digits/evals").glob("*.json"))


def test_the_samplers_that_draw_from_no_table_are_named_where_one_is_sampled():
    section = TEXT["docs/diffusion.md"].partition("## Weights from diffusers")[2].partition("```python")[0]
    walk, refused = (
        Denoiser(lambda x_t, t, label: Prediction(x_t)),
        {"predictor_corrector"},
    )  # with one as its predictor
    for name, sampler in diffusion.SAMPLERS.items():
        try:
            sampler()(diffusion.ddpm_linear(), walk, jnp.ones((1, 1)), jnp.asarray([1.0, 0.0]), jax.random.key(0))
        except UserError:
            refused.add(name)
    assert {name for name in diffusion.SAMPLERS if f"`{name}`" in section} == refused


def test_a_network_of_diffusers_is_sampled_as_documented(monkeypatch):
    """With a network that predicts no noise, so that x0 is all of x_T that its last step leaves."""
    network = SimpleNamespace(apply=lambda variables, x_t, t: 0 * x_t)
    monkeypatch.setattr(diffusers, "load", {"ddpm-cifar10-32": (network, {})}.get)
    (block,) = blocks("docs/diffusion.md", "python")
    exec(block, done := {})
    assert done["images"].shape == (16, 32, 32, 3) and set(done["samples"].nfe.tolist()) == {50}
    np.testing.assert_allclose(done["images"], done["x_T"] / done["process"].alpha(jnp.float32(1.0)), rtol=1e-3)


def test_drawn_scenes_are_judged_as_documented(elsewhere, capsys):
    scenes = Shapes(num_train=36, num_heldout=8).split("train").arrays()
    np.savez("x.npz", x=scenes["x"], caption=np.array(decode(scenes["caption"])))
    (block,) = blocks("docs/words.md", "python")
    exec(block, {})
    assert capsys.readouterr().out == "1.0\n"


def test_the_table_of_the_documentation_can_be_planned(tmp_path):
    (block,) = (block for block in blocks("docs/ablations.md", "python") if block.startswith("# experiments/"))
    path = tmp_path / block.partition("\n")[0].removeprefix("# ")
    path.parent.mkdir()
    path.write_text(block)
    experiment = read(path)
    for name in experiment.budgets:
        plan = tasks(experiment.budget(name), tmp_path)
        assert {len(task.evaluations) for task in plan} == {2}, name


# ------------------------------------------------------------------------------------------------- docs/extending.md


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The modules of docs/extending.md by file name, and its components in their tables."""
    folder, modules = tmp_path_factory.mktemp("extending"), {}
    for block in blocks("docs/extending.md", "python"):
        if block.startswith("# "):
            file = block.partition("\n")[0].removeprefix("# ")
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
            modules[path.stem] = path if file.startswith("configs/") else imported(path)
    tables = {"SOURCES": [data.SOURCES], "NETWORKS": [models.NETWORKS], "METHODS": [methods.METHODS]}
    tables |= {"SAMPLERS": [diffusion.SAMPLERS, methods.SAMPLERS]}  # the second is made of the first
    added = re.findall(r"Add `\"(\w+)\": (\w+)`\s+to\s+`(\w+)`", TEXT["docs/extending.md"])
    assert len(added) == 4
    (metric,) = (block for block in blocks("docs/extending.md", "python") if not block.startswith("# "))
    with pytest.MonkeyPatch.context() as patch:
        for name, component, into in added:
            (found,) = (vars(m)[component] for m in modules.values() if hasattr(m, component))
            for each in tables[into]:
                patch.setitem(each, name, found)
        patch.setitem(methods.SAMPLERS, "flow_euler", modules["plain_flow"].FlowEuler)
        for name, measure in eval(f"{{{metric}}}", vars(table) | vars(modules["brightness"])).items():
            patch.setitem(METRICS, name, measure)
        yield modules


def imported(path: Path):
    """The module of a file; its classes know it by name."""
    spec = importlib.util.spec_from_file_location(f"extending_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = {
    "train.steps": 2, "train.batch_size": 16, "train.sample_every": 0, "parallel.devices": 1, "optim.warmup": 0.0,
    "eval.num": 16, "eval.batch_size": 16, "eval.metrics": "brightness", "sampler.steps": 2,
    "method.network.name": "conv", "method.network.width": 4,
}  # fmt: skip


def test_a_data_set_a_network_a_sampler_and_a_metric_of_ones_own_train_draw_and_measure(parts, tmp_path):
    digits = Digits().split("train").arrays()
    np.savez(tmp_path / "digits.npz", x=digits["x"], label=digits["label"])
    own = {"data.name": "archive", "data.path": tmp_path / "digits.npz", "sampler.name": "midpoint"}
    config = configs.override(configs.load(f"{parts['my_digits']}:conditional"), SMALL | own)
    result = diffjax.train(config, tmp_path / "run")
    assert 0 <= result["metrics"]["eval/brightness"] <= 255
    run = diffjax.load(tmp_path / "run")
    assert run.sample(3, label=1).x.shape == (3, 8, 8, 1) and run.sample(3).nfe.tolist() == [4, 4, 4]
    heldout = run.experiment.source.split("heldout")
    assert len(heldout) == -(-len(digits["x"]) // 10)


def test_a_method_of_ones_own_trains_continues_and_draws(parts, tmp_path):
    own = {"method.name": "plain_flow", "sampler.name": "flow_euler"}
    config = configs.override(configs.load(str(parts["my_digits"])), SMALL | own)
    diffjax.train(config, tmp_path / "run")
    assert diffjax.train(config, tmp_path / "run", {"train.steps": 3})["step"] == 3
    assert diffjax.load(tmp_path / "run").sample(3).nfe.tolist() == [2, 2, 2]


def test_the_midpoint_method_has_order_2(parts, x64):
    sampler = parts["midpoint"].Midpoint()
    np.testing.assert_allclose(measured(sampler, "vp_linear", "log_snr", (96, 192)), 2, atol=0.2)
