"""The ledger as one self-contained page: tables, verdicts, loss curves, samples, and films of both directions.

The page fetches nothing: its pictures are inline. Curves, samples and films come from the run directories; if these are
not available, the page says so.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.figure import SLIDE, Shown, figure, level, text, thumbnail, weight
from diffjax.ablation.layout import EVIDENCE, PREFACE, Sheet, made, sheets
from diffjax.ablation.ledger import stale_places
from diffjax.ablation.plan import Task
from diffjax.ablation.thumbnails import groups, one_seed_of, picture_of, pictures_of
from diffjax.host.atomic import atomic_write

MOST = 24  # runs shown of a table at a budget
BYTES = 8_000_000  # limit for a page's curves, pictures and films; beyond it the largest lose frames or are left out
ENLARGED = (
    "If a network predicts eps or mu~, the x0 that follows near t = T is noisy, in images black-and-white salt: "
    "x0 = (x_t - sigma eps) / alpha divides the error of eps by a tiny alpha."
)
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d1f21;--soft:#5c6166;--rule:#dcdfe2;--good:#17703a;--bad:#b3261e;
--open:#7d5f00;--one:#2a6fdb;--two:#c2410c}
@media(prefers-color-scheme:dark){:root{--paper:#16181a;--ink:#e4e6e8;--soft:#9aa1a8;--rule:#33383d;--good:#6cc28d;
--bad:#f08a80;--open:#d9b74a;--one:#7fb0ff;--two:#f59e6b}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:78rem;margin:2rem auto 4rem;
padding:0 1rem}
h1,h2,h3{font-weight:600;line-height:1.25}h1{font-size:1.75rem}h2{font-size:1.4rem;margin:0 0 .5rem}
h3{font-size:1.05rem;margin:0}section{border-top:1px solid var(--rule);margin-top:2.5rem;padding-top:1.5rem}
p{max-width:48rem;margin:.6rem 0}.soft,.caption,.what,figcaption,output,svg,small{color:var(--soft)}
.soft,.caption,figcaption{font-size:.875rem}.what,output{font-size:.8125rem;margin:0 0 .25rem}
.what b,.caption b{color:var(--ink);font-weight:600}code{font-size:.8125rem}a{color:var(--one)}
.caption{margin:1.5rem 0 0}.wide{overflow-x:auto;margin:.25rem 0 1.25rem}
table{border-collapse:separate;border-spacing:0;font-size:.875rem;line-height:1.35;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .55rem;border-bottom:1px solid var(--rule);text-align:right;vertical-align:baseline}
th{font-weight:600;vertical-align:bottom}td{white-space:nowrap}td small{display:block;white-space:normal}
th:first-child,td:first-child{text-align:left;white-space:normal;position:sticky;left:0;background:var(--paper);
padding-left:0;max-width:14rem}
.paper{color:var(--soft)}.claims{margin:1.5rem 0}
.claims :is(th,td){text-align:left;white-space:normal;position:static;max-width:none}
.claims td:nth-child(2){white-space:nowrap}.claims td:last-child{color:var(--soft)}
.reproduced{color:var(--good)}.contradicted{color:var(--bad)}.undecided{color:var(--open)}
.runs{display:flex;flex-wrap:wrap;gap:2rem}.run{margin:0;min-width:min(100%,16rem);max-width:100%;
border-top:1px solid var(--rule);padding-top:.75rem}figcaption{margin-bottom:.75rem;width:0;min-width:100%}
figcaption h3{color:var(--ink)}
.parts,.films,.still{display:flex;gap:1rem;min-width:0;max-width:100%}.parts{flex-wrap:wrap;gap:1rem 1.5rem}
.films,.still{flex-direction:column}.films{flex:1 1 auto}.still.broad{flex-flow:row wrap}
.broad div:first-child{flex:1 1 20rem;max-width:29rem}.still div,.blocks div{overflow-x:auto;min-width:0}
.blocks{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,var(--w)*.7px),1fr));gap:.5rem;
align-items:end;width:calc(var(--n)*(var(--w)*1px + .5rem) - .5rem);max-width:100%}
img{display:block;width:calc(var(--w)*1px);min-width:calc(var(--w)*.7px);max-width:100%;
aspect-ratio:var(--w)/var(--h);object-fit:cover}
svg{display:block;width:29rem;max-width:100%;font-size:11px;fill:currentColor}
svg path{fill:none;stroke:var(--rule)}polyline{fill:none;stroke-width:1.5;stroke-linejoin:round}
.what b:is(.loss,.d_loss){color:var(--one)}.what b.g_loss{color:var(--two)}.loss,.d_loss{stroke:var(--one)}
.g_loss{stroke:var(--two)}
.slider{display:flex;flex-wrap:wrap;align-items:center;gap:0 1rem}.slider input{flex:0 1 24rem;margin:0;min-width:12rem}
@media(max-width:40rem){body{margin-top:1rem}.claims,.claims :is(tbody,tr,td){display:block}
.claims tr:first-child{display:none}.claims td{border:0;padding:.1rem 0}.claims tr{border-bottom:1px solid var(--rule);
padding:.5rem 0}table{font-size:.8125rem}th,td{padding:.25rem .4rem}.wide :first-child:is(th,td){max-width:7rem}
.films{flex-basis:100%}
.slider{position:sticky;top:0;background:var(--paper);padding:.4rem 0;z-index:1}}
"""
Section = tuple[Experiment, str, Cells, Sequence[Task]]


def write(path: Path, sections: Iterable[Section], root: Path) -> None:
    """Writes the page atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(_page(list(sections), root), encoding="utf-8")


def _page(sections: Sequence[Section], root: Path) -> str:
    seen: dict[bytes, tuple[str, str]] = {}
    runs = [Runs.of(experiment, name, plan, root, seen) for experiment, name, _, plan in sections]
    curves = sum(len(run.curve) for section in runs for run in section.shown)
    most = level([size for section in runs for size in section.weights()], BYTES - curves)
    parts = [_section(*section, section_runs, most) for section, section_runs in zip(sections, runs, strict=True)]
    names = [(_anchor(experiment, name), _title(experiment, name)) for experiment, name, *_ in sections]
    links = ", ".join(f'<a href="#{anchor}">{text(title)}</a>' for anchor, title in names) if len(parts) > 1 else ""
    legend = "".join(f"<li>{text(form)}: {text(meaning)}" for form, meaning in EVIDENCE.items())
    title = names[0][1] if len(names) == 1 else "experiments"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>diffjax: {text(title)}</title><style>{STYLE}</style>"
        f"<h1>Experiments</h1><p class=soft>{text(PREFACE)}</p><ul class=soft>{legend}</ul><p class=soft>{links}</p>"
        f"{''.join(parts) or '<p>The ledger is empty.</p>'}<script>{SLIDE}</script></html>\n"
    )


def _anchor(experiment: Experiment, name: str) -> str:
    return f"{experiment.name}-{name}"


def _title(experiment: Experiment, name: str) -> str:
    return f"{experiment.name}, {name}"


class Runs(NamedTuple):
    """The runs of a table, one seed of each: those that the page shows, and what it has of the others."""

    shown: list[Shown]
    left_out: int  # beyond the first MOST
    unavailable: int  # no seed has a run directory
    kept: list[tuple[Task, Path]]  # the thumbnails of those

    @classmethod
    def of(
        cls, experiment: Experiment, name: str, plan: Sequence[Task], root: Path, seen: dict[bytes, tuple[str, str]]
    ) -> "Runs":
        """`seen` is as in `Shown.of`."""
        available, unavailable = [], []
        for seeds in groups(plan):
            if task := next((task for task in seeds if task.workdir(root).is_dir()), None):
                available.append(task)
            else:
                unavailable.append(seeds)
        title = _title(experiment, name)
        shown = [
            Shown.of(task, task.workdir(root), picture_of(experiment, task.id), title, seen)
            for task in available[:MOST]
        ]
        return cls(shown, len(available[MOST:]), len(unavailable), pictures_of(experiment, unavailable))

    def weights(self) -> list[int]:
        """The bytes on the page of each picture and film."""
        return [size for run in self.shown for size in run.weights()] + [weight(path) for _, path in self.kept]


def _section(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], runs: Runs, most: int) -> str:
    budget = experiment.budget(name)
    tables = "".join(_table(sheet) for sheet in sheets(cells, budget.measures, plan))
    lines = "".join(f"<p class=soft>{text(line)}</p>" for line in made(cells, plan) if line)
    notes = "".join(_paragraph(note) for note in experiment.notes)
    notes = f"<details><summary>About this table</summary>{notes}</details>" if notes else ""
    return (
        f'<section id="{_anchor(experiment, name)}"><h2>{text(_title(experiment, name))}</h2>'
        f"<p>{text(experiment.title)}</p>{notes}<p class=soft>{text(budget.what)}</p>{tables}"
        f"{_claims(experiment, cells, plan)}{lines}{_runs(runs, most)}</section>"
    )


def _paragraph(note: str) -> str:
    """A paragraph of an experiment's docstring, or a list with an item for each line that begins with "- "."""
    if not note.startswith("- "):
        return f"<p>{text(note)}</p>"
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in note.removeprefix("- ").split("\n- ")) + "</ul>"


def _table(sheet: Sheet) -> str:
    """The table of a quantity. Notes in brackets get a line of their own below their number: the table stays narrow."""

    def row(tag: str, entries: Sequence[str]) -> str:
        classes = [" class=paper" if paper else "" for paper in sheet.papers]
        return "<tr>" + "".join(f"<{tag}{name}>{cell(entry)}" for name, entry in zip(classes, entries, strict=True))

    def cell(entry: str) -> str:
        number, note = re.fullmatch(r"(.*?)(?: \((.*)\))?", entry, re.DOTALL).groups()
        return _signs(number) + (f"<small>{_signs(note)}</small>" if number and note else "")

    name, colon, details = sheet.caption.partition(": ")
    body = row("th", sheet.heads) + "".join(row("td", entries) for entries in sheet.rows)
    return (
        f"<p class=caption><b>{text(name)}</b>{colon}{_signs(details)}</p>"
        f'<div class=wide tabindex=0><table aria-label="{text(name)}">{body}</table></div>'
    )


def _signs(words: str) -> str:
    """Text for HTML, with a plus-minus sign for "+-"."""
    return text(words).replace("+-", "\u00b1")


def _claims(experiment: Experiment, cells: Cells, plan: Sequence[Task]) -> str:
    rows, stale = "", stale_places(cells, plan)
    for claim in experiment.claims:
        verdict = claim.verdict(cells, stale)
        kind = "undecided" if verdict.verdict == "not decided" else verdict.verdict
        rows += f"<tr><td>{text(verdict.says)}<td class={kind}><b>{verdict.verdict}</b><td>{text(verdict.why)}"
    return f"<table class=claims><tr><th>claim<th>verdict<th>evidence{rows}</table>" if rows else ""


def _runs(runs: Runs, most: int) -> str:
    """A figure for each run, with at most `most` bytes for each picture and film; thumbnails of unavailable runs."""
    if not runs.shown and not runs.unavailable:
        return ""
    shown = [run.cut(most) for run in runs.shown]
    kept = [(task, path) for task, path in runs.kept if weight(path) <= most]
    if shown:
        total = len(shown) + runs.left_out
        left_out = f", the first {len(shown)} of {total} runs" if runs.left_out else ""
        unavailable = f"; the directories of {runs.unavailable} more are not available" if runs.unavailable else ""
        notes = [f"Curves, samples and films of one seed of each run{left_out}{unavailable}."]
    else:
        samples = (
            f"only the last samples during training, of {one_seed_of(len(runs.kept), runs.unavailable)}"
            if runs.kept
            else "no curves, samples or films"
        )
        notes = [f"The run directories are not available: {samples}."]
    if len(kept) < len(runs.kept) or any(cut.lacks(uncut) for cut, uncut in zip(shown, runs.shown, strict=True)):
        notes.append(f"To keep the page below {BYTES:,} bytes, some films or pictures are left out or smaller.")
    if any(run.info.enlarges for run in shown):
        notes.append(ENLARGED)
    figures = "".join([*map(figure, shown), *(thumbnail(task, path) for task, path in kept)])
    return f"<p>{' '.join(notes)}</p><div class=runs>{figures}</div>"
