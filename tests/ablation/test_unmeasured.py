"""A place of a table may leave a quantity unmeasured, as where two published tables are one; not all places may."""

import pytest

from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.markdown import markdown
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import work
from diffjax.errors import UserError

FILE = '''"""Two quantities, each of its own data."""

from diffjax.ablation import Axis, Budget, Quantity, Table, computed, vary

PAPER = Table(
    source="nobody 2020, tables 0 and 1",
    rows=Axis("data", ("roll", "beat", "digits")),
    columns=Axis("model", ("ours", "theirs")),
    quantities=(
        Quantity("K", "T", ((2.0, None), (-2.0, None), (None, None)), "more"),
        Quantity("Parzen", "D", ((None, None), (None, None), (300, 250)), "more"),
    ),
)
CLAIMS = ()


def measure(seed, data):
    return {"parzen": 317.0} if data == "digits" else {"k": 1.5}


def theirs(seed, data):
    return {"parzen": 251.0}


GRID = computed(measure) * vary("model", {"ours": {}}) * vary("data", {d: {"data": d} for d in ("roll", "digits")})
GRID += computed(theirs) * vary("model", {"theirs": {}}) * vary("data", {"digits": {"data": "digits"}})
BUDGETS = {"minute": Budget("", GRID, {"K": "k", "Parzen": "NAME"}, hours=0.1)}
'''


def done(tmp_path, name):
    path = tmp_path / "two.py"
    path.write_text(FILE.replace("NAME", name))
    experiment = read(path)
    plan = tasks(experiment.budget("minute"), tmp_path)
    for task in plan:
        work(task, tmp_path, lambda line: None)
    return experiment, plan


def test_each_sheet_has_the_rows_and_columns_of_its_quantity(tmp_path):
    experiment, plan = done(tmp_path, "parzen")
    text = markdown(experiment, "minute", collect(experiment, experiment.budget("minute"), plan, tmp_path), plan)
    k, parzen = text[text.index("K: ours") :].split("Parzen: ours")
    assert "| data | model ours | paper |" in k and "| roll | 1.5 | 2 |" in k
    assert "| beat | not run | -2 |" in k, "what was published stands there whole"
    assert "digits" not in k and "theirs" not in k
    assert "| data | model ours | derived | model theirs | derived |" in parzen and "nobody" not in parzen
    assert "| digits | 317 | 300 | 251 | 250 |" in parzen and "roll" not in parzen


def test_a_score_that_was_never_measured_is_a_one_line_error(tmp_path):
    experiment, plan = done(tmp_path, "parsen")
    with pytest.raises(UserError, match="measures Parzen by 'parsen', which must be a measured score: k, parzen"):
        collect(experiment, experiment.budget("minute"), plan, tmp_path)
