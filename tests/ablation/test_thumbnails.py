"""Pictures kept beside the ledger: of runs that it has, one seed of each, small together."""

import numpy as np
import pytest
from PIL import Image

from diffjax.ablation import thumbnails
from diffjax.ablation.cells import Cell
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.report import _gallery
from diffjax.ablation.table import Axis, Table
from diffjax.drawing.pictures import save_png

PLACES = [{"x": str(x)} for x in range(3)]


@pytest.fixture
def table(tmp_path):
    """Three places of two seeds each; of the first both runs are at hand, of the second one, of the third none."""
    experiment = Experiment("t", tmp_path / "t.py", "A table.", Table("nobody", Axis.of("x", range(3)), ()), (), {})
    plan = [
        Task(f"{where['x']}{seed}", seed, "", evaluations=[Evaluation("e", where, {}, "")])
        for where in PLACES
        for seed in range(2)
    ]
    for number, run in enumerate(("00", "01", "11")):
        for step in (10, 20):
            colour = np.full((40, 60, 3), 40 * number + step, np.uint8)
            save_png(tmp_path / "runs" / run / "samples" / f"{step:08}.png", colour)
    return experiment, plan, tmp_path / "runs"


def cells(*places):
    return [Cell(where, {seed: f"{where['x']}{seed}" for seed in range(2)}) for where in places]


def names(experiment):
    return sorted(path.name for path in thumbnails.picture_of(experiment, "").parent.glob("*"))


def test_one_picture_of_each_run_is_kept_while_the_ledger_has_it(table):
    experiment, plan, root = table
    thumbnails.keep(experiment, plan, root, cells(*PLACES))
    assert names(experiment) == ["00.png", "11.png"]
    for run, grey in (("00", 20), ("11", 100)):
        with Image.open(thumbnails.picture_of(experiment, run)) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.full((40, 60, 3), grey))
    shown = thumbnails.pictures_of(experiment, thumbnails.groups(plan))
    assert [task.id for task, _ in shown] == ["00", "11"]
    said = _gallery(experiment, "hour", None, plan)
    assert "| x 0, seed 0 | x 1, seed 1 |" in said and "![samples](results/t/11.png)" in said
    many = [Evaluation("e", {"x": str(x)}, {}, "") for x in range(4)]  # labels that no heading lists
    assert "| configs/x.py, seed 0 |" in _gallery(
        experiment, "hour", None, [Task("00", 0, "", source="configs/x.py", evaluations=many)]
    )
    thumbnails.keep(experiment, plan, root, cells(PLACES[0]))
    assert names(experiment) == ["00.png"], "of what the ledger has no more nothing is shown"
    thumbnails.keep(experiment, plan, root / "elsewhere", cells(*PLACES))
    assert names(experiment) == ["00.png"], "what was kept stays where the runs are not at hand"


def test_of_a_wide_sheet_a_part_is_kept_that_can_be_read(table):
    experiment, plan, root = table
    sheet = np.zeros((400, 1000, 3), np.uint8)
    sheet[:200, :500] = 99
    save_png(root / "00" / "samples" / "00000030.png", sheet)
    thumbnails.keep(experiment, plan, root, cells(*PLACES))
    with Image.open(thumbnails.picture_of(experiment, "00")) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.full((200, 500, 3), 99))


def test_a_wide_sheet_loses_no_more_than_that_when_all_are_made_smaller(table):
    experiment, plan, root = table
    sheet = np.random.default_rng(0).integers(0, 256, size=(800, 2000, 3), dtype=np.uint8)
    sheet[:, 900:] = 0
    save_png(root / "00" / "samples" / "00000030.png", sheet)
    thumbnails.keep(experiment, plan, root, cells(*PLACES))
    with Image.open(thumbnails.picture_of(experiment, "00")) as image:
        assert 2.45 < image.size[0] / image.size[1] < 2.55 and max(image.size) < 1000
        assert not np.asarray(image.convert("RGB"))[:, round(0.91 * image.size[0]) :].any()


def test_pictures_beyond_the_byte_limit_are_made_smaller(table, monkeypatch):
    experiment, plan, root = table
    noise = np.random.default_rng(0).integers(0, 256, size=(512, 512, 3), dtype=np.uint8)
    for run in ("00", "11"):
        save_png(root / run / "samples" / "00000030.png", noise)
    thumbnails.keep(experiment, plan, root, cells(*PLACES))
    sizes = [path.stat().st_size for path in thumbnails.picture_of(experiment, "").parent.glob("*.png")]
    assert sum(sizes) <= thumbnails.MOST_BYTES and len(sizes) == 2
    with Image.open(thumbnails.picture_of(experiment, "00")) as image:
        assert image.size == (256, 256)
    save_png(root / "20" / "samples" / "00000030.png", noise)
    thumbnails.keep(experiment, plan, root, cells(*PLACES))
    sizes = [path.stat().st_size for path in thumbnails.picture_of(experiment, "").parent.glob("*.png")]
    assert sum(sizes) <= thumbnails.MOST_BYTES and len(sizes) == 3, "with those that were kept before"
