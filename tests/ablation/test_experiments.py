"""Every experiment: its cells have sources and marks, its grids build, its claims can be decided, either way."""

import hashlib
import json
import math
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from diffjax.ablation import All, AnyOf, Fails, Less, Near, Within
from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.cost import COSTS
from diffjax.ablation.experiment import BUDGETS, read
from diffjax.ablation.ledger import published
from diffjax.ablation.plan import tasks
from diffjax.ablation.table import MARKS, Marked
from diffjax.config import decisive
from diffjax.evaluation.choice import full
from diffjax.evaluation.periodic import chosen
from diffjax.evaluation.table import possible_scores
from diffjax.experiment import Experiment
from diffjax.metrics.protocol import fingerprint

FILES = sorted(path for path in Path("experiments").glob("*.py") if path.stem != "__init__")
LEDGERS = sorted(Path("experiments/results").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_cell_has_a_source_and_a_mark(path):
    """As it enters the ledger: a number, a number and its spread, or a word; a source has a year, or is nobody."""
    paper = read(path).paper
    cells = [(q, where, paper.published(q.name, where)) for q in paper.quantities for where in paper.places()]
    there = [(q, where, cell) for q, where, cell in cells if cell is not None]
    for quantity, where, cell in there:
        written = published(paper, where)[quantity.name]
        own = isinstance(cell, Marked)
        assert written["value"] == (cell.value if own else cell)
        assert written["mark"] == (cell.mark if own else quantity.mark)
        assert ("source" in written) is (written["mark"] == "D"), "else it is the table's"
        assert written["mark"] in MARKS
        for number in written["value"] if isinstance(written["value"], tuple) else (written["value"],):
            assert (isinstance(number, str) and number) or math.isfinite(number), (where, number)
    assert sum(len(published(paper, where)) for where in paper.places()) == len(there)
    assert re.search(r"\b(19|20)\d\d\b" + ("" if there else "|nobody published"), paper.source), paper.source


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.stem)
def test_the_ledger_has_the_published_cells_and_the_claims_of_today(path):
    """Every one of them, with its value, mark and source, in each budget that was run."""
    experiment, ledger = read(Path("experiments") / f"{path.stem}.py"), json.loads(path.read_text())
    paper, nothing = experiment.paper, Cells(experiment.paper, [])
    today = {key(where): json.loads(json.dumps(published(paper, where))) for where in paper.places()}
    says = [claim.verdict(nothing).says for claim in experiment.claims]
    assert ledger["source"] == paper.source
    assert ledger["budgets"].keys() <= experiment.budgets.keys()
    for name, section in ledger["budgets"].items():
        kept = {key(cell["where"]): cell["published"] for cell in section["cells"]}
        assert kept.keys() <= today.keys()
        assert {place: kept.get(place, {}) for place in today} == today, name
        assert [claim["says"] for claim in section["claims"]] == says, name


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


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_place_of_an_hour_can_be_sampled_and_measured(path, tmp_path):
    """Each network with its samplers and metrics; without those that need another run, which is not there."""
    built = set()
    for task in tasks(read(path).budget("hour"), tmp_path):
        for evaluation in task.evaluations if not task.needs and not task.compute else ():
            name = fingerprint({**decisive(evaluation.config), "seed": 0})
            if name not in built:
                built.add(name)
                chosen(Experiment.of(evaluation.config), load_networks=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_claim_can_be_decided_both_ways_by_the_cells_of_a_budget(path, tmp_path):
    """For each claim there are numbers, of the quantities, places and seeds that a budget has, that reproduce it, and
    some that do not."""
    experiment = read(path)
    budgets = {name: measured(b, tmp_path) for name, b in experiment.budgets.items() if name != "minute"}
    for claim in experiment.claims:
        verdicts = {
            name: {
                claim.verdict(witness(experiment.paper, there, claim.statement, holds)).verdict
                for holds in (True, False)
            }
            for name, there in budgets.items()
        }
        assert {"reproduced", "contradicted"} in verdicts.values(), (claim.says, verdicts)


def measured(budget, root):
    """By place: a cell of its seeds and quantities, all 1; of a computed place all, since only its function knows."""
    cells = {}
    for task in tasks(budget, root):
        for e in task.evaluations:
            metrics = [full(name, e.config.eval.features) for name in e.config.eval.metrics] if e.config else []
            scores = {score for metric in metrics for score in possible_scores(*metric)} | set(COSTS)
            quantities = [q for q, score in budget.measures.items() if not e.config or score in scores]
            cell = cells.setdefault(key(e.where), Cell(e.where, {}, {q: {} for q in quantities}, provenance={}))
            cell.runs[task.seed] = f"{key(e.where)}{task.seed}"
            cell.provenance[task.seed] = {}
            for quantity in quantities:
                cell.values[quantity][task.seed] = 1.0
    return cells


def witness(paper, there, statement, holds):
    """Cells that make a statement hold, or not: values in an order that its comparisons allow, if there is one."""
    after, fixed, failing = {}, {}, set()
    for leaf, so in asked(statement, holds, Cells(paper, list(there.values()))):
        if isinstance(leaf, Less):
            low, high = (leaf.low, leaf.high) if so else (leaf.high, leaf.low)
            after.setdefault((leaf.quantity, key(high)), set()).add((leaf.quantity, key(low)))
        elif isinstance(leaf, Within):
            ends = [end for end in (leaf.low, leaf.high) if math.isfinite(end)]
            inside = sum(ends) / 2 if len(ends) == 2 else ends[0] + (1.0 if ends[0] == leaf.low else -1.0)
            fixed[leaf.quantity, key(leaf.where)] = inside if so else 2 * ends[0] - inside  # its mirror image
        elif isinstance(leaf, Near):
            fixed |= {(leaf.quantity, key(leaf.one)): 1.0, (leaf.quantity, key(leaf.other)): 1.0 if so else 9.0}
        elif so:
            assert isinstance(leaf, Fails)
            failing.add(key(leaf.where))
    value = {node: 10.0 + i for i, node in enumerate(TopologicalSorter(after).static_order())} | fixed
    cells = []
    for place, cell in there.items():
        where, runs = cell.where, cell.runs
        paper.check(where)
        if place in failing:
            cells.append(Cell(where, runs, failed=dict.fromkeys(runs, "not finite")))
            continue
        values = {q: {s: value.get((q, place), 1.0) + 1e-3 * spread(q, place, s) for s in runs} for q in cell.values}
        cells.append(Cell(where, runs, values, dict.fromkeys(values, {}), provenance=dict.fromkeys(runs, {})))
    return Cells(paper, cells)


def spread(quantity, place, seed):
    """Numbers between 0 and 1 that are alike nowhere: seeds without a spread have no interval."""
    return int(hashlib.sha256(f"{quantity}{place}{seed}".encode()).hexdigest()[:8], 16) / 16**8


def asked(statement, holds, cells):
    """The comparisons that are enough for a statement to hold, or not to, each with whether it must hold."""
    if hasattr(statement, "comparisons"):
        statement = statement.comparisons(cells)
    if isinstance(statement, All | AnyOf):
        each = isinstance(statement, All) is holds
        parts = statement.statements if each else statement.statements[:1]
        return [leaf for part in parts for leaf in asked(part, holds, cells)]
    return [(statement, holds)]


def key(where):
    return tuple(sorted(where.items()))
