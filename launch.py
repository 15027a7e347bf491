"""The front door: python launch.py COMMAND --help explains each command.

train      train a config, or continue what its run directory holds
sample     draw from a trained run: a picture, a film, an archive or a folder
evaluate   measure a trained run
prepare    download and prepare a TFDS data set
ablate     reproduce the table of a paper
report     show what was reproduced
"""

import argparse
import difflib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffjax.errors import NO_ROOM, TAKEN, Diverged, Taken, UserError

EPILOG = """config files:
  --config=configs/digits.py            a file with get_config()
  --config=configs/toy2d.py:moons       one of its variants
  --config.train.steps=2000             any key of it, checked against its type
  --config.sampler.name=ddim            another component: its own defaults replace the old one's keys
"""
EMPTY = "it is empty (a variable of the shell that is not set?); say which, or leave it out"
UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are one line like every other one here."""

    def error(self, message):
        commands = {name: p for a in self._actions if isinstance(a.choices, dict) for name, p in a.choices.items()}
        known = {name: p._option_string_actions for name, p in commands.items()} | {"": self._option_string_actions}
        _, choice, rest = message.partition("invalid choice: '")
        if choice:  # among its own
            word, _, listed = rest.partition("' (choose from ")
            words = [name.strip("') ") for name in listed.split(",")]
        else:
            unknown = message.removeprefix(UNKNOWN)
            word = (unknown.split("=")[0].split() or [""])[0]
            words = [option for options in known.values() for option in options]
            if not unknown.strip():
                message = f"{UNKNOWN}'': {EMPTY}"
        close = difflib.get_close_matches(word, words, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if owners := [name for name, options in known.items() if word in options and name]:
            hint = f"; it goes with {', '.join(owners)}"
        raise UserError(f"{message}{hint} ({self.prog} --help explains)")


def parser() -> Parser:
    main = Parser(
        "launch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = main.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, about: str, epilog: str = EPILOG, **options) -> Parser:
        return commands.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", epilog=epilog, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter, **options,
        )  # fmt: skip

    train = command("train", "train a config, or continue what its run directory holds")
    train.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="what to train")
    train.add_argument("--workdir", type=directory, metavar="DIR", help="the run directory; made if it is not there")
    train.add_argument("--dry-run", action="store_true", help="print parameters, FLOPs and memory per device, and stop")

    sample = command("sample", "draw from a trained run")
    sample.add_argument("--workdir", required=True, type=directory, metavar="DIR", help="the run directory")
    sample.add_argument("--out", required=True, metavar="FILE.png|FILE.gif|FILE.npz|FOLDER/",
                        help="a grid, a film of the sampler's way, an archive (x, label), or one PNG each")  # fmt: skip
    sample.add_argument("--num", type=int, default=64, help="how many (64); sample i is the same whatever their number")
    sample.add_argument("--seed", type=int, default=0, help="another seed draws other samples (0)")
    sample.add_argument("--label", type=int, help="the class to draw, for a model with labels (each in turn)")
    sample.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="what to draw, for a model with "
                        "captions (those of its data); given several times, each in turn, a row each")  # fmt: skip
    sample.add_argument("--negative", metavar="TEXT", help="what to be guided away from, with a --guidance above 1")
    sample.add_argument("--attention", action="store_true", help="a film, --out=FILE.gif, of where in the image each "
                        "word is attended to")  # fmt: skip
    sample.add_argument("--guidance", type=float, metavar="S", help="D_u + S (D_c - D_u): 1 is the conditional model")
    sample.add_argument("--batch", type=int, default=0, help="samples drawn at once (eval.batch_size; of a photo 16)")

    photo = sample.add_argument_group(
        "editing a photo",
        "a photo of any mode and size is brought to the model's, and it is said how; pictures and films show it first",
    )
    photo.add_argument("--image", type=Path, metavar="FILE", help="the photo; with one of the next four, or with none "
                       "for a model trained with method.super_resolution: images that fit it")  # fmt: skip
    photo.add_argument("--strength", type=float, metavar="S", help="SDEdit: noise it as far as the last share S of the "
                       "steps undo; 0 is the photo itself, 1 ignores it")  # fmt: skip
    photo.add_argument("--mask", type=Path, metavar="FILE", help="paint where this is white (grey 128 or more), and "
                       "keep the rest to the last bit; of the photo's size")  # fmt: skip
    photo.add_argument("--noise", type=float, metavar="GREYS", help="the photo has Gaussian noise of this standard "
                       "deviation, in greys of 0 to 255: draw what may be under it")  # fmt: skip
    photo.add_argument("--upscale", type=int, metavar="K", help="the photo is K times smaller than the model's images: "
                       "draw images whose K x K means it is")  # fmt: skip
    photo.add_argument("--inpaint", choices=("repaint", "posterior"), help="repaint (the default): back and forth; "
                       "posterior: the denoiser's derivative carries the known part over")  # fmt: skip
    photo.add_argument("--resamples", type=int, metavar="R", help="repaint: how often each stretch is walked (10)")
    photo.add_argument("--jump", type=int, metavar="J", help="repaint: steps in a stretch (4%% of the sampler's)")

    evaluate = command("evaluate", "measure a trained run, or anyone's images against a reference")
    evaluate.add_argument("--workdir", type=directory, metavar="DIR", help="the run directory; or --samples")
    evaluate.add_argument("--metrics", metavar="A,B", help="which (eval.metrics): fid, kid, prdc, memorisation, ...; a "
                          "feature network may stand after a colon, as in kid:pixels")  # fmt: skip
    evaluate.add_argument("--features", metavar="NAME", help="the network of metrics that name none: inception, "
                          "inception_clean, dinov2, classifier, pixels (eval.features)")  # fmt: skip
    evaluate.add_argument("--num", type=int, help="samples to draw (eval.num)")
    evaluate.add_argument("--seed", type=int, help="seed of the samples (the run's)")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json", help="the numbers, with how they were measured (of "
                          "a run: in its evals/)")  # fmt: skip

    evaluate.add_argument("--compare", nargs="+", type=Path, metavar="FILE.json", help="show these evaluations beside "
                          "each other, with mean and spread; an error where their protocols differ")  # fmt: skip

    images = evaluate.add_argument_group("anyone's images", "instead of --workdir")
    images.add_argument("--samples", metavar="FOLDER|FILE.npz", help="the images to judge")
    images.add_argument("--reference", metavar="FOLDER|FILE.npz|tfds:NAME", help="what to compare them with: images, a "
                        "data source by name, or a file that --statistics made")  # fmt: skip
    images.add_argument("--split", choices=("train", "heldout"), help="of a data source (train), where it does "
                        "not say so itself, as in tfds:mnist@heldout")  # fmt: skip
    images.add_argument("--weights", default="", metavar="FILE", help="the network's (the cache, or a download)")
    images.add_argument("--precision", metavar="highest|tensorfloat32|default", help="of the network's matrix products "
                        "on a GPU: tensorfloat32 is faster, and what PyTorch does (highest)")  # fmt: skip
    images.add_argument("--classifier", default="", metavar="DIR", help="the run whose features 'classifier' are")
    images.add_argument("--statistics", type=Path, metavar="FILE.npz", help="keep the reference's moments here")
    for drawing in (sample, evaluate):
        drawing.add_argument("--step", type=step, metavar="N|best", help="the checkpoint to use (the last)")
        drawing.add_argument("--ema", type=float, metavar="SIGMA_REL",
                             help="average the weights with this relative width, such as 0.13, whatever widths were "
                             "kept in training; needs a run with ema.name=power (the run's own average)")  # fmt: skip

    prepare = command("prepare", "download and prepare the TFDS data set of a config; needs the extra `prepare`")
    prepare.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="whose data set")

    table = command(
        "ablate", "run the table of a paper at a budget, continue it, and print it beside the paper's", epilog=""
    )
    table.add_argument("experiment", type=word, metavar="experiments/X.py", help="the table")
    table.add_argument("--budget", default="minute", metavar="minute|hour|quarter|day|paper", help="how "
                       "long it may take: minute (a smoke test, not kept), hour (2 cores), quarter (of an hour, on a "
                       "GPU), day (a GPU), paper")  # fmt: skip
    table.add_argument("--backend", default="local", choices=("local", "slurm", "print"), help="processes here, job "
                       "arrays, or one shell line for each run (local)")  # fmt: skip
    table.add_argument("--workdir", type=directory, metavar="DIR", help="where the runs live (runs/ablations)")
    table.add_argument("--slots", type=int, default=0, metavar="N", help="local: processes at once (one for each GPU, "
                       "which more of them share, or for each two cores)")  # fmt: skip
    table.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="slurm: an option of sbatch, "
                       "such as partition=gpu, gres=gpu:a100:1, mem=32G, account=NAME; may be repeated (2 cores, a GPU "
                       "for budgets that are of one)")  # fmt: skip
    table.add_argument("--rerun-stale", action="store_true", help="set aside what older code made, and run it again")
    table.add_argument("--missing", action="store_true", help="run only what the ledger lacks of today's code: to go "
                       "on with a table without its run directories")  # fmt: skip
    table.add_argument(
        "--run", type=word, metavar="ID", help="carry out one run of the table in this process, as backends do"
    )

    shown = command("report", "show what was reproduced: Markdown, and a page", epilog="")
    shown.add_argument(
        "experiment", nargs="?", type=word, metavar="experiments/X.py", help="one table (all that there are)"
    )
    shown.add_argument("--workdir", type=directory, metavar="DIR", help="where the runs live (runs/ablations)")
    shown.add_argument(
        "--out", type=Path, metavar="FILE.html", help="also a page with tables, curves, samples and films"
    )
    return main


def train(arguments, overrides):
    from diffjax import config as configs
    from diffjax.dry_run import dry_run
    from diffjax.train import train

    config = configs.override(configs.load(arguments.config), overrides)
    if arguments.dry_run:
        print(dry_run(config))
        return
    if arguments.workdir is None:
        raise UserError("--workdir: train needs a run directory, such as --workdir=runs/digits (or --dry-run)")
    train(config, arguments.workdir)


def sample(arguments, overrides):
    from diffjax.drawing.draw import draw
    from diffjax.drawing.edits import Request
    from diffjax.drawing.prompts import Words

    request = Request(**{field: getattr(arguments, field) for field in Request.__dataclass_fields__})
    words = Words(tuple(arguments.prompt), arguments.negative)
    run = opened(arguments, overrides)
    a = arguments
    draw(run, a.out, a.num, a.seed, a.label, a.guidance, a.batch, request, words, a.attention)


def evaluate(arguments, overrides):
    from diffjax import parallel
    from diffjax.evaluate import evaluate
    from diffjax.measures import Evidence, choose
    from diffjax.measures.choice import check_features
    from diffjax.measures.report import check_measured, check_place, table
    from diffjax.measures.side_by_side import side_by_side
    from diffjax.progress import aside

    if arguments.compare:
        for flag in [*given(arguments), *(f"config.{path}" for path, _ in overrides)]:
            if flag != "compare":
                raise UserError(f"--{flag}: --compare only reads evaluations that there are; leave one out")
        print(side_by_side(arguments.compare))
        return
    if arguments.samples or arguments.reference:
        compare(arguments, overrides)
        return
    if arguments.workdir is None:
        raise UserError("--workdir: evaluate needs a run directory, or --samples and --reference")
    for flag in given(arguments):
        if flag in ("statistics", "weights", "precision", "classifier", "split"):
            raise UserError(f"--{flag}: goes with --samples; of a run it is a key of its config")
    if arguments.out:
        check_place(arguments.out, "--out", ".json")
    features = [("eval.features", arguments.features)] if arguments.features else []
    run = opened(arguments, overrides + features)
    config = run.experiment.config
    names = words_of(arguments.metrics) or config.eval.metrics
    if not names:
        raise UserError("--metrics: this run's config chooses none; give some, such as --metrics=frechet_pixels")
    num = config.eval.num if arguments.num is None else arguments.num
    if num < 2:
        raise UserError(f"--num: {num} is too few samples to be measured; at least 2")
    choice = choose(names, run.experiment, num)
    check_features(arguments.features, choice.metrics)
    seed = config.seed if arguments.seed is None else arguments.seed
    evidence = Evidence(run.experiment, run.state, num, seed, choice, run.weights, say=aside)
    scores = evaluate(evidence, arguments.workdir, run.step, arguments.out)
    if parallel.is_main():
        print(table(scores))
    check_measured(scores)


def compare(arguments, overrides):
    from diffjax import parallel
    from diffjax.compare import Comparison, compare
    from diffjax.measures.report import table

    for flag in ("samples", "reference"):
        if not getattr(arguments, flag):
            raise UserError(f"--{flag}: two sets of images are compared, --samples with --reference")
    for flag in given(arguments):
        if flag in ("workdir", "num", "seed", "step", "ema"):
            raise UserError(f"--{flag}: is of a trained run; --samples are what they are")
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: there is no run whose config it could be")
    asked = {flag: value for flag, value in given(arguments).items() if flag in Comparison.__dataclass_fields__}
    if arguments.metrics:
        asked["metrics"] = words_of(arguments.metrics)
    try:
        scores = compare(Comparison(**asked))
    except UserError as error:  # what a run's config calls eval.X is here a flag
        raise error.about("eval.", "--") from None
    if parallel.is_main():
        print(table(scores))


def prepare(arguments, overrides):
    from diffjax import config as configs
    from diffjax.config import build
    from diffjax.data.tfds import TFDS, prepare

    source = build("data", configs.override(configs.load(arguments.config), overrides).data)
    source = getattr(source, "digits", source)  # what stacked_mnist stacks
    if not isinstance(source, TFDS):
        raise UserError(f"--config: {arguments.config} reads no TFDS data set; there is nothing to prepare")
    prepare(source)


def ablate(arguments, overrides):
    from diffjax.ablation.ablate import ROOT, ablate, run_one

    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: a table's configs are what its file says; change it there")
    root = arguments.workdir or ROOT
    if arguments.run:
        run_one(arguments.experiment, arguments.budget, root, arguments.run)
        return
    ablate(
        arguments.experiment, arguments.budget, arguments.backend, root, arguments.slots, arguments.rerun_stale,
        arguments.missing, arguments.slurm,
    )  # fmt: skip


def report(arguments, overrides):
    from diffjax.ablation.ablate import ROOT
    from diffjax.ablation.report import report

    print(report([arguments.experiment] if arguments.experiment else [], arguments.workdir or ROOT, arguments.out))


COMMANDS = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "prepare": prepare,
    "ablate": ablate,
    "report": report,
}


def opened(arguments, overrides):
    """The run in --workdir, with overrides of how it is drawn from and measured, not of what it is."""
    from diffjax import config as configs
    from diffjax import parallel
    from diffjax.precision import Precision
    from diffjax.run import load
    from diffjax.workdir import elsewhere, read_config

    for path, _ in overrides:
        if path.split(".")[0] not in ("sampler", "eval", "parallel") and not configs.is_place(path):
            raise UserError(
                f"--config.{path}: the run is trained; only sampler.*, eval.* and parallel.* can be changed now"
            )
    config = configs.override(elsewhere(read_config(arguments.workdir)), overrides)
    Precision(**config.precision).apply()
    run = load(arguments.workdir, config, arguments.step, arguments.ema)
    if arguments.ema is not None and parallel.is_main():
        print(f"weights: {run.weights} (0 fits exactly; more snapshots, ema.snapshot_every, fit better)")
    return run


def given(arguments) -> dict[str, Any]:
    """The flags of a command that were given, even as 0, with their values."""
    return {
        flag: value
        for flag, value in vars(arguments).items()
        if flag != "command" and value not in (None, "", []) and value is not False
    }


def step(text: str) -> int | str:
    if text == "best" or text.isdigit():
        return text if text == "best" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a step's number nor 'best'")


def word(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(EMPTY)
    return text


def directory(text: str) -> Path:
    return Path(word(text))


def words_of(text: str | None) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def split_overrides(words: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The command line without its `--config.a.b=v` words (or `--config.a.b v`), and these as ("a.b", "v")."""
    rest, overrides, words = [], [], list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--config."):
            rest.append(word)
            continue
        path, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not words:
                raise UserError(f"{word}: no value; write {word}=VALUE")
            value = words.pop(0)
        overrides.append((path, value))
    return rest, overrides


def main(words: list[str]) -> int:
    def act(arguments: argparse.Namespace) -> int:
        rest, overrides = split_overrides(words)
        known = parser()
        if not rest:
            known.print_help()
            return 2
        known.parse_args(rest, arguments)
        set_up()
        COMMANDS[arguments.command](arguments, overrides)
        return 0

    return guarded("launch.py", act)


def guarded(name: str, act: Callable[[argparse.Namespace], int]) -> int:
    """The exit status of a command, which is `act`'s, or that of what went wrong, said in one line on stderr.

    `act` parses its command line into the namespace that it is given: what is there says what could not be written.
    """
    arguments = argparse.Namespace()

    def ends(status: int, said: object) -> int:
        print(f"{name}: {said}", file=sys.stderr)
        return status

    try:
        return act(arguments)
    except Taken as error:
        return ends(TAKEN if getattr(arguments, "run", None) else 2, error)
    except UserError as error:
        return ends(2, error)
    except Diverged as error:
        return ends(3, error)
    except KeyboardInterrupt:
        return ends(130, "interrupted; what was written is kept, and the same command goes on")
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or getattr(arguments, "workdir", None) or getattr(arguments, "out", "")
        denied = isinstance(error, PermissionError | NotADirectoryError | FileExistsError | IsADirectoryError)
        if denied or error.errno == errno.EROFS:
            return ends(2, f"cannot write {where} ({error.strerror}); choose another place")
        if error.errno not in NO_ROOM:
            raise
        return ends(2, f"no room to write {where} ({error.strerror}); free some space and run it again")


def set_up() -> None:
    """What a process needs before its first computation: kept programs, XLA's flags, and the other hosts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "diffjax" / "xla"))
    from diffjax import parallel
    from diffjax.xla import choose_kernels

    choose_kernels()
    parallel.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
