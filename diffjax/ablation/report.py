"""The command `report`: what the ledger has, as Markdown and as a page."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from diffjax.ablation import ledger
from diffjax.ablation.cells import Cells
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import Experiment, read
from diffjax.ablation.layout import PREFACE
from diffjax.ablation.markdown import markdown
from diffjax.ablation.page import Section, write
from diffjax.ablation.plan import Task, tasks
from diffjax.ablation.progress import place
from diffjax.ablation.thumbnails import groups, pictures_of
from diffjax.errors import UserError
from diffjax.whole import written_whole

IN_A_LINE = 4  # pictures
HERE = Path("experiments")  # where the tables are, from the repository's root
README = f"""# Experiments

One file for each published table: its numbers with their sources, the claims made of it, and a grid for each budget.
`python launch.py ablate experiments/X.py --budget=hour` runs one, `python launch.py report` writes this page from the
ledger in `results/`.

{fill(PREFACE, 120)}
"""
NOT_RUN = """## Not run yet

The ledger has no cell of these tables; `python launch.py ablate FILE --budget=hour` (or another) runs one.

"""


def report(paths: Sequence[str], root: Path, out: Path | None = None) -> str:
    """What the ledger has of these experiments, of all by default, as Markdown; and which of them it has nothing of.

    All of them go into experiments/README.md as well; `out` is a page of its own. Of an experiment that was asked for
    the budgets that have runs in `root` are there too; one that was never run stands there as the paper has it. Raises
    UserError for a file that is no experiment, and for an `out` that is no .html.
    """
    if out and out.suffix != ".html":
        raise UserError(f"--out: {out} is written as a page; give it the ending .html")
    if not paths and not HERE.is_dir():
        raise UserError(f"report: there is no {HERE}/ here; run it in the folder that has launch.py, or name a file")
    files = [Path(path) for path in paths] or sorted(f for f in HERE.glob("*.py") if f.stem != "__init__")
    experiments = [read(file) for file in files]
    kept = {experiment.name: _kept(experiment, root) for experiment in experiments}
    if paths:
        kept = {e.name: [*kept[e.name], *_not_kept(e, root, kept[e.name])] for e in experiments}
    sections = [section for of in kept.values() for section in of]
    parts = [f"{markdown(*section)}{_gallery(*section)}" for section in sections]
    if lacking := [experiment for experiment in experiments if not kept[experiment.name]]:
        parts.append(NOT_RUN + "\n".join(f"- `{e.path}`: {e.about.splitlines()[0]}" for e in lacking))
    text = README + "\n" + "\n\n".join(parts) + "\n"
    if not paths:
        with written_whole(HERE / "README.md") as unfinished:
            unfinished.write_text(text)
    if out:
        write(out, sections, root)
    return text


def _gallery(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task]) -> str:
    """The pictures that were kept of a table's runs, so many to a line, below what distinguishes them."""
    there = pictures_of(experiment, groups(plan))
    lines = ["The last samples while training, of one seed of each run:"] if there else []
    for some in (there[i : i + IN_A_LINE] for i in range(0, len(there), IN_A_LINE)):
        names = [f"{place(task)}, seed {task.seed}" for task, _ in some]
        images = [f"![samples](results/{experiment.name}/{path.name})" for _, path in some]
        lines.append("\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(some), images)))
    return "".join(f"\n\n{line}" for line in lines)


def _kept(experiment: Experiment, root: Path) -> list[Section]:
    """The budgets of an experiment that the ledger has."""
    kept = {name: ledger.cells_of(experiment, name) for name in experiment.budgets}
    return [(experiment, name, cells, tasks(experiment.budget(name), root)) for name, cells in kept.items() if cells]


def _not_kept(experiment: Experiment, root: Path, kept: Sequence[Section]) -> list[Section]:
    """The budgets that the ledger does not have, such as a smoke test, as far as there are runs of theirs alone.

    Where there is nothing at all, the shortest budget that is kept: the paper's cells, and none of ours.
    """
    names = [name for name in experiment.budgets if name not in [section[1] for section in kept]]
    plans = {name: tasks(experiment.budget(name), root) for name in names}
    cells = {name: collect(experiment, experiment.budget(name), plan, root) for name, plan in plans.items()}
    shown = {task.id for section in kept for task in section[3]}
    there = [
        name for name in names
        if any(cell.finished and not shown.issuperset(cell.runs.values()) for cell in cells[name].cells)
    ]  # fmt: skip
    if not kept and not there:
        there = [next((name for name in names if name != ledger.SMOKE), ledger.SMOKE)]
    return [(experiment, name, cells[name], plans[name]) for name in there]
