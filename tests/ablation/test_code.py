"""The identity of code: what changes it, and what does not."""

import pytest

from diffjax import config as configs
from diffjax.ablation import code


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return code.code_of_file(str(path))

    return write


def test_comments_docstrings_and_layout_change_nothing_and_code_does(file):
    plain = file("def f(x):\n    return x + 1\n")
    assert (
        file('"""What it is."""\n\n\ndef f(x):\n    """One more."""\n    return (x +\n            1)  # why\n') == plain
    )
    assert file("def f(x):\n    return x + 2\n") != plain


def test_what_is_imported_counts(file):
    text = "from diffjax.diffusion.samplers.heun import Heun\n"
    assert file(text) != file("from diffjax.diffusion.samplers.ddim import DDIM\n")
    found = set()
    code._closure("diffjax.diffusion.samplers.heun", found)
    assert "diffjax.diffusion.samplers.sampler" in found and "diffjax.diffusion.process" in found
    assert not any(module.startswith(("diffjax.adversarial", "diffjax.config", "diffjax.writer")) for module in found)


def test_how_tables_are_planned_and_shown_changes_no_number(monkeypatch):
    """An experiment's functions are in a file that imports the ablations; what they compute with counts, these not."""
    path, content = "experiments/samplers_on_oracle.py", code._content
    before = code.code_of_file(path)
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.parent.name == "ablation" else content(p))
    assert code.code_of_file(path) == before
    monkeypatch.setattr(code, "_content", lambda p: "changed" if p.name == "oracle.py" else content(p))
    assert code.code_of_file(path) != before


def test_a_change_in_the_games_leaves_diffusion_as_it_was(monkeypatch):
    diffusion, game = (configs.load(f"configs/{name}.py") for name in ("digits", "gan_digits"))
    before = code.code_of(diffusion), code.code_of(game)
    content = code._content

    def changed(path):
        return "changed" if path.name == "losses.py" and path.parent.name == "adversarial" else content(path)

    monkeypatch.setattr(code, "_content", changed)
    assert code.code_of(diffusion) == before[0] and code.code_of(game) != before[1]


def test_the_sampler_and_the_metric_count(monkeypatch):
    digits = configs.load("configs/digits.py")
    ddim = configs.override(digits, [("sampler.name", "ddim")])
    assert code.code_of(digits) == code.code_of(digits)
    assert code.code_of(digits, ("energy",)) != code.code_of(digits)
    content = code._content
    monkeypatch.setattr(code, "_content", lambda path: "changed" if path.name == "points.py" else content(path))
    assert code.code_of(ddim, ("energy",)) != code.code_of(ddim)
