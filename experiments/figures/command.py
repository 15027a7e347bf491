"""What the picture commands share: flags, training with the project's loop, output files, and one-line errors."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.cli import Parser, guarded, set_up, split_overrides
from diffjax.errors import UserError
from experiments.figures import style

EPILOG = """Networks are trained first, in run directories under --workdir: a finished run is reused, a stopped one is
continued. Flags such as --config.train.steps=500 change their configs, as for `launch.py train`.
"""


class Picture(NamedTuple):
    """What a command makes: a picture, the frames of a film (both uint8 [h, w, 3]), and lines to print."""

    still: np.ndarray
    frames: Sequence[np.ndarray]
    seconds: float  # length of the film
    facts: Sequence[str]  # measured on the way


Overrides = Sequence[tuple[str, str]]
Draw = Callable[[argparse.Namespace, Overrides], Picture]


def main(
    name: str, about: str, draw: Draw, words: Sequence[str], more: Callable[[Parser], None] = lambda parser: None
) -> int:
    """Runs the command of one picture and returns its exit status (see `diffjax.cli.guarded`).

    `more` adds flags that only this picture has.
    """
    parser = Parser(
        f"python -m experiments.figures.{name}",
        description=about,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, default=Path("runs/figures"), metavar="DIR",
                        help=f"folder for {name}.png and {name}.gif (runs/figures)")  # fmt: skip
    parser.add_argument("--workdir", type=Path, default=Path("runs/figures") / name, metavar="DIR",
                        help=f"folder for the training runs (runs/figures/{name})")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the picture, not of the training (0)")
    more(parser)

    def act(arguments: argparse.Namespace) -> int:
        rest, overrides = split_overrides(words)
        parser.parse_args(rest, arguments)
        if not 0 <= arguments.seed < 2**32:
            raise UserError(f"--seed: {arguments.seed} must be between 0 and 2^32 - 1")
        with style.look():
            set_up()
            picture = draw(arguments, overrides)
        _save(name, arguments.out, picture)
        return 0

    return guarded(name, act)


def _save(name: str, out: Path, picture: Picture) -> None:
    from diffjax.drawing.pictures import save_gif, save_png

    for fact in picture.facts:
        print(fact)
    save_png(out / f"{name}.png", picture.still)
    save_gif(out / f"{name}.gif", picture.frames, picture.seconds)
    print(f"wrote {out / name}.png and {out / name}.gif")


def config_of(path: str, overrides: Overrides = (), **changes):
    """A config file's config with `changes` (double underscores stand for dots), then the user's overrides."""
    from diffjax import config as configs

    changed = [(key.replace("__", "."), str(value)) for key, value in changes.items()]
    return configs.override(configs.load(path), [*changed, *overrides])


def trained(config, workdir: Path):
    """Trains the run of `config` in `workdir` to its end, unless that has been done, and loads it."""
    from diffjax.run import load
    from diffjax.training.loop import train

    if train(config, workdir)["status"] == "stopped":
        raise UserError(f"stopped; the same command continues the run in {workdir}")
    return load(workdir)
