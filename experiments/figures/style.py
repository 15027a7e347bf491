"""The look of all pictures: one palette, one font, few lines, and colours that colour-blind readers can tell apart.

Matplotlib is imported when the first figure is made, so that a machine without it gets a message that says what to
install. Figures are drawn inside `look()`, which restores matplotlib's settings afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from diffjax.drawing.pictures import BLUE, GREY, INK, PAPER, RULE
from diffjax.errors import UserError

WIDTH = 8.0  # inches, of every picture
STILL, FILM = 150, 100  # dots per inch: 1200 and 800 pixels wide


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


paper, ink, rule, grey, blue = map(_hex, (PAPER, INK, RULE, GREY, BLUE))
orange = "#d55e00"  # vermillion and bluish green of Okabe and Ito (2008), which everyone can tell apart from blue
green = "#009e73"

LOOK = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "legend.frameon": False, "figure.facecolor": paper, "axes.facecolor": paper,
    "savefig.facecolor": paper, "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": grey, "xtick.color": ink,
    "ytick.color": ink, "axes.titlelocation": "left", "axes.titlecolor": ink, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.8, "lines.linewidth": 1.8, "figure.constrained_layout.use": True,
    "grid.color": rule, "grid.linewidth": 0.6,
}  # fmt: skip


def check() -> None:
    """Raises UserError if matplotlib is missing; called before anything is trained."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError("matplotlib: must be installed to draw pictures; pip install -e '.[figures]'") from error


@contextmanager
def look() -> Iterator[None]:
    """A context in which figures are drawn with the settings LOOK."""
    check()
    import matplotlib

    with matplotlib.rc_context(LOOK):
        yield


def figure(height: float):
    """An empty figure, WIDTH inches by `height`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def pixels(figure, dpi: int) -> np.ndarray:
    """A rendered figure: uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shades(colour: str):
    """A colour map from paper to `colour`, for values from 0 on."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", [paper, colour])


def two_sides(low: str, high: str):
    """A colour map from `low` through paper to `high`, for values with a centre."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("two_sides", [low, paper, high])


def bare(axes, reach: tuple[float, float, float, float] | None = None) -> None:
    """Removes ticks, and sets equal aspect and a thin frame: for points in a plane without units."""
    axes.set(xticks=[], yticks=[], aspect="equal")
    if reach:
        axes.set(xlim=reach[:2], ylim=reach[2:])
    for spine in axes.spines.values():
        spine.set(visible=True, color=rule)
