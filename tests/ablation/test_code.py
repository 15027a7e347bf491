"""The identity of code: what changes it, and what does not."""

import ast
import re

import pytest

from diffjax import config as configs
from diffjax.ablation import code, syntax
from diffjax.errors import UserError


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def hashed(file):
    return lambda text: code.code_of_function(str(file(text)), "f")


def test_comments_docstrings_and_layout_change_nothing_and_code_does(hashed):
    plain = hashed("def f(x):\n    return x + 1\n")
    said = '"""What it is."""\n\n\ndef f(x):\n    """One more."""\n    return (x +\n            1)  # why\n'
    assert hashed(said) == plain
    assert hashed("def f(x):\n    return x + 2\n") != plain


FUNCTION = """
def f(x, *, scale=1):
    total, pairs = 0, [(a, b) for a, b in x]
    def add(value):
        nonlocal total
        total += value * scale
    for first, second in pairs:
        try:
            add(first)
        except ValueError as error:
            print(error)
        match second:
            case [one, *others] | {"one": one, **others}:
                total += (size := len(others)) + one + size
    return total + G
"""


def test_the_hash_is_the_same_in_every_version_of_python(hashed):
    """A run of one machine is no older code on another. 3.10 to 3.13 give these digits, not so of `ast.unparse`."""
    text = (
        "@g\ndef f(x: int = 1, *a, k=None, **b):\n    match x:\n        case {'a': [1, *_]} | None:\n"
        "            return f'{x!r:>{k}}' f\"{a['b']}'\" 'c' + {**b, None: ...}[1:]\n"
        "    return [b'', 1.5, 2j, -1e-9, ()]\n"
    )
    assert hashed(text) == "4739af75ac85"
    assert hashed(FUNCTION) == "7d31af89afc0"


def test_an_f_string_may_be_split_anywhere(hashed):
    whole, cut = ("def f(x):\n    return " + text for text in ("f'a{x}bc'", "'a' f'{x}' 'b' '' f'c'"))
    assert hashed(whole) == hashed(cut)
    assert hashed(whole.replace("bc", "b")) != hashed(whole)


def test_a_check_that_only_raises_changes_nothing(hashed):
    plain = hashed("def f(x):\n    return x\n")
    lone = "if x < 0:\n        raise UserError('x')"
    for check in (lone, "for y in x:\n        if y:\n            raise ValueError(y)", f"'''x'''\n    {lone}"):
        assert hashed(f"from diffjax.errors import UserError\ndef f(x):\n    {check}\n    return x\n") == plain
    for more in ("x = -x\n        raise UserError('x')", "raise UserError('x')\n    else:\n        x = -x", "x = -x"):
        assert hashed(f"def f(x):\n    if x < 0:\n        {more}\n    return x\n") != plain
    assert hashed("def f(x):\n    if y := x < 0:\n        raise ValueError(x)\n    return x\n") != plain, (
        "y may be used"
    )
    assert hashed("def f(x):\n    raise ValueError(x)\n") != hashed("def f(x):\n    raise TypeError(x)\n")


VARIABLES = ("total", "pairs", "a", "b", "add", "first", "second", "error", "one", "others", "size")
FIXED = ("f", "x", "scale", "value", "print", "ValueError", "len", "G")  # parameters, and what is not the function's


def renamed(text, name, other="renamed"):
    return re.sub(rf"\b{name}\b(?!\")", other, text)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_local_variable_may_have_any_name(name):
    assert syntax.read(renamed(FUNCTION, name)).content == syntax.read(FUNCTION).content


@pytest.mark.parametrize("name", FIXED)
def test_names_that_callers_may_use_may_not_change(name):
    assert syntax.read(renamed(FUNCTION, name)).content != syntax.read(FUNCTION).content


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("def f(x):\n    y = x\n    z = 1\n    return y", "def f(x):\n    y = x\n    z = 1\n    return z"),
        ("def f(x):\n    y, z = x\n    return y - z", "def f(x):\n    y, z = x\n    return z - y"),
        ("def f(x):\n    return [y for y in x] + y", "def f(x):\n    return [z for z in x] + z"),  # the file's y, its z
        ("def f(x):\n    global y\n    y = x", "def f(x):\n    global z\n    z = x"),
        ("def f():\n    from m import y\n    return y", "def f():\n    from m import z\n    return z"),
        ("def f():\n    class A:\n        y = 1\n    return A", "def f():\n    class A:\n        z = 1\n    return A"),
        ("def f():\n    class A: pass\n    return A", "def f():\n    class B: pass\n    return B"),
        ("def f(x=y):\n    y = x\n    return y", "def f(x=z):\n    z = x\n    return z"),
        ("class A:\n    y = 1", "class A:\n    z = 1"),
        ("y = 1", "z = 1"),
    ],
)  # fmt: skip
def test_functions_of_different_meaning_are_told_apart(text, other):
    assert syntax.read(text).content != syntax.read(other).content


def test_what_is_imported_counts(hashed):
    heun, ddim = (
        f"from diffjax.diffusion.samplers.{name.lower()} import {name}\ndef f():\n    return {name}()\n"
        for name in ("Heun", "DDIM")
    )
    assert hashed(heun) != hashed(ddim)
    found = set()
    code._closure("diffjax.diffusion.samplers.heun", found)
    assert "diffjax.diffusion.samplers.sampler" in found and "diffjax.diffusion.process" in found
    assert not any(module.startswith(("diffjax.adversarial", "diffjax.config", "diffjax.workdir")) for module in found)


def test_how_tables_are_planned_and_shown_changes_no_number(monkeypatch):
    """An experiment's functions are in a file that imports the ablations; what they compute with counts, these not."""
    of, content = ("experiments/samplers_on_oracle.py", "measure"), code._content
    before = code.code_of_function(*of)
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.parent.name == "ablation" else content(p))
    assert code.code_of_function(*of) == before
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.name == "oracle.py" else content(p))
    assert code.code_of_function(*of) != before


def test_only_what_a_function_uses_of_its_file_counts(hashed):
    """What a claim says makes no number stale; a constant that another function uses does."""
    used = "from functools import cache\nA = 1\n@cache\ndef g():\n    return A{1}\ndef f(x):\n    return g() + x\n"
    text = used + "CLAIM = ['{0}' for x in range(3)]\n"
    plain = hashed(text.format("more", ""))
    assert hashed(text.format("less", "")) == plain
    assert hashed(text.format("more", " + 1")) != plain
    assert hashed(text.format("more", "").replace("A = 1", "A = 2")) != plain


def test_every_statement_that_binds_a_name_counts(hashed):
    """Each of several bindings, a change of a part, and a call at the top of the file, which may change anything."""
    text = (
        "import jax\nA = 1\nA += 1\nT = {{}}\nT['x'] = 3\nT['y'].z = 4\n"
        "jax.config.update('jax_enable_x64', {0})\nif A:\n    T.update(y={1})\n"
        "try:\n    import tomllib as toml\nexcept ImportError:\n    toml = None\n"
        "B = 5\nB += 6\ndef f():\n    return A, T, toml\n"
    )
    plain = hashed(text.format(True, 7))
    for one, other in (("A = 1", "A = 2"), ("+= 1", "+= 2"), ("= 3", "= 4"), ("= 4", "= 5"), ("tomllib", "tomli")):
        assert hashed(text.format(True, 7).replace(one, other)) != plain, one
    assert hashed(text.format(False, 7)) != plain and hashed(text.format(True, 8)) != plain
    assert hashed(text.format(True, 7).replace("B = 5", "B = 6").replace("+= 6", "+= 7")) == plain, "nothing uses B"
    assert hashed(text.format(True, 7).replace("B = 5", "'A docstring of B.'\nB = 5")) == plain


def test_a_nested_function_depends_on_its_whole_file(hashed):
    text = "A = 1\ndef make(n):\n    def f(x):\n        return n * x\n    return f\n"
    assert hashed(text) != hashed(text.replace("n * x", "n + x"))


@pytest.fixture
def neighbours(tmp_path):
    """An experiment's folder: writes files of it, and says the hash of its function f."""

    def hashed(text, **files):
        folder = tmp_path / "experiments"
        folder.mkdir(exist_ok=True)
        for name, said in {"x": text, **files}.items():
            (folder / f"{name}.py").write_text(said)
        return code.code_of_function(str(folder / "x.py"), "f")

    return hashed


@pytest.mark.parametrize(
    "taken",
    [
        "from experiments.common import score\ndef f():\n    return score()\n",
        "def f():\n    from experiments.common import score\n    return score()\n",
        "from experiments import common as c\ndef f():\n    return c.score()\n",
        "import experiments.common\ndef f():\n    return experiments.common.score()\n",
        "from experiments.common import *\ndef f():\n    return score()\n",
    ],
)
def test_imports_from_files_beside_its_own_count(neighbours, taken):
    common = "from .deeper import SIZE\ndef score():\n    return SIZE\n"
    plain = neighbours(taken, common=common, deeper="SIZE = 1\n")
    assert neighbours(taken, deeper="SIZE = 1  # one\nWHAT = 'else'\n") == plain
    assert neighbours(taken, deeper="SIZE = 2\n") != plain
    assert neighbours(taken, common=common + "score = score\n", deeper="SIZE = 1\n") != plain
    unused = taken + "from experiments.other import other\n"
    plain = neighbours(unused, common=common, other="other = 1\n")
    assert neighbours(unused, other="other = 2\n") == plain, "f does not use it"


def test_what_files_beside_it_import_from_diffjax_counts(neighbours, monkeypatch):
    text = "from experiments.common import score\ndef f():\n    return score()\n"
    common = "from diffjax.metrics import energy_distance\ndef score():\n    return energy_distance(1, 2)\n"
    plain, content = neighbours(text, common=common), code._content
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.name == "energy.py" else content(p))
    assert neighbours(text) != plain


def test_importing_a_whole_module_of_diffjax_is_an_error(hashed):
    uses = "\ndef f():\n    return {}\n"
    for taken, used in (
        ("import diffjax", "diffjax.load"), ("import diffjax.metrics", "diffjax.metrics.kid"),
        ("import diffjax.metrics as m", "m.kid"), ("from diffjax.metrics import *", "kid"),
    ):  # fmt: skip
        with pytest.raises(UserError, match="grid: .* imports all of diffjax.*; write `from diffjax.* import` and"):
            hashed(taken + uses.format(used))
    assert hashed("from diffjax.ablation import *" + uses.format(1)), "it makes no number"
    assert hashed("import diffjax.metrics as m" + uses.format(1)), "nothing of it is used"


def test_a_reexported_name_counts_as_the_module_that_defines_it(file):
    """What else the package holds changes nothing, however the name is taken; of a table a config says what counts."""

    def taken(text):
        return code._imports(file(text))

    assert taken("from diffjax.metrics import energy_distance") == ("diffjax.metrics.energy",)
    assert taken("from diffjax import metrics as m\nm.energy_distance(x, y)") == ("diffjax.metrics.energy",)
    assert taken("from diffjax.models import NETWORKS") == ()


def test_no_file_imports_in_a_way_that_the_hash_would_overlook():
    """`import diffjax.x`, `from . import x`, and a package as a value, not for one of its names."""
    for path in code.ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        taken = [t for t in syntax.taken(tree) if code._is_door(f"{t.module}.{t.name}")]
        used = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
            if isinstance(node, ast.Import) and path.name != "code.py":
                assert not any(alias.name.startswith("diffjax") for alias in node.names), path
            if isinstance(node, ast.Name) and node.id in {t.known_as for t in taken}:
                assert id(node) in used, (path, node.id)


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Has code say that this file of the package has one text for another."""

    def change(module, one, other):
        path, of = code._file(module), code._file
        assert (text := path.read_text()).count(one) == 1, one
        (copy := tmp_path / path.name).write_text(text.replace(one, other))
        monkeypatch.setattr(code, "_file", lambda asked: copy if asked == module else of(asked))

    return change


TRAINING = (  # how a run begins, goes on, and is given up
    ("diffjax.experiment", "state = jax.jit(self.init, out_shardings=shardings)(self.key(Role.INIT))", "state = None"),
    ("diffjax.experiment", 'return dict.fromkeys(networks, build("optim", node))', "return {}"),
    ("diffjax.training.loop", "compiled(carry, next(stream), key)", "compiled(carry, next(stream), key + 1)"),
    ("diffjax.training.loop", "return every > 0 and step % every == 0", "return False"),
    ("diffjax.training.health", "if not (previous and self.complaint):", "if not previous:"),
    ("diffjax.training.warm_start", "return other", "return None"),
    ("diffjax.keys", "STEP = 1", "STEP = 4"),
)


@pytest.mark.parametrize("change", TRAINING, ids=lambda change: change[0])
def test_how_a_run_starts_continues_and_fails_counts(changed, change):
    config, oracle = configs.load("configs/digits.py"), ("experiments/samplers_on_oracle.py", "measure")
    before = code.code_of(config), code.code_of(config, ("nfe",)), code.code_of_function(*oracle)
    changed(*change)
    assert code.code_of(config) != before[0] and code.code_of(config, ("nfe",)) != before[1]
    assert code.code_of_function(*oracle) == before[2], "no run is in it"


@pytest.mark.parametrize(
    "change",
    [
        ("diffjax.run", "step = checkpoints.latest() if step is None else step", "step = 0"),
        ("diffjax.ablation.work", "config.eval.num, config.seed, choice", "config.eval.num, 0, choice"),
    ],
    ids=lambda change: change[0],
)
def test_how_a_run_is_loaded_for_measuring_counts_for_that_only(changed, change):
    config = configs.load("configs/digits.py")
    before = code.code_of(config), code.code_of(config, ("nfe",))
    changed(*change)
    assert code.code_of(config) == before[0] and code.code_of(config, ("nfe",)) != before[1]


def test_a_function_that_loads_a_run_depends_on_the_loading_code(hashed, changed):
    texts = [f"from {of} import load\ndef f():\n    return load('x')\n" for of in ("diffjax.run", "diffjax")]
    before = [hashed(text) for text in texts]
    changed("diffjax.run", "step = checkpoints.latest() if step is None else step", "step = 0")
    assert all(hashed(text) != plain for text, plain in zip(texts, before, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        ("diffjax.training.loop", "stop.reraise(result", "stop.reraise(not result"),
        ("diffjax.training.loop", "no good checkpoint was saved", "none was saved"),
        ("diffjax.run", "ema of sigma_rel", "an average of"),
    ],
)
def test_messages_and_side_work_during_training_do_not_count(changed, change):
    config = configs.load("configs/digits.py")
    before = code.code_of(config)
    changed(*change)
    assert code.code_of(config) == before


def test_every_named_part_of_the_code_exists():
    for part in (*code.LOOP, *code.MEASURING, code.JUDGE):
        module, _, name = part.partition(":")
        assert not name or syntax.definition(code._file(module).read_text(), name), part


def test_sampling_and_measuring_do_not_count_for_training(monkeypatch):
    config, content = configs.load("configs/digits.py"), code._content
    before = code.code_of(config), code.code_of(config, ("nfe",))
    for changed in ("evidence.py", "heun.py"):
        monkeypatch.setattr(code, "_content", lambda p, changed=changed: "changed" if p.name == changed else content(p))
        assert code.code_of(config) == before[0] and code.code_of(config, ("nfe",)) != before[1]


def test_a_feature_network_and_a_judge_count(monkeypatch):
    config, content = configs.load("configs/digits.py"), code._content
    before = [code.code_of(config, (name,)) for name in ("frechet:pixels", "frechet:inception_clean")]
    assert code.code_of(config, ("frechet:classifier",), needs=("one",)) != code.code_of(
        config, ("frechet:classifier",), needs=("another",)
    )
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.name == "inception.py" else content(p))
    assert code.code_of(config, ("frechet:pixels",)) == before[0]
    assert code.code_of(config, ("frechet:inception_clean",)) != before[1]


def test_how_a_judge_is_read_counts_where_it_judges(monkeypatch):
    config, content = configs.load("configs/digits.py"), code._content
    before = [code.code_of(config, (name,)) for name in ("frechet:pixels", "frechet:classifier")]
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p == code._file(code.JUDGE) else content(p))
    after = [code.code_of(config, (name,)) for name in ("frechet:pixels", "frechet:classifier")]
    assert after[0] == before[0] and after[1] != before[1]


def test_a_change_in_gan_losses_does_not_affect_diffusion(monkeypatch):
    diffusion, game = (configs.load(f"configs/{name}.py") for name in ("digits", "gan_digits"))
    before = code.code_of(diffusion), code.code_of(game)
    content = code._content

    def changed(path):
        return "changed" if path.name == "losses.py" and path.parent.name == "adversarial" else content(path)

    monkeypatch.setattr(code, "_content", changed)
    assert code.code_of(diffusion) == before[0] and code.code_of(game) != before[1]


def test_the_sampler_and_the_metric_count(monkeypatch):
    """Their own modules change what is drawn by the one, or measured by the other, and nothing else."""
    digits = configs.load("configs/digits.py")
    ddim = configs.override(digits, [("sampler.name", "ddim")])
    asked = {
        "own": (digits, ("nfe",)),
        "ddim": (ddim, ("nfe",)),
        "energy": (digits, ("energy",)),
        "frechet": (digits, ("frechet:pixels",)),
    }
    before = {name: code.code_of(*of) for name, of in asked.items()}
    assert len(set(before.values())) == len(asked) and before == {name: code.code_of(*of) for name, of in asked.items()}
    content = code._content
    for file, counts in (("ddim.py", {"ddim"}), ("energy.py", {"energy"})):
        monkeypatch.setattr(code, "_content", lambda path, file=file: "changed" if path.name == file else content(path))
        now = {name: code.code_of(*of) for name, of in asked.items()}
        assert {name for name in asked if now[name] != before[name]} == counts, file
