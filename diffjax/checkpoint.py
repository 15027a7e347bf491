"""Checkpoints: the only file that knows Orbax. State, data position and metadata are saved as one."""

import errno
import logging
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from diffjax.errors import NO_ROOM, UserError
from diffjax.metrics.better import better

Tree = Any
PARTS = ("state", "window", "facts", "_CHECKPOINT_METADATA")  # what a complete checkpoint holds
SNAPSHOT_PARTS = ("averages", "_CHECKPOINT_METADATA")


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by the metric `best`: of its least or greatest value.

    Besides, in the folder `averages`, snapshots of the averaged weights, all of which are kept.

    Saving is asynchronous. A checkpoint gets its final name only when all of it is written, so one that a kill or a
    full disk cut short is not mistaken for one; what such a save leaves behind is removed when the run goes on.
    """

    def __init__(self, directory: Path, keep: int = 2, best: str = "", read_only: bool = False):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # what Orbax logs as an error, it raises as well
        kept = [policies.LatestN(keep)]
        mode = "max" if better(best.removeprefix("eval/")) == "greatest" else "min"
        if best:
            by_metric = policies.BestN(
                get_metric_fn=lambda metrics: metrics[best],
                reverse=mode == "min",
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            kept.append(by_metric)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=(lambda metrics: metrics[best]) if best else None,
            best_mode=mode,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self.directory = Path(directory).absolute()
        self.read_only = read_only
        if not read_only and jax.process_index() == 0:
            self._set_aside_what_is_not_whole()
        self.best_metric = best
        self.manager = ocp.CheckpointManager(self.directory, options=options)
        self._managers = [self.manager]  # those that are open

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with _explained(self.directory):
            for manager in self._managers:
                manager.close()  # waits for the save under way, and raises what it met

    def steps(self) -> list[int]:
        """The steps at which there is a complete checkpoint, ascending."""
        return [step for step in sorted(self.manager.all_steps()) if not _missing(self.directory / str(step))]

    def latest(self) -> int | None:
        """The step of the last complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def best(self) -> dict[str, float] | None:
        """The step of the best checkpoint and its value of the metric that chose it; None if there is none yet."""
        step = self.manager.best_step() if self.best_metric else None
        return None if step is None else {"step": step, self.best_metric: self.manager.metrics(step)[self.best_metric]}

    def _set_aside_what_is_not_whole(self) -> None:
        """A folder with a checkpoint's name but not all its parts would block the saves to come: out of the way."""
        for path in self.directory.glob("[0-9]*"):
            if path.name.isdigit() and (missing := _missing(path)):
                aside = self.directory.with_name("incomplete") / path.name
                aside.parent.mkdir(exist_ok=True)
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                print(f"checkpoint {path.name} is incomplete (no {', '.join(missing)}): moved to {aside}", flush=True)

    def save(self, step: int, arrays: dict[str, Tree], facts: dict, metrics: dict[str, float]) -> None:
        """Saves in the background; returns as soon as the arrays are off the device. Raises what the last save met.

        `arrays` are the trees "state" and "window", `facts` a JSON dictionary, `metrics` what the best is chosen by.
        """
        with _explained(self.directory):
            self.wait()  # for snapshots too: a checkpoint is never there without those that came before it
            if step in self.steps():
                return
            trees = self._to_save(arrays)
            known = {name: value for name, value in metrics.items() if np.isfinite(value)}
            saved = self.manager.save(
                step,
                args=ocp.args.Composite(**trees, facts=ocp.args.JsonSave(facts)),
                metrics=known if self.best_metric in known else None,
            )
            if not saved:
                raise RuntimeError(f"Orbax refused to save step {step} beside {self.manager.all_steps()}")

    def _to_save(self, arrays: dict[str, Tree]) -> dict[str, Any]:
        """What Orbax is to be told to save these trees, if there is room for them: better not begun than broken off."""
        if shutil.disk_usage(self.directory).free < sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}

    def wait(self) -> None:
        """Until every save begun is on disk; raises what it met."""
        with _explained(self.directory):
            for manager in self._managers:
                manager.wait_until_finished()

    def restore(self, step: int, **arrays: Tree) -> dict[str, Any]:
        """Parts saved at `step` by name, and "facts". Each part is asked for by a tree of `jax.ShapeDtypeStruct` whose
        shardings say where it goes: on whatever devices there are now."""
        trees = {name: ocp.args.StandardRestore(tree) for name, tree in arrays.items()}
        return dict(self.manager.restore(step, args=ocp.args.Composite(**trees, facts=ocp.args.JsonRestore())))

    # Snapshots of averages. They have a manager of their own, which is opened, and its folder made, when first needed.

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
        """The steps at which there is a complete snapshot of the averages, ascending."""
        if not self.averages_at.is_dir():
            return []
        steps = sorted(self._averages.all_steps())
        return [step for step in steps if not _missing(self.averages_at / str(step), SNAPSHOT_PARTS)]

    def save_averages(self, step: int, averages: Tree) -> None:
        """Keeps the averages after `step` for good. In the background, like `save`."""
        with _explained(self.directory):
            self._averages.wait_until_finished()
            if step in self.snapshots():
                return
            saved = self._averages.save(step, args=ocp.args.Composite(**self._to_save({"averages": averages})))
            if not saved:
                raise RuntimeError(f"Orbax refused to save the averages of step {step} in {self.averages_at}")

    def restore_averages(self, step: int, averages: Tree) -> Tree:
        """The snapshot after `step`, asked for like `restore`'s parts."""
        asked = ocp.args.Composite(averages=ocp.args.StandardRestore(averages))
        return self._averages.restore(step, args=asked).averages

    def drop_averages_after(self, step: int) -> None:
        """Removes snapshots that lie ahead of the checkpoint a run goes on from: it will come to these steps again."""
        if self.averages_at.is_dir():
            for later in self._averages.all_steps():
                if later > step:
                    self._averages.delete(later)


def _missing(path: Path, parts: tuple[str, ...] = PARTS) -> list[str]:
    """The parts that a checkpoint at `path` has not."""
    return [part for part in parts if not (path / part).exists()]


class _explained:
    """A disk that is full becomes one line for the user; every other failure stays what it is."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        text = str(error)
        full = isinstance(error, OSError) and error.errno in NO_ROOM
        # TensorStore words the same failure in its own way and raises ValueError or RuntimeError.
        if full or "No space left" in text or "File too large" in text:
            raise UserError(
                f"--workdir: no room to save a checkpoint in {self.directory}; free some space and run the same "
                "command again (the checkpoints saved before are untouched)"
            ) from error
        return False
