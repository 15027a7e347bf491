"""A run on the page: its losses, its last samples while training, and films of both directions, each with a slider."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Callable, Sequence
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
from diffjax.writer import read_json, read_lines

LOSSES = ("loss", "d_loss", "g_loss")
LARGE = 10.0  # from where on an error of the output is called enlarged in the x0 that follows from it
DECADE = 10.0  # losses that span more are drawn on a log scale
BROAD = 600  # pixels from where on samples stand beside the curve, and no longer below it
WAY_THERE = ("what is left of the data, alpha x0", "noise, sigma eps", "their sum, x_t")
WAY_BACK = ("x_t", "predicted x0")
SLIDE = """
for(const film of document.querySelectorAll('.film')){const frames=JSON.parse(film.querySelector('script').textContent);
const images=film.querySelectorAll('img'),step=film.querySelector('input'),at=film.querySelector('output');
const show=()=>{at.value=frames[step.value][0];for(const image of images)image.src=frames[step.value][1]};
step.max=frames.length-1;step.oninput=show;step.value=frames.length-1;show()}
"""


class Told(NamedTuple):
    """What a run's config tells of its pictures, as far as it does."""

    drawn: str = ""  # how
    process: Process | None = None  # none of a GAN, of categories, of a learned process, of a run with other fields
    enlarges: bool = False  # whether predicted x0 near t = 1 are mostly the network's error, enlarged

    @classmethod
    def of(cls, workdir: Path) -> "Told":
        path = workdir / "config.json"
        if not path.is_file():
            return cls()
        config = from_json(read_json(path, path.parent)["config"])
        process = _component(config, "process")
        if not isinstance(process, Process):
            return cls(_drawn(config))
        target = _component(config, "target")
        return cls(_drawn(config), process, bool(target and target.gain(jnp.ones(()), process) > LARGE))

    def sigma(self, t: float) -> str:
        """How noisy x_t is; nothing where that is not known."""
        return f", sigma = {abs(float(self.process.sigma(jnp.float32(t)))):.3g}" if self.process else ""


def _component(config: ConfigDict, name: str) -> object:
    """One of the method's components; None where it has none, or its fields were others then."""
    try:
        return build(name, config["method"][name])
    except (KeyError, TypeError, UserError):
        return None


def _drawn(config: ConfigDict) -> str:
    """How a run's samples are drawn, where that takes more than one step."""
    if "sampler" not in config or config.sampler.steps < 2:
        return ""
    words, inside = f"drawn in {config.sampler.steps} steps of {config.sampler.name}", config.sampler
    while "guidance" in inside:  # one guidance may wrap another
        inside = inside.guidance
    return f"{words}, guidance {inside.scale:g}" if "scale" in inside else words


def figure(task: Task, workdir: Path, told: Told, most: int, seen: dict[bytes, str]) -> str:
    """A run below what distinguishes it from the others, its films of `most` bytes at most.

    `seen` has the hashes of the films of the way to noise that are above, and of which run; it is added to.
    """
    name = place(task) or "all places"
    words = ", ".join(filter(None, [f"seed {task.seed}", told.drawn, task.source]))
    samples = last_samples(workdir)
    broad = " broad" if samples and _extent(samples)[0] > BROAD else ""
    still = _curve(workdir / "metrics.jsonl") + (_samples(samples, step=samples.stem) if samples else "")
    films = _there(workdir, name, told, most // 2, seen) + _back(workdir, told, most // 2)
    return (
        f"<figure class=run>{_heading(name, words, task)}<div class=parts>"
        f'<div class="still{broad}">{still}</div>'
        f"{films and f'<div class=films>{films}</div>'}</div></figure>"
    )


def thumbnail(task: Task, path: Path) -> str:
    """The small picture that was kept of a run that is not at hand."""
    heading = _heading(place(task) or "all places", f"seed {task.seed}, {task.source}", task)
    return f"<figure class=run>{heading}{_samples(path)}</figure>"


def _heading(name: str, words: str, task: Task) -> str:
    return f"<figcaption><h3>{text(name)}</h3>{text(words)} <code>{task.id}</code></figcaption>"


def _samples(path: Path, step: str = "") -> str:
    """A picture of samples, and of which step it is where that is known."""
    of_step = f", step {int(step):,}" if step else ""
    image = f'<img alt="samples" {_size(path)}src="{_inline(path)}">'
    return f"<div><p class=what>last samples while training{of_step}</p>{image}</div>"


# -------------------------------------------------------------------------------------------------------------- films


def _there(workdir: Path, name: str, told: Told, most: int, seen: dict[bytes, str]) -> str:
    """The way to noise. It is the same for all runs of one process, data and seed, and shown with the first of them."""
    frames = sorted((workdir / FORWARD).glob("*.png"))
    if not frames:
        return ""
    film = hashlib.sha256(b"".join(frame.read_bytes() for frame in frames)).digest()
    if film in seen:
        return f"<p class=what><b>Forward</b>: as of {text(seen[film])}, above</p>"
    seen[film] = name

    def said(frame: Path) -> str:
        k, _, steps = frame.stem.split("_")
        return f"t = {int(k)} of {steps}{told.sigma(int(k) / int(steps))}"

    return _film("Forward", "data become noise", WAY_THERE, thinned(frames, most), said)


def _back(workdir: Path, told: Told, most: int) -> str:
    """The way from noise to samples. The frames of older runs do not say when they are, and are counted."""
    frames = sorted((workdir / FILM).glob("*.png"))
    of = told.process.steps if told.process and told.process.steps else 1000  # as the frames of the way to noise count

    def said(frame: Path) -> str:
        if "_t_" not in frame.stem:
            return f"frame {frames.index(frame) + 1} of {len(frames)}"
        k, _, steps, _, t = frame.stem.split("_")
        return f"step {int(k)} of {steps}, t = {float(t) * of:.4g} of {of}{told.sigma(float(t))}"

    return _film("Backward", "noise becomes samples", WAY_BACK, thinned(frames, most), said) if frames else ""


def thinned(frames: Sequence[Path], most: int) -> list[Path]:
    """As many frames as have `most` bytes together, evenly; the first and the last in any case."""
    sizes = [frame.stat().st_size for frame in frames]
    for count in range(len(frames), 2, -1):
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        if sum(sizes[i] for i in chosen) <= most:
            return [frames[i] for i in chosen]
    return [*frames[:1], *frames[1:][-1:]]


def _film(name: str, about: str, blocks: Sequence[str], frames: Sequence[Path], said: Callable[[Path], str]) -> str:
    """A slider, what is `said` of the frame that it stands at, and that frame's blocks, each below its heading.

    A frame is one picture of blocks of one size, side by side; each is seen through a window of its own.
    """
    sources = json.dumps([(said(frame), _inline(frame)) for frame in frames])
    shown = "".join(
        f"<div><p class=what>{text(block)}</p>"
        f'<img alt="{text(block)}" style="object-position:{100 * i / (len(blocks) - 1):g}%"></div>'
        for i, block in enumerate(blocks)
    )
    return (
        f"<div class=film><p class=what><b>{name}</b>: {about}</p><p class=slider><input type=range min=0 value=0 "
        f'aria-label="{name}"><output></output></p><div class=blocks {_size(frames[0], len(blocks))}>{shown}</div>'
        f'<script type="application/json">{sources}</script></div>'
    )


# ------------------------------------------------------------------------------------------------------------- curves


def _curve(path: Path, width: int = 466, height: int = 170) -> str:
    """The logged losses against the step, all on one scale; the axes end at the least and the greatest there are."""
    lines = read_lines(path)
    curves = {name: [(line["step"], line[name]) for line in lines if _is_number(line.get(name))] for name in LOSSES}
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return ""
    steps, values = zip(*(point for points in curves.values() for point in points), strict=True)
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    log = low > 0 and high > DECADE * low
    left, right, top, bottom = 58, width - 8, 8, height - 22

    def between(value: float, least: float, greatest: float) -> float:
        """From 0 to 1; in the middle where there is but one value."""
        return (value - least) / (greatest - least) if greatest > least else 0.5

    def spot(step: float, value: float) -> str:
        up = between(*map(math.log, (value, low, high))) if log else between(value, low, high)
        return f"{left + (right - left) * between(step, first, last):.1f},{bottom - (bottom - top) * up:.1f}"

    drawn = "".join(
        f'<polyline class={name} points="{" ".join(spot(*point) for point in points)}"/>'
        for name, points in curves.items()
    )
    ends = [(left - 6, top + 4, "end", f"{high:.4g}"), (left - 6, bottom + 4, "end", f"{low:.4g}")]
    ends += [(left, height - 5, "start", f"step {first:,}"), (right, height - 5, "end", f"{last:,}")]
    marks = "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>' for x, y, anchor, words in ends)
    names = ", ".join(f"<b class={name}>{name}</b>" for name in curves)
    return (
        f"<div><p class=what>{names} while training{', log scale' if log else ''}</p>"
        f'<svg role="img" aria-label="{", ".join(curves)}" viewBox="0 0 {width} {height}">'
        f'<path d="M{left},{top}V{bottom}H{right}"/>{drawn}{marks}</svg></div>'
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# ------------------------------------------------------------------------------------------------------ what all need


def _extent(path: Path) -> tuple[int, int]:
    """The width and height of a PNG, by its header; (0, 0) of what has none."""
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def _size(path: Path, blocks: int = 1) -> str:
    """The width and height of one of a picture's blocks, in pixels, for the style."""
    width, height = _extent(path)
    return f'style="--n:{blocks};--w:{width // blocks};--h:{height}" ' if width and height else ""


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def text(words: object) -> str:
    return html.escape(str(words))
