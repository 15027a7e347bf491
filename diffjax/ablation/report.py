"""The command `report`: what the ledger has, as Markdown and as a page."""

from collections.abc import Sequence
from pathlib import Path

from diffjax.ablation import ledger
from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import Experiment, read
from diffjax.ablation.markdown import markdown
from diffjax.ablation.page import write
from diffjax.ablation.plan import Task, tasks
from diffjax.errors import UserError

HERE = Path("experiments")  # where the tables are, from the repository's root
README = """# Experiments

One file for each published table: its numbers with their sources, the claims made of it, and a grid for each budget.
`python launch.py ablate experiments/X.py --budget=hour` runs one, `python launch.py report` writes this page from the
ledger in `results/`. Published cells stand beside ours and are no comparison: data, networks and lengths differ. Claims
are decided on our cells alone, by 95 % intervals over seeds, and by exact tests where runs failed.
"""


def report(paths: Sequence[str], root: Path, out: Path | None = None) -> str:
    """What the ledger has of these experiments, of all by default, as Markdown.

    All of them go into experiments/README.md as well; `out` is a page of its own. Raises UserError for a file that is
    no experiment, and for an `out` that is no .html.
    """
    if out and out.suffix != ".html":
        raise UserError(f"--out: {out} is written as a page; give it the ending .html")
    files = [Path(path) for path in paths] or sorted(f for f in HERE.glob("*.py") if f.stem != "__init__")
    sections = [section for file in files for section in _sections(read(file), root)]
    text = README + "\n" + "\n\n".join(markdown(*section) for section in sections) + "\n"
    if not paths:
        (HERE / "README.md").write_text(text)
    if out:
        write(out, sections, root)
    return text


def _sections(experiment: Experiment, root: Path) -> list[tuple[Experiment, str, Cells, list[Task]]]:
    """The budgets of an experiment that the ledger has."""
    kept = {name: ledger.cells_of(experiment, name) for name in experiment.budgets}
    return [(experiment, name, cells, tasks(experiment.budget(name), root)) for name, cells in kept.items() if cells]
