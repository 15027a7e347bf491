"""The command `report`: the ledger as Markdown and as a page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from diffjax.ablation import ledger
from diffjax.ablation.cells import Cells
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import Experiment, read
from diffjax.ablation.layout import EVIDENCE, PREFACE
from diffjax.ablation.markdown import markdown, row_of
from diffjax.ablation.page import Section, write
from diffjax.ablation.plan import Task, tasks
from diffjax.ablation.progress import about
from diffjax.ablation.thumbnails import groups, one_seed_of, pictures_of
from diffjax.errors import UserError
from diffjax.host.atomic import atomic_write

IN_A_LINE = 4  # pictures in a row of the gallery
HERE = Path("experiments")  # the folder of the experiment files, from the repository's root
LEGEND = "\n".join(f"| {form} | {meaning} |" for form, meaning in EVIDENCE.items())
README = f"""# Experiments

Each file here is a table, a published one or our own: published numbers with their sources, claims, and a grid of runs
for each budget. `python launch.py ablate experiments/X.py --budget=hour` runs one. `python launch.py report` writes
this page from the ledger in `results/`.

{fill(PREFACE, 120)}

| evidence | meaning |
|---|---|
{LEGEND}

| beside a number, or in its place | meaning |
|---|---|
| n = 6 | that many seeds gave the number, which is not as many as the caption says |
| 2 of 5 seeds so far | the other seeds are still to be run |
| stale | older code, or another plan, made the cell |
| not run, failed, refused | see [docs/ablations.md](../docs/ablations.md#the-ledger) |

A commit with a + had uncommitted changes. "mixed: A, B after step N" is a run that was continued with commit B. DIR is
the folder of the run directories, `--workdir`.
"""
NOT_RUN = """## Not run yet

The ledger has no cells of these tables. `python launch.py ablate FILE --budget=hour` (or another budget) runs one.

"""


def report(paths: Sequence[str], root: Path, out: Path | None = None) -> str:
    """The ledger of these experiments as Markdown; by default of all, which is also written to experiments/README.md.

    `out` also writes it as a page. For experiments named in `paths`, budgets that only have runs in `root` are shown
    too; one that was never run is shown with the paper's values alone. Raises UserError for a file that is not an
    experiment or whose ledger is damaged, by default after writing the others, and for an `out` that does not end in
    .html.
    """
    if out and out.suffix != ".html":
        raise UserError(f"`out`: {out} must end in .html")
    if not paths and not HERE.is_dir():
        raise UserError(f"report: there is no {HERE}/ here; run it in the folder with launch.py, or name a file")
    files = [Path(path) for path in paths] or sorted(f for f in HERE.glob("*.py") if f.stem != "__init__")
    named = bool(paths)
    experiments, unreadable = _attempted(read, files, all_or_none=named)
    tables, unusable = _attempted(lambda e: (e, _sections(e, root, named)), experiments, all_or_none=named)
    parts = [
        f"{markdown(*section, notes=not i)}{_gallery(*section)}"
        for _, sections in tables
        for i, section in enumerate(sections)
    ]
    if not_run := [experiment for experiment, sections in tables if not sections]:
        parts.append(NOT_RUN + "\n".join(f"- `{e.path}`: {e.title}" for e in not_run))
    text = README + "\n" + "\n\n".join(parts) + "\n"
    if not paths:
        for experiment, sections in tables:
            ledger.refresh(experiment, {name: plan for _, name, _, plan in sections})
        with atomic_write(HERE / "README.md") as unfinished:
            unfinished.write_text(text)
    if out:
        write(out, [section for _, sections in tables for section in sections], root)
    if broken := unreadable + unusable:
        raise UserError(f"{'; '.join(broken)}; the others were reported")
    return text


def _attempted(action: Callable[[Any], Any], items: Sequence[Any], all_or_none: bool) -> tuple[list[Any], list[str]]:
    """What an action gives for each item, and what is wrong with the others; raises that at once if `all_or_none`."""
    results, broken = [], []
    for item in items:
        try:
            results.append(action(item))
        except UserError as error:
            if all_or_none:
                raise
            broken.append(str(error))
    return results, broken


def _sections(experiment: Experiment, root: Path, named: bool) -> list[Section]:
    """The budgets to show of an experiment: those of the ledger; if the user `named` it, also those with runs only."""
    try:
        kept = _kept(experiment, root)
        return kept + _not_kept(experiment, root, kept) if named else kept
    except UserError as error:
        raise error.about("grid: ", f"{experiment.path}: ").about("experiment: ", f"{experiment.path}: ") from error


def _gallery(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task]) -> str:
    """The kept pictures of a table's runs in rows of IN_A_LINE, each under what distinguishes its run."""
    runs = groups(plan)
    pictures = pictures_of(experiment, runs)
    blocks = [f"Last samples during training, of {one_seed_of(len(pictures), len(runs))}:"] if pictures else []
    for i in range(0, len(pictures), IN_A_LINE):
        row = pictures[i : i + IN_A_LINE]
        names = [about(task) for task, _ in row]
        images = [f"![samples](results/{experiment.name}/{path.name})" for _, path in row]
        blocks.append("\n".join(map(row_of, (names, ["---"] * len(row), images))))
    return "".join(f"\n\n{block}" for block in blocks)


def _kept(experiment: Experiment, root: Path) -> list[Section]:
    """The budgets of an experiment that the ledger has."""
    kept = {name: ledger.cells_of(experiment, name) for name in experiment.budgets}
    return [(experiment, name, cells, tasks(experiment.budget(name), root)) for name, cells in kept.items() if cells]


def _not_kept(experiment: Experiment, root: Path, kept: Sequence[Section]) -> list[Section]:
    """The budgets that the ledger does not have, such as the smoke test, if they have runs that no kept budget has.

    If there is nothing at all, the shortest budget that can be kept: the paper's values and none of ours.
    """
    kept_names = [name for _, name, _, _ in kept]
    names = [name for name in experiment.budgets if name not in kept_names]
    plans = {name: tasks(experiment.budget(name), root) for name in names}
    cells = {name: _collected(experiment, name, plan, root) for name, plan in plans.items()}
    kept_runs = {task.id for *_, plan in kept for task in plan}
    with_runs = [
        name
        for name in names
        if any(cell.finished and not kept_runs.issuperset(cell.runs.values()) for cell in cells[name].cells)
    ]
    if not kept and not with_runs:
        with_runs = [next((name for name in names if name != ledger.SMOKE), ledger.SMOKE)]
    return [(experiment, name, cells[name], plans[name]) for name in with_runs]


def _collected(experiment: Experiment, name: str, plan: Sequence[Task], root: Path) -> Cells:
    """The cells of a budget as they are in the run directories."""
    budget = experiment.budget(name)
    return ledger.comparable(collect(experiment, budget, plan, root), budget.measures)
