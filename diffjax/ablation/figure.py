"""A run on the page: its losses, its last samples while training, and films of both directions, each with a slider."""

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


class Frame(NamedTuple):
    """A frame of a film, and what is said of it."""

    said: str
    path: Path


class Shown(NamedTuple):
    """A run, and what the page shows of it."""

    task: Task
    told: Told
    curve: str
    samples: Path | None  # the last while training
    small: Path | None  # what was kept of these beside the ledger
    there: list[Frame]  # of the way to noise
    above: str  # the run that is above on the page and has the same way to noise, if there is one
    back: list[Frame]

    @classmethod
    def of(cls, task: Task, workdir: Path, small: Path, title: str, seen: dict[bytes, tuple[str, str]]) -> "Shown":
        """All that there is of a run of the table with this title.

        `seen` has the hashes of the ways to noise that are above, and of which table and run they are: all runs of one
        process, data and seed have the same. It is added to.
        """
        told = Told.of(workdir)
        there, back = _there(workdir, told), _back(workdir, told)
        film = hashlib.sha256(b"".join(frame.path.read_bytes() for frame in there)).digest()
        small = small if small.is_file() else None
        table, run = seen.get(film, ("", ""))
        if there:
            seen.setdefault(film, (title, place(task) or "all places"))
        return cls(
            task, told, _curve(workdir / "metrics.jsonl"), last_samples(workdir) or small, small, there,
            run if table == title else ", ".join(filter(None, [table, run])), back,
        )  # fmt: skip

    def weights(self) -> list[int]:
        """The bytes on the page of its samples and of each of its films that is not above, all whole."""
        films = ([] if self.above else self.there, self.back)
        return [weight(self.samples) if self.samples else 0, *(sum(weight(f.path) for f in film) for film in films)]

    def cut(self, most: int) -> "Shown":
        """With films of so many bytes at most, and likewise its samples: of more the picture that was kept, or none."""
        fitting = (picture for picture in (self.samples, self.small) if picture and weight(picture) <= most)
        there, back = thinned(self.there, most), thinned(self.back, most)
        return self._replace(samples=next(fitting, None), there=there, above=self.above if there else "", back=back)

    def lacks(self, whole: "Shown") -> bool:
        """Whether less of it is shown than the `whole` has, but for single frames."""
        return (self.samples, bool(self.there), bool(self.back)) != (whole.samples, bool(whole.there), bool(whole.back))


def weight(picture: Path) -> int:
    """The bytes that a picture takes in a page, as it is written there."""
    return 4 * -(-picture.stat().st_size // 3)


def level(weights: Sequence[int], most: int) -> int:
    """How many bytes each of these may have, for all together to have `most`: what is less leaves more to the others.

    At least 0, and no more than the largest.
    """
    for i, size in enumerate(sorted(weights)):
        share = max(most, 0) // (len(weights) - i)
        if size > share:
            return share
        most -= size
    return max(weights, default=0)


def figure(run: Shown) -> str:
    """A run below what distinguishes it from the others."""
    name = place(run.task) or "all places"
    words = ", ".join(filter(None, [f"seed {run.task.seed}", run.told.drawn, run.task.source]))
    broad = " broad" if run.samples and _extent(run.samples)[0] > BROAD else ""
    step = run.samples.stem if run.samples and run.samples != run.small else ""
    still = run.curve + (_samples(run.samples, step) if run.samples else "")
    if run.above:
        there = f"<p class=what><b>Forward</b>: as of {text(run.above)}, above</p>"
    else:
        there = _film("Forward", "data become noise", WAY_THERE, run.there)
    films = there + _film("Backward", "noise becomes samples", WAY_BACK, run.back)
    return (
        f"<figure class=run>{_heading(name, words, run.task)}<div class=parts>"
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


def _there(workdir: Path, told: Told) -> list[Frame]:
    """The way to noise."""

    def said(path: Path) -> str:
        k, _, steps = path.stem.split("_")
        return f"t = {int(k)} of {steps}{told.sigma(int(k) / int(steps))}"

    return [Frame(said(path), path) for path in sorted((workdir / FORWARD).glob("*.png"))]


def _back(workdir: Path, told: Told) -> list[Frame]:
    """The way from noise to samples. The frames of older runs do not say when they are, and are counted."""
    paths = sorted((workdir / FILM).glob("*.png"))
    of = told.process.steps if told.process and told.process.steps else 1000  # as the frames of the way to noise count

    def said(path: Path) -> str:
        if "_t_" not in path.stem:
            return f"frame {paths.index(path) + 1} of {len(paths)}"
        k, _, steps, _, t = path.stem.split("_")
        return f"step {int(k)} of {steps}, t = {float(t) * of:.4g} of {of}{told.sigma(float(t))}"

    return [Frame(said(path), path) for path in paths]


def thinned(frames: Sequence[Frame], most: int) -> list[Frame]:
    """As many frames as have `most` bytes together, evenly, the first and the last among them.

    None where these two have more, or where the only one has.
    """
    weights = [weight(frame.path) for frame in frames]
    for count in range(len(frames), min(len(frames), 2) - 1, -1):
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        if sum(weights[i] for i in chosen) <= most:
            return [frames[i] for i in chosen]
    return []


def _film(name: str, about: str, blocks: Sequence[str], frames: Sequence[Frame]) -> str:
    """A slider, what is said of the frame that it stands at, and that frame's blocks, each below its heading.

    A frame is one picture of blocks of one size, side by side; each is seen through a window of its own. Without frames
    there is nothing.
    """
    if not frames:
        return ""
    sources = json.dumps([(frame.said, _inline(frame.path)) for frame in frames])
    shown = "".join(
        f"<div><p class=what>{text(block)}</p>"
        f'<img alt="{text(block)}" style="object-position:{100 * i / (len(blocks) - 1):g}%"></div>'
        for i, block in enumerate(blocks)
    )
    return (
        f"<div class=film><p class=what><b>{name}</b>: {about}</p><p class=slider><input type=range min=0 value=0 "
        f'aria-label="{name}"><output></output></p><div class=blocks {_size(frames[0].path, len(blocks))}>{shown}</div>'
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
    left, right, top, bottom = 58, width - 8, 8, height - 22
    curves = {name: extremes(points, right - left) for name, points in curves.items()}
    steps, values = zip(*(point for points in curves.values() for point in points), strict=True)
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    log = low > 0 and high > DECADE * low

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


def extremes(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """The points (step, value) of a curve, `most` at most, by which it looks the same in a figure so many pixels wide.

    Of more both ends and, between them, the least and the greatest in each of as many equal stretches as that leaves.
    """
    if len(points) <= most:
        return list(points)
    first, *between, last = points
    kept = [first]
    for stretch in np.array_split(np.arange(len(between)), most // 2 - 1):
        some = [between[i] for i in stretch]
        kept += sorted({min(some, key=itemgetter(1)), max(some, key=itemgetter(1))})
    return [*kept, last]


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
