"""Every experiment: its cells have sources and marks, its grids build, its claims can be decided."""

from pathlib import Path

import pytest

from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.experiment import BUDGETS, read
from diffjax.ablation.plan import tasks
from diffjax.ablation.table import MARKS, Marked

FILES = sorted(path for path in Path("experiments").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_cell_has_a_source_and_a_mark(path):
    paper = read(path).paper
    assert paper.source and all(quantity.mark in MARKS for quantity in paper.quantities)
    for quantity in paper.quantities:
        for where in paper.places():
            cell = paper.published(quantity.name, where)
            cell = cell.value if isinstance(cell, Marked) else cell
            assert isinstance(cell, int | float | str | tuple | None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_grid_builds_and_the_smoke_test_has_one_seed(path, tmp_path):
    experiment = read(path)
    assert {"minute", "hour"} <= set(experiment.budgets) <= set(BUDGETS)
    for name, budget in experiment.budgets.items():
        plan = tasks(budget, tmp_path)
        places = {tuple(sorted(e.where.items())) for task in plan for e in task.evaluations}
        assert places, name
        seeds = {task.seed for task in plan if task.evaluations}
        assert len(seeds) == 1 if name == "minute" else True
        assert len(seeds) >= 3 if name == "hour" else True
        assert len({(task.id, e.id) for task in plan for e in task.evaluations}) == sum(
            len(task.evaluations) for task in plan
        ), "two places are one measurement"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_claim_can_be_decided_by_cells_of_the_whole_table(path):
    """With distinct values and no spread every claim is either reproduced or contradicted."""
    experiment = read(path)
    cells = []
    for i, where in enumerate(experiment.paper.places()):
        values = {q.name: dict.fromkeys(range(3), 1.0 + i) for q in experiment.paper.quantities}
        cells.append(Cell(where, {0: "a", 1: "b", 2: "c"}, "done", "", values, dict.fromkeys(values, {})))
    for claim in experiment.claims:
        verdict = claim.verdict(Cells(experiment.paper, cells))
        assert verdict.verdict in ("reproduced", "contradicted"), verdict
