"""An experiment file: a published table, the claims made of it, and what to run for each budget.

It defines PAPER, a Table; CLAIMS, a tuple of Claims; BUDGETS, {name: Budget}; and its docstring says what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffjax.ablation.claims import Claim
from diffjax.ablation.grid import Grid
from diffjax.ablation.table import Table, named
from diffjax.config import did_you_mean
from diffjax.errors import UserError
from diffjax.userfile import executed

BUDGETS = ("minute", "hour", "quarter", "day", "paper")
ON_GPU = ("quarter", "day", "paper")  # those that are of one GPU


@dataclass(frozen=True)
class Budget:
    """What a table is made of when there is so much time for all of it."""

    what: str  # data, length of training, samples: "digits 8x8, 128,000 images; 719 samples"
    grid: Grid
    measures: Mapping[str, str]  # quantity of the table -> the score of ours that stands for it: {"FID": "fid"}
    hours: float  # time limit of one run, for schedulers that want one

    def __post_init__(self):
        if not isinstance(self.grid, Grid) or not len(self.grid):
            raise UserError(f"experiment: the grid of {self.what!r} has no points; make one of trained, computed, vary")
        if not isinstance(self.measures, Mapping) or not self.measures:
            raise UserError(f"experiment: {self.what!r} measures nothing; write {{quantity of the table: score}}")
        if not isinstance(self.hours, int | float) or not self.hours > 0:
            raise UserError(f"experiment: hours={self.hours!r} of {self.what!r} is no time limit; a number above 0")


@dataclass(frozen=True)
class Experiment:
    """An experiment file, read."""

    name: str
    path: Path
    about: str
    paper: Table
    claims: tuple[Claim, ...]
    budgets: Mapping[str, Budget]

    def budget(self, name: str) -> Budget:
        """Raises UserError for a budget that is none, or that this experiment has no grid for."""
        if name not in self.budgets:
            known = "is unknown" if name not in BUDGETS else f"has no grid in {self.path}"
            raise UserError(f"--budget: {name!r} {known}; it is one of {', '.join(self.budgets)}")
        return self.budgets[name]


def read(path: str | Path) -> Experiment:
    """The experiment in a file. Raises UserError, in one line, for whatever is wrong with it."""
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        there = sorted(file.stem for file in Path("experiments").glob("*.py") if file.stem != "__init__")
        meant = did_you_mean(path.stem, there)
        raise UserError(
            f"experiment: there is no file {path}; in experiments/ there are {', '.join(there) or 'none'}{meant}"
        )
    with executed(path, str(path)) as module:
        pass
    for name, kind in (("PAPER", Table), ("CLAIMS", tuple), ("BUDGETS", dict)):
        if not isinstance(getattr(module, name, None), kind):
            raise UserError(f"{path}: defines no {name}, a {kind.__name__}")
    for name, found, kind in (("CLAIMS", module.CLAIMS, Claim), ("BUDGETS", module.BUDGETS.values(), Budget)):
        if wrong := [value for value in found if not isinstance(value, kind)]:
            raise UserError(f"{path}: {name} has {wrong[0]!r}, which is no {kind.__name__}")
    if not (module.__doc__ or "").strip():
        raise UserError(f"{path}: has no docstring; its first line is the table's title")
    experiment = Experiment(path.stem, path, module.__doc__.strip(), module.PAPER, module.CLAIMS, module.BUDGETS)
    _check(experiment)
    return experiment


def _check(experiment: Experiment) -> None:
    """The places of every grid and every claim stand in the table, and so do the quantities they are of."""
    for claim in experiment.claims:
        try:
            claim.statement.check(experiment.paper)
        except UserError as error:
            raise error.about("experiment: ", f"{experiment.path}: claim {claim.says!r}: ") from None
    quantities = {quantity.name for quantity in experiment.paper.quantities}
    for name, budget in experiment.budgets.items():
        if name not in BUDGETS:
            raise UserError(f"{experiment.path}: budget {name!r} is not one of {', '.join(BUDGETS)}")
        if unknown := sorted(budget.measures.keys() - quantities):
            raise UserError(f"{experiment.path}: budget {name} measures {unknown[0]!r}, which is not in the table")
        try:
            _check_points(budget.grid, experiment.paper)
        except UserError as error:
            raise error.about("experiment: ", f"{experiment.path}: budget {name}: ") from None


def _check_points(grid: Grid, paper: Table) -> None:
    """Every point stands in the table, with one thing to run, and no two of a seed stand at one place."""
    seen = set()
    for point in grid:
        paper.check(point.where)
        if bool(point.config) == bool(point.compute):
            raise UserError(f"experiment: there is no config for {named(point.where)}, or a function as well")
        own = (*sorted(point.where.items()), point.seed)
        if own in seen:
            raise UserError(
                f"experiment: two points of seed {point.seed} stand at {named(point.where)}; one would hide the other"
            )
        seen.add(own)
