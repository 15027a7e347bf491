"""Small pictures of a table's runs, kept beside the ledger: what each drew last, for whoever has no run directories."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from diffjax.ablation.cells import Cell
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Task
from diffjax.whole import written_whole

SIDE = 1024  # pixels at most; half as many, and so on, where a table's pictures would be more than MOST_BYTES together
COLOURS = 256
MOST_BYTES = 200_000


def groups(plan: Sequence[Task]) -> list[list[Task]]:
    """The runs that are trained and measured, the seeds of each together."""
    of_places: dict[tuple, list[Task]] = {}
    for task in plan:
        if task.evaluations and not task.compute:
            places = tuple(tuple(sorted(evaluation.where.items())) for evaluation in task.evaluations)
            of_places.setdefault(places, []).append(task)
    return list(of_places.values())


def picture_of(experiment: Experiment, run: str) -> Path:
    """Where the picture of a run is kept, by the run's id."""
    return experiment.path.parent / "results" / experiment.name / f"{run}.png"


def last_samples(workdir: Path) -> Path | None:
    """The last picture that a run drew of its samples while it trained."""
    return max((workdir / "samples").glob("*.png"), default=None)


def pictures_of(experiment: Experiment, runs: Iterable[Sequence[Task]]) -> list[tuple[Task, Path]]:
    """What was kept of these runs, of one of the seeds of each at most."""
    found = []
    for seeds in runs:
        there = [(task, path) for task in seeds if (path := picture_of(experiment, task.id)).is_file()]
        found += there[:1]
    return found


def keep(experiment: Experiment, plan: Sequence[Task], root: Path, kept: Iterable[Cell]) -> None:
    """Keeps a picture of the first seed at hand of each run, where there is none of its seeds yet.

    Those of runs that are in no cell of the ledger, which are `kept`, any more are removed: for one process at a time,
    as another one would lose its own, or meet them half gone.
    """
    known = {run for cell in kept for run in cell.runs.values()}
    folder = picture_of(experiment, "").parent
    for path in folder.glob("*.png"):
        if path.stem not in known:
            path.unlink(missing_ok=True)
    for seeds in groups(plan):
        there = {task.id: last_samples(task.workdir(root)) for task in seeds if task.id in known}
        if not any(picture_of(experiment, run).is_file() for run in there):
            for run, path in [(run, path) for run, path in there.items() if path][:1]:
                _write(path, picture_of(experiment, run), SIDE)
    side = SIDE
    while sum(path.stat().st_size for path in folder.glob("*.png")) > MOST_BYTES and side > 1:
        side //= 2
        for path in folder.glob("*.png"):
            _write(path, path, side)


def _write(source: Path, place: Path, side: int) -> None:
    """A picture at a place, no longer than that on either side."""
    with Image.open(source) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BOX)
    with written_whole(place) as unfinished:
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(unfinished, "PNG", optimize=True)
