"""What a report shows: Markdown and a page, from the ledger, with and without the runs at hand."""

import dataclasses
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import launch
from diffjax.ablation import ledger
from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.layout import measured, published, sheets, text_of
from diffjax.ablation.ledger import keep
from diffjax.ablation.markdown import markdown
from diffjax.ablation.page import write
from diffjax.ablation.plan import Evaluation, Task, tasks
from diffjax.ablation.report import _gallery, report
from diffjax.ablation.table import MARKS, Axis, Marked, Printed, Quantity, Table
from diffjax.ablation.thumbnails import picture_of
from diffjax.errors import UserError
from diffjax.evaluation import Score
from diffjax.host.json_files import write_json

VALUES = {("0.0", "2"): {0: 1.0, 1: 1.2}, ("0.0", "4"): {0: 0.5, 1: 0.6}, ("1.0", "4"): {0: 2.0}}
DRAWN = {"sampler": {"name": "ddim", "steps": 4, "guidance": {"scale": 2.0}}}


@pytest.fixture
def kept(moons, tmp_path):
    """A ledger of runs in which seed 1 was not measured at one place, and nothing but NaN at another.

    Read from run directories as runs leave them, so that every cell is one that `collect` makes.
    """
    experiment, root = read(moons), tmp_path / "runs"
    plan = tasks(experiment.budget("hour"), root)
    for task in plan:
        at = task.workdir(root)
        write_json(at / "config.json", {"device": "1 x cpu", "commit": "abcdef0123456789", "config": DRAWN})
        write_json(at / "code.json", {"code": task.code})
        write_json(at / "result.json", {"status": "finished", "seconds": 30.0})
        for evaluation in task.evaluations:
            value = VALUES.get((evaluation.where["eta"], evaluation.where["steps"]), {}).get(task.seed, math.nan)
            score = Score("energy_distance", value, None, "<collapsed>", {"n": 1})._asdict()
            made = {"device": "1 x cpu", "commit": "abcdef0123456789", "code": evaluation.code}
            write_json(evaluation.path(at), {"metrics": [score], "provenance": made})
    cells = collect(experiment, experiment.budget("hour"), plan, root)
    keep(experiment, "hour", cells, plan)
    return experiment, plan, cells


def test_our_cells_stand_beside_the_papers(kept):
    text = markdown(kept[0], "hour", kept[2], kept[1])
    assert "| eta | steps 2 | paper | steps 4 | paper |" in text and "mean +- standard deviation over 2 seeds" in text
    assert "| 0.0 | 1.10 +- 0.14 | 1 | 0.550 +- 0.071 | 0.5 |" in text
    assert "| 1.0 | failed | unstable | 2 (n = 1, 1 of 2 failed) |  |" in text
    assert "nobody 2020, table 0" in text and "[T: two" in text and "commit abcdef0123." in text
    said = "failed: energy_distance is nan: <collapsed>"
    assert f"- eta 1.0, steps 2: seeds 0, 1 {said}\n- eta 1.0, steps 4: seed 1 {said}" in text
    for task in kept[1]:
        task.code = "newer"
    stale = markdown(kept[0], "hour", kept[2], kept[1])
    assert "| 1.0 | failed (stale) | unstable | 2 (n = 1, 1 of 2 failed, stale) |  |" in stale


def test_the_training_time_says_of_how_many_runs_and_cores_it_is(kept):
    """It is no table's duration: runs are trained at once."""
    experiment, plan, cells = kept

    def said():
        return re.search(r"(Training, .*?)\.", markdown(experiment, "hour", cells, plan))[1]

    assert said() == "Training, summed over 2 runs: 1:00", "older runs do not know their cores"
    for cell in cells.cells:
        for record in cell.provenance.values():
            record["cores"] = 1
    assert said() == "Training, summed over 2 runs on 1 core each: 1:00"
    for cell in cells.cells:
        cell.provenance[0]["trained"] = {"device": "1 x cpu", "cores": 2}
    assert said() == "Training, summed over 2 runs: 1:00"
    for cell in cells.cells:
        cell.provenance.get(1, {}).pop("took", None)
    assert said() == "Training, summed over the 1 timed of 2 runs on 2 cores each: 0:30"
    for cell in cells.cells:
        cell.provenance[0]["trained"]["device"] = "1 x NVIDIA H200"
    assert said() == "Training, summed over the 1 timed of 2 runs: 0:30"


def test_the_gallery_says_of_how_many_runs_it_has_pictures(kept):
    experiment, plan, cells = kept
    other = [Evaluation("e", {"eta": "2.0", "steps": "4"}, {}, "")]
    for runs, said in ((plan, "each run"), ([*plan, Task("other", 0, "", evaluations=other)], "1 of 2 runs")):
        path = picture_of(experiment, plan[1].id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"picture")
        assert f"\n\nLast samples during training, of one seed of {said}:\n" in _gallery(
            experiment, "hour", cells, runs
        )
        path.unlink()
        assert not _gallery(experiment, "hour", cells, runs)


def test_what_a_budget_lacks_reads_alike_in_all_sheets_of_one_table():
    """A quantity that is measured elsewhere is of another table, where nothing was left out."""
    paper = Table(
        "X 2020", Axis.of("a", (0, 1, 2)), (
            Quantity("FID", "T", (1.0, 2.0, None)), Quantity("modes", "D", (5.0, None, None)), Quantity("IS", ),
            Quantity("K", "T", (None, None, 3.0)),
        ),
    )  # fmt: skip
    first = {name: {0: 1.5} for name in ("FID", "modes", "IS")}
    cells = [Cell({"a": "0"}, {0: "x"}, first), Cell({"a": "2"}, {0: "x"}, {"K": {0: 1.5}})]
    shown = {
        s.caption.partition(":")[0]: s.rows for s in sheets(Cells(paper, cells), dict.fromkeys([*first, "K"], "s"), [])
    }
    assert shown == {
        "FID": [["0", "1.5", "1"], ["1", "not run", "2"]], "modes": [["0", "1.5", "5"], ["1", "not run", ""]],
        "IS": [["0", "1.5"], ["1", "not run"]], "K": [["2", "1.5", "3"]],
    }  # fmt: skip


def test_a_mean_is_rounded_to_its_standard_deviation():
    numbers = {
        (0.20739, 0.00172): "0.2074 +- 0.0017", (333.0, 159.6): "330 +- 160", (7.3333, 0.5774): "7.33 +- 0.58",
        (8.0, 0.0): "8 +- 0", (0.123456, None): "0.1235", (0.0, 0.5): "0.00 +- 0.50",
        (7.883e-4, 3.9e-5): "0.000788 +- 0.000039", (1.2346e-7, 3.21e-9): "1.235e-07 +- 3.2e-09",
    }  # fmt: skip
    assert {given: measured(*given) for given in numbers} == numbers


def test_an_unmeasured_quantity_is_blank_even_if_a_run_failed():
    part = Cell({}, {0: "a", 1: "b"}, {"K": {1: 2.0}}, {"K": {}}, failed={0: "not finite"})
    assert text_of(part, "K", (), usual=2) == "2 (n = 1, 1 of 2 failed)" and text_of(part, "Parzen", ()) == ""
    refused = Cell({}, {0: "a"}, refused={"K": "protocols differ"}, provenance={0: {}})
    assert text_of(refused, "K", ()) == "refused" and text_of(refused, "Parzen", ()) == ""
    whole = Cell({}, {0: "a", 1: "b"}, failed={0: "not finite", 1: "not finite"})  # what it measures nobody knows
    assert text_of(whole, "K", ()) == text_of(whole, "Parzen", ()) == "failed"


def test_published_cells_are_printed_as_they_were_published():
    assert [published(v) for v in (13.36, (7.28, 0.1), "unstable", None)] == ["13.36", "7.28 +- 0.10", "unstable", ""]
    assert published(Marked(3.77, "M")) == "3.77 [M]" and published((317, 2.7)) == "317 +- 2.7"
    assert published(Printed("3.70")) == "3.70" and published(Marked(Printed("3.10"), "M")) == "3.10 [M]"
    assert Printed("3.70") == 3.7 and json.dumps({"value": Printed("3.70")}) == '{"value": 3.7}'
    assert text_of(Cell({}), "distance", []) == "" and text_of(Cell({}, {0: "abc"}), "distance", []) == "not run"
    with pytest.raises(UserError, match="the mark of 3.77, 'Z', must be one of A"):
        Marked(3.77, "Z")


def test_every_mark_in_a_table_is_explained_above_it():
    cells = ((Marked(1.0, "M"), (2.0, 0.1)), (Marked("unstable", "1"), None))
    paper = Table("X 2020, table 1", Axis.of("a", (0, 1)), (Quantity("FID", "T", cells),), Axis.of("b", (0, 1)))
    (sheet,) = sheets(Cells(paper, []), {"FID": "fid"}, [])
    marks = sheet.caption.partition(" [")[2]
    assert marks == f"T: {MARKS['T']}; 1: {MARKS['1']}; M: {MARKS['M']}]"
    alone = Quantity("FID", "A", (Marked((1.0, 0.5), "D"), (2.0, 0.1), 3.0))
    assert Table("X 2020, table 1", Axis.of("a", (0, 1, 2)), (alone,)).marks(alone) == ["A", "D"]
    assert alone.mark_of(3.0) == "A" and alone.mark_of(alone.cells[0]) == "D"


def test_the_page_is_complete_escaped_and_fetches_nothing(kept, moons, tmp_path, capsys):
    for task in kept[1]:
        picture(tmp_path / "runs" / task.id)
    out = tmp_path / "page.html"
    assert launch.main(["report", str(moons), f"--workdir={tmp_path / 'runs'}", f"--out={out}"]) == 0
    assert "# Experiments" in capsys.readouterr().out
    page = Page()
    page.feed(out.read_text())
    assert page.addresses and all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert {"table", "svg", "polyline", "input"} <= page.tags
    assert "&lt;collapsed&gt;" in out.read_text() and "<collapsed>" not in out.read_text()
    forward, film = (json.loads(data) for data in page.data)
    assert [said for said, _ in forward] == ["t = 250 of 1000"]
    assert [said for said, _ in film] == [f"step {k} of 4, t = {1000 - 250 * k} of 1000" for k in range(5)]


def picture(run):
    """A run directory's pictures, and its curve."""
    film = (f"film/{k:04}_of_4_t_{1 - k / 4}.png" for k in range(5))
    for name in ("samples/00000014.png", "forward/0250_of_1000.png", *film):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"picture")
    lines = [{"step": step, "loss": 1.0 / step} for step in (5, 10, 14)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_page_shows_one_seed_of_each_run_with_what_distinguishes_it(kept, moons, tmp_path, monkeypatch):
    """Three models of two seeds each: three figures, and fewer where that is too many, as the page says."""
    experiment, root = kept[0], tmp_path / "runs"
    plan = []
    for model in ("DCGAN", "EDM", "flow"):
        for seed in range(2):
            evaluations = [Evaluation(f"e{nfe}", {"model": model, "NFE": str(nfe)}, {}, "") for nfe in range(5)]
            plan.append(Task(f"{model}{seed}", seed, "", source="configs/x.py", evaluations=evaluations))
            if (model, seed) != ("EDM", 0):
                picture(root / f"{model}{seed}")
    write_json(root / "flow0" / "config.json", {"config": DRAWN})

    def figures():
        write(tmp_path / "page.html", [(experiment, "hour", kept[2], plan)], root)
        return re.findall(r"<figcaption>(.*?)</figcaption>", text := (tmp_path / "page.html").read_text()), text

    captions, text = figures()
    assert [" ".join(re.sub("<.*?>", " ", caption).split()) for caption in captions] == [
        "model DCGAN seed 0, configs/x.py DCGAN0",
        "model EDM seed 1, configs/x.py EDM1",
        "model flow seed 0, drawn in 4 steps of ddim, guidance 2, configs/x.py flow0",
    ]
    assert "of one seed of each run." in text
    monkeypatch.setattr("diffjax.ablation.page.MOST", 2)
    captions, text = figures()
    assert len(captions) == 2 and "of one seed of each run, the first 2 of 3 runs." in text


def test_a_page_without_runs_says_so_and_other_suffixes_are_an_error(kept, moons, tmp_path, capsys):
    report([str(moons)], tmp_path / "nowhere", tmp_path / "page.html")
    assert "The run directories are not available" in (tmp_path / "page.html").read_text()
    picture_of(kept[0], kept[1][0].id).parent.mkdir()
    Image.new("RGB", (8, 8)).save(picture_of(kept[0], kept[1][0].id))
    other = Task("other", 0, "", evaluations=[Evaluation("e", {"eta": "2.0", "steps": "4"}, {}, "")])
    write(tmp_path / "page.html", [(kept[0], "hour", kept[2], [*kept[1], other])], tmp_path / "nowhere")
    said = "only the last samples during training, of one seed of 1 of 2 runs."
    assert said in (tmp_path / "page.html").read_text()
    assert launch.main(["report", str(moons), f"--out={tmp_path / 'page.pdf'}"]) == 2
    assert "--out" in capsys.readouterr().err


class Page(HTMLParser):
    """The tags of a page, whatever it would fetch, and the data in it."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.data, self.inside = set(), [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.data += [data] if self.inside else []


def test_a_table_never_run_has_the_papers_values_and_is_listed_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "cells_of", lambda *_: None)
    text = report(["experiments/edm_configs.py"], tmp_path)
    assert "| A | not run | 3.01 |" in text and "seeds 0, 1, 2 not run" in text
    monkeypatch.setattr("diffjax.ablation.report.HERE", tmp_path)
    (tmp_path / "edm_configs.py").write_text(Path("experiments/edm_configs.py").read_text())
    text = report([], tmp_path / "runs")
    assert "## Not run yet" in text and f"- `{tmp_path}/edm_configs.py`: EDM, Table 2: " in text
    assert (tmp_path / "README.md").read_text() == text


@pytest.mark.parametrize("name, said", [
    ("results/moons.json", r"ledger: .*moons.json is not valid JSON .*; the others were reported"),
    ("moons.py", r"moons.py: no config file 'configs/nowhere.py'.*; the others were reported"),
])  # fmt: skip
def test_a_damaged_ledger_or_a_missing_config_does_not_keep_the_others_from_being_reported(
    kept, tmp_path, monkeypatch, name, said
):
    folder = kept[0].path.parent
    shutil.copy("experiments/edm_configs.py", folder)
    path = folder / name
    path.write_text(path.read_text().replace("configs/toy2d", "configs/nowhere") if name == "moons.py" else "<<<<<<<")
    monkeypatch.setattr("diffjax.ablation.report.HERE", folder)
    with pytest.raises(UserError, match=said):
        report([], tmp_path / "runs")
    assert "edm_configs.py`: EDM, Table 2" in (folder / "README.md").read_text()


def test_a_bar_in_a_label_or_a_claim_does_not_end_its_entry(moons, tmp_path):
    path = Path(moons)
    path.write_text(path.read_text().replace("grows with eta", "of p(x | y) grows").replace("unstable", "not | run"))
    experiment = read(path)
    text = markdown(experiment, "hour", Cells(experiment.paper, ()), tasks(experiment.budget("hour"), tmp_path))
    assert r"| the distance of p(x \| y) grows | **not decided** |" in text and r"| not \| run |" in text


def test_a_missing_file_is_reported_with_the_existing_ones():
    with pytest.raises(UserError, match="there is no file experiments/edm_config.py; .*; did you mean 'edm_configs'"):
        report(["experiments/edm_config.py"], Path("runs"))


def test_a_broken_file_does_not_keep_the_others_from_being_reported(moons, tmp_path, monkeypatch, capsys):
    """Of a file that is named on the command line nothing but its error is shown."""
    monkeypatch.chdir(tmp_path)
    folder = Path(moons).parent
    (folder / "broken.py").write_text("x = (")
    with pytest.raises(UserError, match=r"broken.py raised SyntaxError.*; the others were reported"):
        report([], tmp_path / "runs", tmp_path / "page.html")
    assert (
        f"experiments/{Path(moons).name}" in (folder / "README.md").read_text() and (tmp_path / "page.html").is_file()
    )
    with pytest.raises(UserError, match="broken.py") as error:
        report([str(moons), str(folder / "broken.py")], tmp_path / "runs")
    assert "reported" not in str(error.value)


def test_what_a_docstring_says_below_its_title_is_shown_with_the_first_budget(kept, moons, tmp_path):
    notes = dataclasses.replace(kept[0], about='The title.\n\nOf "x" & y.\n\n- one\n  line\n- two')
    text = markdown(notes, "hour", kept[2], kept[1])
    assert 'The title.\n\nOf "x" & y.\n\n- one\n  line\n- two\n\n*' in text
    assert "Of" not in markdown(notes, "hour", kept[2], kept[1], notes=False).split("\n\n*")[0]
    write(tmp_path / "page.html", [(notes, "hour", kept[2], kept[1])], tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert "<p>Of &quot;x&quot; &amp; y.</p><ul><li>one\n  line</li><li>two</li></ul>" in page
