"""The command line of diffjax: train, sample, evaluate, prepare, ablate and report.

`main` splits off the `--config.KEY=VALUE` overrides, parses the rest, prepares the process and calls the command's
function. A mistake of the user's ends it with one line on stderr and status 2 (diffjax/errors.py).
"""

import argparse
import sys
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from diffjax.cli import Parser, given, guarded, path, place, set_up, split_commas, split_overrides, word
from diffjax.errors import UserError

MAIN_EPILOG = "`launch.py COMMAND --help` explains a command."
CONFIG_EPILOG = """config files:
  --config=configs/digits.py       a file with a function get_config()
  --config=configs/toy2d.py:moons  one of its variants

config overrides:
  --config.train.steps=2000        change a key; the value must have its type
  --config.sampler.name=ddim       choose another component; its own defaults
                                   replace the old one's keys
"""
RUN_EPILOG = """config overrides:
  --config.sampler.steps=50        change a key of the run's config: sampler.*,
                                   eval.*, parallel.*, or the path of its data
                                   or text encoder
  --config.sampler.name=ddim       choose another sampler, with its defaults
"""
WIDTH = 78  # characters in a line of a help text, for a terminal of 80 columns


# ------------------------------------------------------------------------------------------------ flags of the commands

# fmt: off


def step(text: str) -> int | str:
    if text == "best" or text.isdigit():
        return text if text == "best" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} must be the number of a step, or 'best'")


def train_flags(command: Parser) -> None:
    command.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="the config to train")
    command.add_argument("--workdir", type=path, metavar="DIR", help="the run directory; created if missing")
    command.add_argument("--dry-run", action="store_true", help="print parameters, FLOPs and memory per device, then "
                         "exit")


def sample_flags(command: Parser) -> None:
    command.add_argument("--workdir", required=True, type=path, metavar="DIR", help="the run directory")
    command.add_argument("--out", required=True, type=place, metavar="FILE.png|FILE.gif|FILE.npz|FOLDER/", help="where "
                         "to write: .png is a grid of samples, .gif an animation of the sampling steps, .npz the "
                         "arrays x and asked, and label or caption, a folder one PNG per sample")
    command.add_argument("--num", type=int, default=64, metavar="N", help="number of samples (default: 64); sample i "
                         "is the same for every N")
    command.add_argument("--seed", type=int, default=0, metavar="SEED", help="seed of the samples (default: 0)")
    command.add_argument("--label", type=int, metavar="CLASS", help="class to draw, for a class-conditional model "
                         "(default: all classes in turn)")
    command.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="caption to draw, for a "
                         "text-to-image model (default: captions of its data in turn); repeat it for several prompts, "
                         "which get rows of their own")
    command.add_argument("--negative", metavar="TEXT", help="negative prompt: guide away from this caption; needs a "
                         "guidance scale above 1")
    command.add_argument("--attention", action="store_true", help="write a film (--out=FILE.gif) of where in the "
                         "image the model attends to each word")
    command.add_argument("--guidance", type=float, metavar="S", help="guidance scale: D_u + S (D_c - D_u), so 1 is "
                         "the conditional model (default: the config's sampler.guidance.scale)")
    command.add_argument("--batch", type=int, default=0, metavar="N", help="samples drawn at once (default: --num, "
                         "rounded up to a power of two, but at most eval.batch_size, or 16 of an edit)")
    checkpoint_flags(command)
    photo_flags(command)


def photo_flags(command: Parser) -> None:
    photo = command.add_argument_group(
        "editing a photo",
        textwrap.fill(
            "The photo may have any mode and size: it is cropped, resized and converted to the model's format, and a "
            "printed line says how. Pictures and films show it before its edits.",
            WIDTH - 2,
        ),
    )
    photo.add_argument("--image", type=path, metavar="FILE", help="the photo; give one of --strength, --mask, --noise "
                       "and --upscale with it. A super-resolution model (method.super_resolution) needs none of them: "
                       "it draws images that match the photo")
    photo.add_argument("--strength", type=float, metavar="S", help="SDEdit: fraction of the steps to run, from 0 to "
                       "1; 0 returns the photo, 1 ignores it")
    photo.add_argument("--mask", type=path, metavar="FILE", help="inpaint where this picture of the photo's size is "
                       "white (grey 128 or more); all other pixels stay exactly as they are")
    photo.add_argument("--noise", type=float, metavar="STD", help="denoise: the photo has Gaussian noise of this "
                       "standard deviation, in pixel values of 0 to 255")
    photo.add_argument("--upscale", type=int, metavar="K", help="draw images whose KxK block means equal the photo, "
                       "which is K times smaller than the model's images")
    photo.add_argument("--inpaint", choices=("repaint", "posterior"), help="method for --mask. repaint: alternate "
                       "denoising and renoising (RePaint). posterior: guide by the denoiser's Jacobian (default: "
                       "repaint)")
    photo.add_argument("--resamples", type=int, metavar="R", help="repaint: passes over each stretch of steps "
                       "(default: 10)")
    photo.add_argument("--jump", type=int, metavar="J", help="repaint: steps in a stretch (default: 4%% of the "
                       "sampler's steps)")


def evaluate_flags(command: Parser) -> None:
    command.add_argument("--workdir", type=path, metavar="DIR", help="the run directory; leave it out to compare two "
                         "sets of images, or with --compare")
    command.add_argument("--metrics", metavar="A,B", help="metrics such as fid, kid, prdc or memorisation, each with "
                         "a feature network after a colon if it needs another than --features: kid:pixels (default: "
                         "eval.metrics; of two sets of images frechet)")
    command.add_argument("--features", metavar="NAME", help="feature network of the metrics that name none: "
                         "inception, inception_torch, inception_clean, dinov2, classifier or pixels (default: "
                         "eval.features; of two sets of images inception)")
    command.add_argument("--num", type=int, metavar="N", help="number of samples to draw (default: eval.num)")
    command.add_argument("--seed", type=int, metavar="SEED", help="seed of the samples (default: the run's)")
    command.add_argument("--out", type=path, metavar="FILE.json", help="write the scores and how they were measured "
                         "here (default: evals/ of the run; of two sets of images nowhere)")
    command.add_argument("--compare", nargs="+", type=path, metavar="FILE.json", help="print these evaluations side "
                         "by side, with mean and spread; an error if their protocols differ")
    checkpoint_flags(command)
    images_flags(command)


def images_flags(command: Parser) -> None:
    images = command.add_argument_group(
        "comparing two sets of images", "Give --samples and --reference instead of --workdir."
    )
    images.add_argument("--samples", type=place, metavar="FOLDER|FILE.npz|tfds:NAME", help="the images to "
                         "measure, or a data source by name")
    images.add_argument("--reference", type=place, metavar="FOLDER|FILE.npz|tfds:NAME", help="the images to compare "
                        "them with, a data source by name, or a file written by --statistics")
    images.add_argument("--split", choices=("train", "heldout"), help="split of a data source whose name does not "
                        "choose one as tfds:mnist@heldout does (default: train)")
    images.add_argument("--weights", type=place, metavar="FILE", help="weights of the feature network (default: the "
                        "cache, or a download)")
    images.add_argument("--precision", metavar="highest|tensorfloat32|default", help="precision of the feature "
                        "network's matrix products on a GPU; tensorfloat32 is faster, and what PyTorch uses (default: "
                        "highest)")
    images.add_argument("--classifier", type=place, metavar="DIR", help="run directory of the classifier used by "
                        "features 'classifier'")
    images.add_argument("--statistics", type=path, metavar="FILE.npz", help="write the moments of the reference's "
                        "features here, to use as a --reference later")


def checkpoint_flags(command: Parser) -> None:
    command.add_argument("--step", type=step, metavar="N|best", help="checkpoint to use (default: the last)")
    command.add_argument("--ema", type=float, metavar="SIGMA_REL", help="average the weights with this relative "
                         "width, such as 0.13; it need not be one that training used, but the run must have "
                         "ema.name=power (default: the run's own average)")


def prepare_flags(command: Parser) -> None:
    command.add_argument("--config", required=True, metavar="FILE.py[:VARIANT]", help="a config with the data set")


def ablate_flags(command: Parser) -> None:
    command.add_argument("experiment", type=word, metavar="experiments/X.py", help="the table")
    command.add_argument("--budget", default="minute", metavar="minute|hour|quarter|day|paper", help="rough size "
                         "of each run, of which a table has many: minute (a smoke test that the ledger does not keep), "
                         "hour (on 2 cores), quarter (a quarter of an hour on a GPU), day (on a GPU) or paper "
                         "(default: minute)")
    command.add_argument("--backend", choices=("local", "slurm", "print"), help="local: processes on "
                         "this machine; slurm: job arrays; print: only print one shell command per run (default: "
                         "local)")
    command.add_argument("--workdir", type=path, metavar="DIR", help="directory of the runs (default: runs/ablations)")
    command.add_argument("--slots", type=int, default=0, metavar="N", help="local: parallel processes, which may "
                         "share a GPU (default: one per GPU, one on a TPU, else one per two cores)")
    command.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="slurm: an option of "
                         "sbatch, such as partition=gpu, gres=gpu:a100:1, mem=32G, time=MINUTES or account=NAME; may "
                         "be repeated (default: 2 cores, and one GPU for the budgets that need one)")
    command.add_argument("--rerun-stale", action="store_true", help="set aside the results of older code and run them "
                         "again")
    command.add_argument("--missing", action="store_true", help="run only cells that the ledger lacks for today's "
                         "code; earlier run directories are not needed")
    command.add_argument("--run", type=word, metavar="ID", help="do one run of the table in this process; the "
                         "backends use it")


def report_flags(command: Parser) -> None:
    command.add_argument("experiment", nargs="?", type=word, metavar="experiments/X.py", help="one table (default: "
                         "all, which are also written to experiments/README.md)")
    command.add_argument("--workdir", type=path, metavar="DIR", help="directory of the runs (default: runs/ablations)")
    command.add_argument("--out", type=path, metavar="FILE.html", help="also write an HTML page with tables, curves, "
                         "samples and films")


# fmt: on

# --------------------------------------------------------------------------------------------------------- the commands


def train(arguments, overrides):
    from diffjax import config as configs
    from diffjax.training.dry_run import dry_run
    from diffjax.training.loop import train

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

    request = Request(**{field: getattr(arguments, field) for field in Request.__dataclass_fields__})
    draw(
        opened(arguments, overrides),
        out=arguments.out,
        num=arguments.num,
        seed=arguments.seed,
        label=arguments.label,
        prompts=arguments.prompt,
        negative=arguments.negative,
        guidance=arguments.guidance,
        batch=arguments.batch,
        request=request,
        attention=arguments.attention,
    )


def evaluate(arguments, overrides):
    from diffjax.evaluation.evaluate import evaluate_run
    from diffjax.evaluation.report import check_measured, check_place
    from diffjax.evaluation.side_by_side import side_by_side

    if arguments.compare:
        for flag in [*given(arguments), *(f"config.{path}" for path, _ in overrides)]:
            if flag != "compare":
                raise UserError(f"--{flag}: cannot be combined with --compare, which only reads earlier evaluations")
        print(side_by_side(arguments.compare))
        return
    if arguments.samples or arguments.reference:
        evaluate_images(arguments, overrides)
        return
    if arguments.workdir is None:
        raise UserError("--workdir: missing; evaluate needs a run directory, or --samples and --reference")
    for flag in given(arguments):
        if flag in ("statistics", "weights", "precision", "classifier", "split"):
            raise UserError(f"--{flag}: applies to --samples; for a trained run, override its config")
    if arguments.out:  # before the run is opened, which takes a while
        check_place(arguments.out, "--out", ".json")
    metrics, features = split_commas(arguments.metrics), arguments.features or ""
    run, num, seed = opened(arguments, overrides), arguments.num, arguments.seed
    check_measured(evaluate_run(run, metrics, num, seed, features, arguments.out, show=print))


def evaluate_images(arguments, overrides):
    """`evaluate` of two sets of images, without a trained run."""
    from diffjax.evaluation.compare import Comparison, compare

    for flag in ("samples", "reference"):
        if not getattr(arguments, flag):
            raise UserError(f"--{flag}: missing; two sets of images are compared, --samples with --reference")
    for flag in given(arguments):
        if flag in ("workdir", "num", "seed", "step", "ema"):
            raise UserError(f"--{flag}: applies to a trained run, not to --samples")
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: needs --workdir; --samples has no config")
    fields = {flag: value for flag, value in given(arguments).items() if flag in Comparison.__dataclass_fields__}
    if arguments.metrics:
        fields["metrics"] = split_commas(arguments.metrics)
    compare(Comparison(**fields), show=print)


def prepare(arguments, overrides):
    from diffjax import config as configs
    from diffjax.config import build
    from diffjax.data.tfds import TFDS, prepare

    source = build("data", configs.override(configs.load(arguments.config), overrides).data)
    source = getattr(source, "digits", source)  # the digits that stacked_mnist stacks
    if not isinstance(source, TFDS):
        raise UserError(f"--config: {arguments.config} does not use a TFDS data set, so there is nothing to prepare")
    prepare(source)


def refuse(overrides, experiment):
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: a table's configs cannot be overridden; change {experiment}")


def ablate(arguments, overrides):
    from diffjax.ablation.ablate import ROOT, ablate, run_one

    refuse(overrides, arguments.experiment)
    root = arguments.workdir or ROOT
    if arguments.run:
        for flag in ("backend", "slots", "rerun_stale", "missing", "slurm"):
            if getattr(arguments, flag):
                raise UserError(f"--{flag.replace('_', '-')}: applies to the whole table, not to --run")
        run_one(arguments.experiment, arguments.budget, root, arguments.run)
        return
    ablate(
        arguments.experiment,
        budget=arguments.budget,
        backend=arguments.backend or "local",
        root=root,
        slots=arguments.slots,
        rerun_stale=arguments.rerun_stale,
        missing=arguments.missing,
        slurm_options=arguments.slurm,
    )


def report(arguments, overrides):
    from diffjax.ablation.ablate import ROOT
    from diffjax.ablation.report import report

    refuse(overrides, arguments.experiment or "the experiment file")
    paths = [arguments.experiment] if arguments.experiment else []
    print(report(paths, root=arguments.workdir or ROOT, out=arguments.out))


def opened(arguments, overrides):
    """The run in --workdir, with overrides of how samples are drawn and measured."""
    import diffjax
    from diffjax import parallel

    run = diffjax.load(arguments.workdir, overrides, arguments.step, arguments.ema)
    if arguments.ema is not None and parallel.is_main():
        print(f"weights: {run.weights} (0 is an exact fit; more snapshots, ema.snapshot_every, fit better)")
    return run


class Command(NamedTuple):
    """A command: its flags, and what it does with their values and the overrides."""

    act: Callable[[argparse.Namespace, list[tuple[str, str]]], None]
    add_flags: Callable[[Parser], None]
    summary: str
    epilog: str = ""


COMMANDS = {
    "train": Command(train, train_flags, "train a config, or continue its run", CONFIG_EPILOG),
    "sample": Command(sample, sample_flags, "draw samples from a trained run, or edit a photo with it", RUN_EPILOG),
    "evaluate": Command(
        evaluate, evaluate_flags, "measure a trained run, or one set of images against another", RUN_EPILOG
    ),
    "prepare": Command(
        prepare,
        prepare_flags,
        "download and prepare the TFDS data set of a config; needs the extra `prepare`",
        CONFIG_EPILOG,
    ),
    "ablate": Command(ablate, ablate_flags, "reproduce a table of a paper and print it beside the paper's"),
    "report": Command(report, report_flags, "print the reproduced tables as Markdown"),
}


def parser() -> Parser:
    launch = Parser(
        "launch.py",
        description="Trains diffusion models and GANs, draws from them, measures them, and reproduces papers' tables.",
        epilog=MAIN_EPILOG,
        allow_abbrev=False,
    )
    commands = launch.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.summary,
            description=textwrap.fill(f"{command.summary[0].upper()}{command.summary[1:]}.", WIDTH),
            epilog=command.epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_flags(subparser)
    return launch


def main(words: list[str]) -> int:
    def act(arguments: argparse.Namespace) -> int:
        others, overrides = split_overrides(words)
        main_parser = parser()
        if not others:
            main_parser.print_help()
            return 2
        main_parser.parse_args(others, arguments)
        set_up()
        COMMANDS[arguments.command].act(arguments, overrides)
        return 0

    return guarded("launch.py", act)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
