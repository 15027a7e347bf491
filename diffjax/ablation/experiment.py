"""An experiment file: a published table, claims about it, and what to run for each budget.

It defines PAPER, a Table; CLAIMS, a tuple of Claims; and BUDGETS, {name: Budget}. The first line of its docstring is
the table's title.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffjax.ablation.claims import Claim
from diffjax.ablation.grid import Grid
from diffjax.ablation.table import Table, named
from diffjax.errors import UserError, suggestion
from diffjax.host.userfile import executed

BUDGETS = ("minute", "hour", "quarter", "day", "paper")
ON_GPU = ("quarter", "day", "paper")  # these are for one GPU


@dataclass(frozen=True)
class Budget:
    """A size at which a table can be run."""

    what: str  # data, length of training, samples: "digits 8x8, 128,000 images; 719 samples"
    grid: Grid
    measures: Mapping[str, str]  # quantity of the table -> the score that measures it: {"FID": "fid"}
    hours: float  # time limit of one run, for schedulers

    def __post_init__(self):
        if not isinstance(self.grid, Grid) or not len(self.grid):
            raise UserError(
                f"experiment: the grid of {self.what!r} has no points; build one from trained, computed and vary"
            )
        if not isinstance(self.measures, Mapping) or not self.measures:
            raise UserError(f"experiment: {self.what!r} measures nothing; write {{quantity of the table: score}}")
        if not isinstance(self.hours, int | float) or not 0 < self.hours < math.inf:
            raise UserError(f"experiment: hours={self.hours!r} of {self.what!r} must be a time limit, a number above 0")


@dataclass(frozen=True)
class Experiment:
    """The content of an experiment file."""

    name: str
    path: Path
    about: str  # its docstring
    paper: Table
    claims: tuple[Claim, ...]
    budgets: Mapping[str, Budget]

    @property
    def title(self) -> str:
        return self.about.splitlines()[0]

    @property
    def notes(self) -> list[str]:
        """The paragraphs and lists below the title: what a reader must know of the rows, columns and quantities."""
        return [paragraph.strip() for paragraph in self.about.split("\n\n")[1:]]

    def budget(self, name: str) -> Budget:
        """The budget of this name. Raises UserError if there is no such budget, or none in this experiment."""
        if name not in self.budgets:
            problem = "is unknown" if name not in BUDGETS else f"has no grid in {self.path}"
            raise UserError(f"`budget`: {name!r} {problem}; it must be one of {', '.join(self.budgets)}")
        return self.budgets[name]


def read(path: str | Path) -> Experiment:
    """Reads an experiment file. Raises UserError for anything that is wrong with it."""
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        names = sorted(file.stem for file in Path("experiments").glob("*.py") if file.stem != "__init__")
        hint = suggestion(path.stem, names)
        raise UserError(f"experiment: there is no file {path}; experiments/ has {', '.join(names) or 'none'}{hint}")
    with executed(path, str(path)) as module:
        pass
    for name, kind in (("PAPER", Table), ("CLAIMS", tuple), ("BUDGETS", dict)):
        if not isinstance(getattr(module, name, None), kind):
            raise UserError(f"{path}: must define {name}, a {kind.__name__}")
    for name, values, kind in (("CLAIMS", module.CLAIMS, Claim), ("BUDGETS", module.BUDGETS.values(), Budget)):
        if wrong := [value for value in values if not isinstance(value, kind)]:
            raise UserError(f"{path}: {name} has {wrong[0]!r}, which must be a {kind.__name__}")
    if not module.BUDGETS:
        raise UserError(f"{path}: BUDGETS has no budget; it must have one of {', '.join(BUDGETS)}")
    if not (module.__doc__ or "").strip():
        raise UserError(f"{path}: has no docstring; its first line is the table's title")
    experiment = Experiment(path.stem, path, module.__doc__.strip(), module.PAPER, module.CLAIMS, module.BUDGETS)
    _check(experiment)
    return experiment


def _check(experiment: Experiment) -> None:
    """Raises UserError unless the table has the places and quantities of every claim and every grid."""
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
    """Raises UserError unless each point is in the table, has one thing to run, and shares its place with no other.

    Points of different seeds may share a place.
    """
    seen = set()
    for point in grid:
        paper.check(point.where)
        if bool(point.config) == bool(point.compute):
            raise UserError(f"experiment: {named(point.where)} must have either a config or a function")
        key = (*sorted(point.where.items()), point.seed)
        if key in seen:
            raise UserError(f"experiment: {named(point.where)} has two points of seed {point.seed}; it must have one")
        seen.add(key)
