"""The ledger as one self-contained page: tables, verdicts, curves, samples side by side, and the way from noise.

Nothing is fetched: pictures are in the page. Curves, samples and films come from the run directories, where these are
at hand; a page without them says so.
"""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import Experiment
from diffjax.ablation.layout import Sheet, made, sheets
from diffjax.ablation.plan import Task
from diffjax.ablation.progress import place
from diffjax.ablation.thumbnails import groups, last_samples, pictures_of
from diffjax.ablation.work import FILM, FORWARD, FRAMES
from diffjax.config import build, from_json
from diffjax.diffusion import Process, Sampler
from diffjax.errors import UserError
from diffjax.whole import written_whole
from diffjax.writer import read_json, read_lines

MOST = 24  # runs of a table whose curves, samples and films are shown
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}.paper{color:#999}.claims :is(th,td){text-align:left}
table:not(.claims) :is(th,td){white-space:nowrap}.wide{overflow-x:auto;font-size:13px}
caption{text-align:left;font-size:13px;color:#555;min-width:45rem}
.reproduced{color:#17703a}.contradicted{color:#b3261e}.undecided{color:#8a6d00}figure{display:inline-block;margin:.5rem;
vertical-align:top}
figcaption,output{font-size:13px;color:#555;max-width:22rem}img{image-rendering:pixelated;max-width:22rem}
output{display:block}.film{margin-top:.5rem}.film input{width:22rem;margin:0}code{font-size:13px}
"""
SLIDE = """
for(const film of document.querySelectorAll('.film')){const frames=JSON.parse(film.querySelector('script').textContent);
const image=film.querySelector('img'),step=film.querySelector('input'),at=film.querySelector('output');
step.max=frames.length-1;const show=()=>{[at.value,image.src]=frames[step.value]};
step.oninput=show;step.value=frames.length-1;show()}
"""
Section = tuple[Experiment, str, Cells, Sequence[Task]]


def write(path: Path, sections: Iterable[Section], root: Path) -> None:
    """Writes the page whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(_page(sections, root), encoding="utf-8")


def _page(sections: Iterable[Section], root: Path) -> str:
    body = "\n".join(_section(*section, root) for section in sections) or "<p>The ledger is empty.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>diffjax: experiments</title>'
        f"<style>{STYLE}</style>"
        f"<h1>Experiments</h1><p>Published cells stand beside ours and are no comparison: data, networks and lengths "
        f"differ. Claims are decided on our cells alone, by 95&nbsp;% intervals over seeds, by exact tests where runs "
        f"failed or seeds all agree.</p>{body}"
        f"<script>{SLIDE}</script></html>\n"
    )


def _section(experiment: Experiment, name: str, cells: Cells, plan: Sequence[Task], root: Path) -> str:
    budget = experiment.budget(name)
    tables = "".join(_table(sheet) for sheet in sheets(cells, budget.measures, plan))
    lines = "".join(f"<p>{_text(line)}</p>" for line in made(cells, plan) if line)
    return (
        f"<section><h2>{_text(experiment.name)}</h2><p>{_text(experiment.about.splitlines()[0])}</p>"
        f"<p><em>{name}: {_text(budget.what)}</em></p>{tables}{_claims(experiment, cells)}{lines}"
        f"{_runs(experiment, plan, root)}</section>"
    )


def _table(sheet: Sheet) -> str:
    def row(tag: str, entries: Sequence[str]) -> str:
        kinds = [" class=paper" if paper else "" for paper in sheet.papers]
        return "<tr>" + "".join(f"<{tag}{kind}>{_text(e)}" for kind, e in zip(kinds, entries, strict=True))

    body = row("th", sheet.heads) + "".join(row("td", entries) for entries in sheet.rows)
    return f"<div class=wide><table><caption>{_text(sheet.caption)}</caption>{body}</table></div>"


def _claims(experiment: Experiment, cells: Cells) -> str:
    rows = ""
    for claim in experiment.claims:
        verdict = claim.verdict(cells)
        kind = "undecided" if verdict.verdict == "not decided" else verdict.verdict
        rows += f"<tr><td>{_text(verdict.says)}<td class={kind}><b>{verdict.verdict}</b><td>{_text(verdict.why)}"
    return f"<table class=claims><tr><th>claim<th>verdict<th>by{rows}</table>" if rows else ""


def _runs(experiment: Experiment, plan: Sequence[Task], root: Path) -> str:
    """A figure for each run that the table is of, side by side; of its seeds the first that is at hand.

    Where none is, the picture that was kept of one, if one was.
    """
    runs = groups(plan)
    if not runs:
        return ""
    there = [next((task for task in seeds if task.workdir(root).is_dir()), None) for seeds in runs]
    shown = [task for task in there if task]
    left_out = f", the first {MOST} of {len(shown)} runs" if len(shown) > MOST else ""
    missing = f"; {len(there) - len(shown)} more are not at hand" if len(shown) < len(there) else ""
    said = f"<p>Curves, samples and films of one seed of each run{left_out}{missing}.</p>"
    gone = [seeds for seeds, task in zip(runs, there, strict=True) if not task]
    kept = "".join(_thumbnail(task, path) for task, path in pictures_of(experiment, gone))
    if not shown:
        samples = "; the last samples while training, of one seed of each, were kept" if kept else ", and no samples"
        said = f"<p>The runs are not at hand: no curves or films{samples}.</p>"
    return said + "".join(_figure(task, task.workdir(root)) for task in shown[:MOST]) + kept


def _thumbnail(task: Task, path: Path) -> str:
    """The small picture that was kept of a run that is not at hand."""
    words = f"seed {task.seed}, its last samples while training, {task.source}"
    name = f"<b>{_text(place(task) or 'all places')}</b><br>{_text(words)} <code>{task.id}</code>"
    return f'<figure><figcaption>{name}</figcaption><img alt="samples" src="{_inline(path)}"></figure>'


def _config(workdir: Path) -> ConfigDict:
    """What a run says of itself; nothing where it does not."""
    path = workdir / "config.json"
    return from_json(read_json(path, path.parent)["config"]) if path.is_file() else ConfigDict()


def _drawn(config: ConfigDict) -> str:
    """How a run's pictures were drawn."""
    sampler = config.get("sampler", {})
    if sampler.get("steps", 1) < 2:
        return ""
    guidance = sampler.get("guidance", {}).get("scale")
    return f"drawn in {sampler['steps']} steps of {sampler['name']}" + (f", guidance {guidance:g}" if guidance else "")


def _figure(task: Task, workdir: Path) -> str:
    """A run's curve, its last picture, and its film, below what distinguishes it from the others."""
    config = _config(workdir)
    words = ", ".join(filter(None, [f"seed {task.seed}", _drawn(config), task.source]))
    name = f"<b>{_text(place(task) or 'all places')}</b><br>{_text(words)} <code>{task.id}</code>"
    parts = [_curve(workdir / "metrics.jsonl")]
    if samples := last_samples(workdir):
        parts.append(f'<img alt="samples" src="{_inline(samples)}">')
    schedule = Schedule.of(config)
    there = sorted((workdir / FORWARD).glob("*.png"))
    parts.append(_film("forward: what is left of the data + noise = x_t", there, _said_there(there, schedule)))
    back = sorted((workdir / FILM).glob("*.png"))
    said = _said_back(len(back), config.get("sampler", {}).get("steps", 0), schedule)
    parts.append(_film("backward: x_t beside the predicted x0", back, said))
    return f"<figure><figcaption>{name}</figcaption>{''.join(parts)}</figure>"


class Schedule(NamedTuple):
    """When and how noisy: the process of a run, and the times t_0 > .. > t_N of its sampler."""

    process: Process
    grid: np.ndarray

    @classmethod
    def of(cls, config: ConfigDict) -> "Schedule | None":
        """None of what has no sigma that its config would tell: a GAN, categories, a learned process, an old run."""
        try:
            process, sampler = build("process", config["method"]["process"]), build("sampler", config["sampler"])
            known = isinstance(process, Process) and isinstance(sampler, Sampler)
            return cls(process, np.asarray(sampler.grid(process, sampler.steps))) if known else None
        except (KeyError, TypeError, UserError):  # the last two: a component whose fields were others then
            return None

    def sigma(self, t: float) -> str:
        return f"sigma = {float(self.process.sigma(jnp.float32(t))):.3g}"


def _said_there(frames: Sequence[Path], schedule: Schedule | None) -> list[str]:
    """What each frame of the way to noise is, by its name: k_of_T.png."""
    times = [(int(k), int(steps)) for k, _, steps in (frame.stem.split("_") for frame in frames)]
    return [f"t = {k} of {steps}" + (f", {schedule.sigma(k / steps)}" if schedule else "") for k, steps in times]


def _said_back(count: int, steps: int, schedule: Schedule | None) -> list[str]:
    """What each of `count` frames of the way back is, of a sampler of so many steps, of which a film has FRAMES."""
    shown = sorted({round(i) for i in np.linspace(0, steps - 1, FRAMES)})
    if len(shown) != count:
        return [f"frame {i + 1} of {count}" for i in range(count)]  # of a sampler that counts otherwise
    said = [f"step {i + 1} of {steps}" for i in shown]
    if not schedule:
        return said
    of = schedule.process.steps or 1000  # as the frames of the way to noise count
    times = [float(schedule.grid[i]) for i in shown]
    return [f"{step}, t = {t * of:.4g} of {of}, {schedule.sigma(t)}" for step, t in zip(said, times, strict=True)]


def _film(title: str, frames: Sequence[Path], said: Sequence[str]) -> str:
    """Pictures with a slider, and what is `said` of each beside it; nothing where there are none."""
    if not frames:
        return ""
    sources = json.dumps([(words, _inline(frame)) for words, frame in zip(said, frames, strict=True)])
    return (
        f'<div class=film>{_text(title)}<br><img alt="{_text(title)}"><br><input type=range min=0 value=0 '
        f'aria-label="{_text(title)}"><output></output><script type="application/json">{sources}</script></div>'
    )


def _curve(path: Path, width: int = 340, height: int = 120) -> str:
    """The logged losses against the step, each between its least and its greatest value."""
    if not path.is_file():
        return ""
    lines = read_lines(path)
    drawn = ""
    for name, colour in (("loss", "#2a6fdb"), ("d_loss", "#b3261e"), ("g_loss", "#17703a")):
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
        if len(points) < 2:
            continue
        low, high = min(y for _, y in points), max(y for _, y in points)
        first, last = points[0][0], points[-1][0]
        across, up = width / (last - first), (height - 30) / ((high - low) or 1)
        spots = " ".join(f"{(x - first) * across:.1f},{height - 15 - (y - low) * up:.1f}" for x, y in points)
        drawn += f'<polyline fill="none" stroke="{colour}" points="{spots}"/>'
        label, line = f"{name} {low:.3g} .. {high:.3g}", 26 if name == "g_loss" else 12
        drawn += f'<text x="2" y="{line}" fill="{colour}" font-size="11">{label}</text>'
    return f'<svg role="img" aria-label="losses" width="{width}" height="{height}">{drawn}</svg><br>' if drawn else ""


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _text(words: object) -> str:
    return html.escape(str(words))
