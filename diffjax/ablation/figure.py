"""A run on the page: its losses, its last samples during training, and films of both directions with sliders."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffjax.ablation.plan import Task
from diffjax.ablation.progress import place
from diffjax.ablation.thumbnails import last_samples
from diffjax.ablation.work import FILM, FORWARD
from diffjax.config import build, from_json
from diffjax.diffusion import Process
from diffjax.errors import UserError
from diffjax.host.json_files import read_json, read_lines

LOSSES = ("loss", "d_loss", "g_loss")
LARGE = 10.0  # a larger gain from an error of the output to one of the predicted x0 is pointed out
DECADE = 10.0  # losses that span more are drawn on a log scale
BROAD = 600  # samples wider than this, in pixels, stand beside the curve instead of below it
WAY_THERE = ("scaled data, alpha x0", "noise, sigma eps", "their sum, x_t")
WAY_BACK = ("x_t", "predicted x0")
SLIDE = """
for(const film of document.querySelectorAll('.film')){const frames=JSON.parse(film.querySelector('script').textContent);
const images=film.querySelectorAll('img'),step=film.querySelector('input'),at=film.querySelector('output');
const show=()=>{at.value=frames[step.value][0];for(const image of images)image.src=frames[step.value][1]};
step.max=frames.length-1;step.oninput=show;step.value=frames.length-1;show()}
"""


class RunInfo(NamedTuple):
    """What a run's config says about its pictures, as far as it can still be read."""

    sampling: str = ""  # how samples are drawn
    process: Process | None = None  # None for GANs, categories, learned processes, and configs with other fields
    enlarges: bool = False  # whether predicted x0 near t = 1 consist mostly of the network's error, enlarged

    @classmethod
    def of(cls, workdir: Path) -> "RunInfo":
        path = workdir / "config.json"
        if not path.is_file():
            return cls()
        config = from_json(read_json(path, path.parent)["config"])
        process = _component(config, "process")
        if not isinstance(process, Process):
            return cls(_sampling(config))
        target = _component(config, "target")
        return cls(_sampling(config), process, bool(target and target.gain(jnp.ones(()), process) > LARGE))

    def sigma(self, t: float) -> str:
        """The noise level of x_t, for a caption; "" if it is unknown."""
        return f", sigma = {abs(float(self.process.sigma(jnp.float32(t)))):.3g}" if self.process else ""


def _component(config: ConfigDict, name: str) -> object:
    """One of the method's components; None if it has none, or if the component had other fields at the time."""
    try:
        return build(name, config["method"][name])
    except (KeyError, TypeError, UserError):
        return None


def _sampling(config: ConfigDict) -> str:
    """How a run's samples are drawn, if that takes more than one step."""
    if "sampler" not in config or config.sampler.steps < 2:
        return ""
    description, node = f"drawn in {config.sampler.steps} steps of {config.sampler.name}", config.sampler
    while "guidance" in node:  # one guidance may wrap another
        node = node.guidance
    return f"{description}, guidance {node.scale:g}" if "scale" in node else description


class Frame(NamedTuple):
    """A frame of a film, and its caption."""

    caption: str
    path: Path


class Shown(NamedTuple):
    """A run, and what the page shows of it."""

    task: Task
    info: RunInfo
    curve: str
    samples: Path | None  # the last during training
    thumbnail: Path | None  # the small copy of these that was kept beside the ledger
    forward: list[Frame]
    same_as: str  # the run further up the page that has the same forward film; "" if none has
    backward: list[Frame]

    @classmethod
    def of(cls, task: Task, workdir: Path, thumbnail: Path, title: str, seen: dict[bytes, tuple[str, str]]) -> "Shown":
        """All that exists of a run, which belongs to the table with this title.

        `seen` maps the hash of each forward film so far to the table and run that show it, and is added to: all runs
        with the same process, data and seed have the same film.
        """
        info = RunInfo.of(workdir)
        forward, backward = _forward_frames(workdir, info), _backward_frames(workdir, info)
        digest = hashlib.sha256(b"".join(frame.path.read_bytes() for frame in forward)).digest()
        table, run = seen.get(digest, ("", ""))
        if forward:
            seen.setdefault(digest, (title, place(task)))
        thumbnail = thumbnail if thumbnail.is_file() else None
        return cls(
            task=task,
            info=info,
            curve=_curve(workdir / "metrics.jsonl"),
            samples=last_samples(workdir) or thumbnail,
            thumbnail=thumbnail,
            forward=forward,
            same_as=run if table == title else ", ".join(filter(None, [table, run])),
            backward=backward,
        )

    def weights(self) -> list[int]:
        """The bytes on the page of its samples and of each film that is not shown further up, uncut."""
        films = ([] if self.same_as else self.forward, self.backward)
        return [weight(self.samples) if self.samples else 0, *(sum(weight(f.path) for f in film) for film in films)]

    def cut(self, most: int) -> "Shown":
        """The same with at most `most` bytes for each film and for the samples.

        Films lose frames; samples that are too large are replaced by their thumbnail, or left out.
        """
        fitting = (picture for picture in (self.samples, self.thumbnail) if picture and weight(picture) <= most)
        forward, backward = thinned(self.forward, most), thinned(self.backward, most)
        same_as = self.same_as if forward else ""
        return self._replace(samples=next(fitting, None), forward=forward, same_as=same_as, backward=backward)

    def lacks(self, uncut: "Shown") -> bool:
        """Whether it shows less than `uncut` does, apart from single frames."""

        def parts(run: Shown) -> tuple:
            return run.samples, bool(run.forward), bool(run.backward)

        return parts(self) != parts(uncut)


def weight(picture: Path) -> int:
    """The bytes that a picture takes on a page: base64 of its file."""
    return 4 * -(-picture.stat().st_size // 3)


def level(weights: Sequence[int], most: int) -> int:
    """The size limit for each item so that all of them together have at most `most` bytes.

    Items below the limit leave the rest of their share to the others. Between 0 and the largest weight.
    """
    for i, size in enumerate(sorted(weights)):
        share = max(most, 0) // (len(weights) - i)
        if size > share:
            return share
        most -= size
    return max(weights, default=0)


def figure(run: Shown) -> str:
    """A run, under a heading that says what distinguishes it from the others."""
    broad = " broad" if run.samples and _extent(run.samples)[0] > BROAD else ""
    step = run.samples.stem if run.samples and run.samples != run.thumbnail else ""
    still = run.curve + (_samples(run.samples, step) if run.samples else "")
    if run.same_as:
        forward = f"<p class=what><b>Forward</b>: the same as {text(run.same_as)}, above</p>"
    else:
        forward = _film("Forward", "data become noise", WAY_THERE, run.forward)
    films = forward + _film("Backward", "noise becomes samples", WAY_BACK, run.backward)
    return (
        f"<figure class=run>{_heading(run.task, run.info.sampling)}<div class=parts>"
        f'<div class="still{broad}">{still}</div>'
        f"{films and f'<div class=films>{films}</div>'}</div></figure>"
    )


def thumbnail(task: Task, path: Path) -> str:
    """The small picture that was kept of a run whose directory is not available."""
    return f"<figure class=run>{_heading(task)}{_samples(path)}</figure>"


def _heading(task: Task, sampling: str = "") -> str:
    name = place(task)
    details = ", ".join(filter(None, [f"seed {task.seed}", sampling, task.source if task.source != name else ""]))
    return f"<figcaption><h3>{text(name)}</h3>{text(details)} <code>{task.id}</code></figcaption>"


def _samples(path: Path, step: str = "") -> str:
    """A picture of samples, with the training step if that is known."""
    of_step = f", step {int(step):,}" if step else ""
    image = f'<img alt="samples" {_size(path)}src="{_inline(path)}">'
    return f"<div><p class=what>last samples during training{of_step}</p>{image}</div>"


# -------------------------------------------------------------------------------------------------------------- films


def _forward_frames(workdir: Path, info: RunInfo) -> list[Frame]:
    """The frames from data to noise, k_of_T.png."""

    def caption(path: Path) -> str:
        k, _, steps = path.stem.split("_")
        return f"t = {int(k)} of {steps}{info.sigma(int(k) / int(steps))}"

    return [Frame(caption(path), path) for path in sorted((workdir / FORWARD).glob("*.png"))]


def _backward_frames(workdir: Path, info: RunInfo) -> list[Frame]:
    """The frames from noise to samples, k_of_N_t_T.png. Names in older runs have no time; those frames are counted."""
    paths = sorted((workdir / FILM).glob("*.png"))
    timesteps = info.process.steps if info.process and info.process.steps else 1000  # as for the forward frames

    def caption(path: Path) -> str:
        if "_t_" not in path.stem:
            return f"frame {paths.index(path) + 1} of {len(paths)}"
        k, _, steps, _, t = path.stem.split("_")
        return f"step {int(k)} of {steps}, t = {float(t) * timesteps:.4g} of {timesteps}{info.sigma(float(t))}"

    return [Frame(caption(path), path) for path in paths]


def thinned(frames: Sequence[Frame], most: int) -> list[Frame]:
    """As many evenly spaced frames as fit into `most` bytes, with the first and the last; [] if those do not fit."""
    weights = [weight(frame.path) for frame in frames]
    for count in range(len(frames), min(len(frames), 2) - 1, -1):
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        if sum(weights[i] for i in chosen) <= most:
            return [frames[i] for i in chosen]
    return []


def _film(name: str, about: str, blocks: Sequence[str], frames: Sequence[Frame]) -> str:
    """A film: a slider, the caption of the current frame, and the blocks of that frame under their headings.

    A frame is one picture of equally large blocks side by side; each block is a window on it. "" if there are no
    frames.
    """
    if not frames:
        return ""
    sources = json.dumps([(frame.caption, _inline(frame.path)) for frame in frames])
    windows = "".join(
        f"<div><p class=what>{text(block)}</p>"
        f'<img alt="{text(block)}" style="object-position:{100 * i / (len(blocks) - 1):g}%"></div>'
        for i, block in enumerate(blocks)
    )
    return (
        f"<div class=film><p class=what><b>{name}</b>: {about}</p><p class=slider><input type=range min=0 value=0 "
        f'aria-label="{name}"><output></output></p>'
        f"<div class=blocks {_size(frames[0].path, len(blocks))}>{windows}</div>"
        f'<script type="application/json">{sources}</script></div>'
    )


# ------------------------------------------------------------------------------------------------------------- curves


def _curve(path: Path, width: int = 466, height: int = 170) -> str:
    """The logged losses against the step, all on one scale that spans their range; "" if none has two points."""
    lines = read_lines(path)
    curves = {name: [(line["step"], line[name]) for line in lines if _is_number(line.get(name))] for name in LOSSES}
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return ""
    left, right, top, bottom = 58, width - 8, 8, height - 22
    curves = {name: extremes(points, right - left) for name, points in curves.items()}
    steps, values = zip(*(point for points in curves.values() for point in points), strict=True)
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    log = low > 0 and high > DECADE * low

    def fraction(value: float, least: float, greatest: float) -> float:
        """The position of a value in its range, from 0 to 1; 1/2 in a range of one value."""
        return (value - least) / (greatest - least) if greatest > least else 0.5

    def xy(step: float, value: float) -> str:
        y = fraction(*map(math.log, (value, low, high))) if log else fraction(value, low, high)
        return f"{left + (right - left) * fraction(step, first, last):.1f},{bottom - (bottom - top) * y:.1f}"

    polylines = "".join(
        f'<polyline class={name} points="{" ".join(xy(*point) for point in points)}"/>'
        for name, points in curves.items()
    )
    ends = [(left - 6, top + 4, "end", f"{high:.4g}"), (left - 6, bottom + 4, "end", f"{low:.4g}")]
    ends += [(left, height - 5, "start", f"step {first:,}"), (right, height - 5, "end", f"{last:,}")]
    labels = "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{label}</text>' for x, y, anchor, label in ends)
    names = ", ".join(f"<b class={name}>{name}</b>" for name in curves)
    return (
        f"<div><p class=what>{names} during training{', log scale' if log else ''}</p>"
        f'<svg role="img" aria-label="{", ".join(curves)}" viewBox="0 0 {width} {height}">'
        f'<path d="M{left},{top}V{bottom}H{right}"/>{polylines}{labels}</svg></div>'
    )


def extremes(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points (step, value) of a curve, which look the same as all in a figure `most` pixels wide.

    These are both ends and, between them, the least and the greatest value in each of equally long stretches.
    """
    if len(points) <= most:
        return list(points)
    first, *between, last = points
    chosen = [first]
    for indices in np.array_split(np.arange(len(between)), most // 2 - 1):
        stretch = [between[i] for i in indices]
        chosen += sorted({min(stretch, key=itemgetter(1)), max(stretch, key=itemgetter(1))})
    return [*chosen, last]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# -------------------------------------------------------------------------------------------------------------- shared


def _extent(path: Path) -> tuple[int, int]:
    """The width and height of a PNG, from its header; (0, 0) if it has none."""
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def _size(path: Path, blocks: int = 1) -> str:
    """A style attribute with the width and height, in pixels, of one of a picture's blocks."""
    width, height = _extent(path)
    return f'style="--n:{blocks};--w:{width // blocks};--h:{height}" ' if width and height else ""


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def text(words: object) -> str:
    return html.escape(str(words))
