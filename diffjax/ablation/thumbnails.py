"""Small pictures of a table's runs, kept beside the ledger: the last samples of each, for when the run is gone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from diffjax.ablation.cells import Cell
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Task
from diffjax.host.atomic import atomic_write

WIDE = 700  # pixels; wider sheets have captions, which shrinking would make unreadable
SIDE = 1024  # pixels at most, halved until a table's pictures have at most MOST_BYTES together
COLOURS = 256
MOST_BYTES = 200_000


def groups(plan: Sequence[Task]) -> list[list[Task]]:
    """The runs that are trained and measured, grouped so that a group has the seeds of one run."""
    by_places: dict[tuple, list[Task]] = {}
    for task in plan:
        if task.evaluations and not task.compute:
            places = tuple(tuple(sorted(evaluation.where.items())) for evaluation in task.evaluations)
            by_places.setdefault(places, []).append(task)
    return list(by_places.values())


def picture_of(experiment: Experiment, run: str) -> Path:
    """Where the picture of the run with this id is kept."""
    return experiment.path.parent / "results" / experiment.name / f"{run}.png"


def last_samples(workdir: Path) -> Path | None:
    """The last picture of samples that a run drew during training; None if there is none."""
    return max((workdir / "samples").glob("*.png"), default=None)


def pictures_of(experiment: Experiment, runs: Iterable[Sequence[Task]]) -> list[tuple[Task, Path]]:
    """The kept pictures of these runs, at most one for the seeds of each."""
    pictures = []
    for seeds in runs:
        kept = [(task, path) for task in seeds if (path := picture_of(experiment, task.id)).is_file()]
        pictures += kept[:1]
    return pictures


def one_seed_of(shown: int, runs: int) -> str:
    """Of how many of a table's runs pictures show one seed: "one seed of each run", "one seed of 3 of 10 runs"."""
    return "one seed of each run" if shown == runs else f"one seed of {shown} of {runs} runs"


def keep(experiment: Experiment, plan: Sequence[Task], root: Path, kept: Iterable[Cell]) -> None:
    """Keeps a picture of the first available seed of each run, if none of its seeds has one yet.

    `kept` are the ledger's cells. Pictures of runs that are in none of them are removed. Call this for one process at a
    time: another one could lose pictures that it has just written.
    """
    run_ids = {run for cell in kept for run in cell.runs.values()}
    folder = picture_of(experiment, "").parent
    for path in folder.glob("*.png"):
        if path.stem not in run_ids:
            path.unlink(missing_ok=True)
    for seeds in groups(plan):
        samples = {task.id: last_samples(task.workdir(root)) for task in seeds if task.id in run_ids}
        if not any(picture_of(experiment, run).is_file() for run in samples):
            for run, path in [(run, path) for run, path in samples.items() if path][:1]:
                _write(_part_of(_opened(path)), picture_of(experiment, run), SIDE)
    side = SIDE
    while sum(path.stat().st_size for path in folder.glob("*.png")) > MOST_BYTES and side > 1:
        side //= 2
        for path in folder.glob("*.png"):
            _write(_opened(path), path, side)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _part_of(sheet: Image.Image) -> Image.Image:
    """Of a wide sheet its top left quarter."""
    return sheet if sheet.width <= WIDE else sheet.crop((0, 0, sheet.width // 2, sheet.height // 2))


def _write(picture: Image.Image, path: Path, side: int) -> None:
    """Writes a picture, reduced to at most `side` pixels of width and height."""
    picture.thumbnail((side, side), Image.Resampling.BOX)
    with atomic_write(path) as unfinished:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(unfinished, "PNG", optimize=True)
