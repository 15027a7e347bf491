"""What a report shows: Markdown and a page, from the ledger, with and without the runs at hand."""

import json
from html.parser import HTMLParser

import pytest

import launch
from diffjax.ablation.cells import Cell, Cells
from diffjax.ablation.experiment import read
from diffjax.ablation.layout import published, said
from diffjax.ablation.ledger import keep
from diffjax.ablation.markdown import markdown
from diffjax.ablation.plan import tasks
from diffjax.ablation.report import report
from diffjax.ablation.table import Marked
from diffjax.errors import UserError
from tests.ablation.test_ablate import moons  # noqa: F401  (a fixture)

VALUES = {("0.0", "2"): {0: 1.0, 1: 1.2}, ("0.0", "4"): {0: 0.5, 1: 0.6}, ("1.0", "4"): {0: 2.0}}


@pytest.fixture
def kept(moons, tmp_path):  # noqa: F811
    """A ledger in which one place has one seed less, and one has failed."""
    experiment = read(moons)
    plan = tasks(experiment.budget("hour"), tmp_path)
    provenance = {"device": "1 x cpu", "commit": "abcdef0123456789", "code": {}, "command": "python launch.py train"}
    found = []
    for where in experiment.paper.places():
        values = VALUES.get((where["eta"], where["steps"]))
        runs = {task.seed: task.id for task in plan}
        if values is None:
            found.append(Cell(where, runs, "failed", "seed 0 failed: <collapsed>", provenance=provenance))
            continue
        status = "done" if len(values) == 2 else "part failed"
        found.append(Cell(where, runs, status, "", {"distance": values}, {"distance": {"n": 1}}, provenance))
    cells = Cells(experiment.paper, found)
    keep(experiment, "hour", cells)
    return experiment, plan, cells


def test_ours_stands_beside_the_papers_with_spread_and_number(kept):
    text = markdown(kept[0], "hour", kept[2], kept[1])
    assert "| eta | steps 2 | paper | steps 4 | paper |" in text and "mean +- spread over 2 seeds" in text
    assert "| 0.0 | 1.1 +- 0.14 | 1 | 0.55 +- 0.071 | 0.5 |" in text
    assert "| 1.0 | failed | unstable | 2 (n = 1, part failed) |  |" in text
    assert "nobody 2020, table 0" in text and "[D: derived" in text and "abcdef0123" in text
    assert "- seed 0 failed: <collapsed>" in text


def test_published_cells_are_printed_as_they_were_published():
    assert [published(v) for v in (13.36, (7.28, 0.1), "unstable", None)] == ["13.36", "7.28 +- 0.1", "unstable", ""]
    assert published(Marked(3.77, "M")) == "3.77 [M]"
    assert said(Cell({}), "distance", []) == "" and said(Cell({}, {0: "abc"}), "distance", []) == "not run"
    with pytest.raises(UserError, match="the mark of 3.77, 'Z', is not one of A"):
        Marked(3.77, "Z")


def test_the_page_is_whole_escaped_and_fetches_nothing(kept, moons, tmp_path, capsys):  # noqa: F811
    run = tmp_path / "runs" / kept[1][0].id
    (run / "samples").mkdir(parents=True)
    (run / "film").mkdir()
    (run / "samples" / "00000014.png").write_bytes(b"picture")
    for frame in range(3):
        (run / "film" / f"{frame:02}.png").write_bytes(b"frame")
    (run / "forward").mkdir()
    (run / "forward" / "0250_of_1000.png").write_bytes(b"frame")
    lines = [{"step": step, "loss": 1.0 / step} for step in (5, 10, 14)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
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
    assert [said for said, _ in film] == ["1 of 3", "2 of 3", "3 of 3"]


def test_without_runs_a_page_says_so_and_other_endings_are_refused(kept, moons, tmp_path, capsys):  # noqa: F811
    report([str(moons)], tmp_path / "nowhere", tmp_path / "page.html")
    assert "not at hand" in (tmp_path / "page.html").read_text()
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
