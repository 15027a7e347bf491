"""Saves and restores checkpoints: state, data position and metadata as one. The only module that uses Orbax."""

import errno
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from diffjax.errors import NO_ROOM, UserError
from diffjax.metrics.better import better
from diffjax.parallel import Tree

PARTS = ("state", "window", "facts", "_CHECKPOINT_METADATA")  # of a complete checkpoint
SNAPSHOT_PARTS = ("averages", "_CHECKPOINT_METADATA")


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the one with the best value of the metric `best`.

    A checkpoint at a step that is not `planned`, which a signal asked for, does not count: it is kept besides, until
    the next one. The subfolder `averages` holds snapshots of the averaged weights, all of which are kept.

    Saving is asynchronous. A checkpoint gets its final name only when it is complete, so a save cut short by a kill or
    a full disk is never mistaken for a checkpoint. Its remains are removed when the run continues.
    """

    def __init__(
        self,
        directory: Path,
        keep: int = 2,
        best: str = "",
        planned: Callable[[int], bool] = lambda step: True,
        read_only: bool = False,
    ):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax raises the errors it logs, too
        preserved = [policies.LatestN(1), _LastPlanned(keep, planned)]
        mode = "max" if better(best.removeprefix("eval/")) == "greatest" else "min"
        if best:
            by_metric = policies.BestN(
                get_metric_fn=lambda metrics: metrics[best],
                reverse=mode == "min",
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            preserved.append(by_metric)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(preserved),
            best_fn=(lambda metrics: metrics[best]) if best else None,
            best_mode=mode,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self.directory = Path(directory).absolute()
        self.read_only = read_only
        if not read_only and jax.process_index() == 0:
            self._set_aside_incomplete()
        self.best_metric = best
        self.manager = ocp.CheckpointManager(self.directory, options=options)
        self._managers = [self.manager]  # the open ones

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with _ExplainedErrors(self.directory):
            for manager in self._managers:
                manager.close()  # waits for the current save and raises its error

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        return [step for step in sorted(self.manager.all_steps()) if not _missing(self.directory / str(step))]

    def latest(self) -> int | None:
        """The step of the last complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def best(self) -> dict[str, float] | None:
        """The step of the best checkpoint and the value of its metric; None if there is none yet."""
        step = self.manager.best_step() if self.best_metric else None
        return None if step is None else {"step": step, self.best_metric: self.manager.metrics(step)[self.best_metric]}

    def _set_aside_incomplete(self) -> None:
        """Moves folders that have a checkpoint's name but lack parts to `incomplete`: they would block new saves."""
        for path in self.directory.glob("[0-9]*"):
            if path.name.isdigit() and (missing := _missing(path)):
                aside = self.directory.with_name("incomplete") / path.name
                aside.parent.mkdir(exist_ok=True)
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                print(f"checkpoint {path.name} is incomplete (no {', '.join(missing)}): moved to {aside}", flush=True)

    def save(self, step: int, arrays: dict[str, Tree], facts: dict, metrics: dict[str, float]) -> None:
        """Saves in the background, returning once the arrays are off the device. Raises the error of the previous save.

        `arrays` are the trees "state" and "window", `facts` is a JSON dictionary, and `metrics` has the value that the
        best checkpoint is chosen by.
        """
        with _ExplainedErrors(self.directory):
            self.wait()  # for snapshots too: a checkpoint must not exist before the snapshots of earlier steps
            if step in self.steps():
                return
            trees = self._to_save(arrays)
            finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
            saved = self.manager.save(
                step,
                args=ocp.args.Composite(**trees, facts=ocp.args.JsonSave(facts)),
                metrics=finite if self.best_metric in finite else None,
            )
            if not saved:
                raise RuntimeError(f"Orbax refused to save step {step} beside {self.manager.all_steps()}")

    def _to_save(self, arrays: dict[str, Tree]) -> dict[str, Any]:
        """The Orbax arguments that save these trees. Raises OSError at once if the disk has no room for them."""
        if shutil.disk_usage(self.directory).free < sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}

    def wait(self) -> None:
        """Waits until every save is on disk, and raises the error of one that failed."""
        with _ExplainedErrors(self.directory):
            for manager in self._managers:
                manager.wait_until_finished()

    def restore(self, step: int, **arrays: Tree) -> dict[str, Any]:
        """Restores parts saved at `step` by name, and "facts".

        Each part is given as a tree of `jax.ShapeDtypeStruct` with the shardings to restore it to, so the devices may
        differ from those it was saved on.
        """
        trees = {name: ocp.args.StandardRestore(tree) for name, tree in arrays.items()}
        return dict(self.manager.restore(step, args=ocp.args.Composite(**trees, facts=ocp.args.JsonRestore())))

    # Snapshots of averages have their own manager, opened when first needed; only then is their folder created.

    @property
    def averages_at(self) -> Path:
        return self.directory / "averages"

    @cached_property
    def _averages(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None,
            cleanup_tmp_directories=not self.read_only,
            create=not self.read_only,
            read_only=self.read_only,
        )
        self._managers.append(ocp.CheckpointManager(self.averages_at, options=options))
        return self._managers[-1]

    def snapshots(self) -> list[int]:
        """The steps of the complete snapshots of the averages, ascending."""
        if not self.averages_at.is_dir():
            return []
        steps = sorted(self._averages.all_steps())
        return [step for step in steps if not _missing(self.averages_at / str(step), SNAPSHOT_PARTS)]

    def save_averages(self, step: int, averages: Tree) -> None:
        """Saves a snapshot of the averages after `step`, which is never deleted. In the background, like `save`."""
        with _ExplainedErrors(self.directory):
            self._averages.wait_until_finished()
            if step in self.snapshots():
                return
            saved = self._averages.save(step, args=ocp.args.Composite(**self._to_save({"averages": averages})))
            if not saved:
                raise RuntimeError(f"Orbax refused to save the averages of step {step} in {self.averages_at}")

    def restore_averages(self, step: int, averages: Tree) -> Tree:
        """Restores the snapshot after `step`; `averages` gives shapes and shardings as in `restore`."""
        args = ocp.args.Composite(averages=ocp.args.StandardRestore(averages))
        return self._averages.restore(step, args=args).averages

    def drop_averages_after(self, step: int) -> None:
        """Deletes the snapshots after the checkpoint that a run continues from: it will reach their steps again."""
        if self.averages_at.is_dir():
            for snapshot in self._averages.all_steps():
                if snapshot > step:
                    self._averages.delete(snapshot)


@dataclass
class _LastPlanned(policies.PreservationPolicy):
    """Preserves the last `keep` of the checkpoints at planned steps."""

    keep: int
    planned: Callable[[int], bool]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: policies.PreservationContext) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = [step for step in steps if self.planned(step)][-self.keep :]
        return [step in kept for step in steps]


def complete_steps(directory: Path) -> list[int]:
    """The steps of the complete checkpoints in a directory, which is only read."""
    return [int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit() and not _missing(path)]


def _missing(path: Path, parts: tuple[str, ...] = PARTS) -> list[str]:
    """The parts that the checkpoint at `path` lacks."""
    return [part for part in parts if not (path / part).exists()]


class _ExplainedErrors:
    """Turns the error of a full disk into a UserError; every other error passes unchanged."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        text = str(error)
        full = isinstance(error, OSError) and error.errno in NO_ROOM
        # TensorStore raises ValueError or RuntimeError for a full disk, with its own wording.
        if full or "No space left" in text or "File too large" in text:
            raise UserError(
                f"`workdir`: no room to save a checkpoint in {self.directory}; free some space and run the same "
                "command again (earlier checkpoints are untouched)"
            ) from error
        return False
