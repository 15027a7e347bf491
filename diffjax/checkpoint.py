"""Checkpoints: the only file that knows Orbax. State, data position and metadata are saved as one."""

import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from diffjax.errors import NO_ROOM, UserError

Tree = Any
PARTS = ("state", "window", "facts", "_CHECKPOINT_METADATA")  # what a complete checkpoint holds


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by the metric `best` (smaller is better).

    Saving is asynchronous. A checkpoint gets its final name only when all of it is written, so one that a kill or a
    full disk cut short is not mistaken for one; what such a save leaves behind is removed when the run goes on.
    """

    def __init__(self, directory: Path, keep: int = 2, best: str = "", read_only: bool = False):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # what Orbax logs as an error, it raises as well
        kept = [policies.LatestN(keep)]
        if best:
            by_metric = policies.BestN(
                get_metric_fn=lambda metrics: metrics[best], reverse=True, n=1, keep_checkpoints_without_metrics=False
            )
            kept.append(by_metric)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=(lambda metrics: metrics[best]) if best else None,
            best_mode="min",
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self.directory = Path(directory).absolute()
        if not read_only and jax.process_index() == 0:
            self._set_aside_what_is_not_whole()
        self.best_metric = best
        self.manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with _explained(self.directory):
            self.manager.close()  # waits for the save under way, and raises what it met

    def steps(self) -> list[int]:
        """The steps at which there is a complete checkpoint, ascending."""
        return [step for step in sorted(self.manager.all_steps()) if not _missing(self.directory / str(step))]

    def latest(self) -> int | None:
        """The step of the last complete checkpoint, or None."""
        return max(self.steps(), default=None)

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
            self.manager.wait_until_finished()
            if step in self.steps():
                return
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
            if shutil.disk_usage(self.directory).free < needed:  # better not begun than broken off
                raise OSError(errno.ENOSPC, "No space left on device")
            trees = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
            known = {name: value for name, value in metrics.items() if np.isfinite(value)}
            saved = self.manager.save(
                step,
                args=ocp.args.Composite(**trees, facts=ocp.args.JsonSave(facts)),
                metrics=known if self.best_metric in known else None,
            )
            if not saved:
                raise RuntimeError(f"Orbax refused to save step {step} beside {self.manager.all_steps()}")

    def wait(self) -> None:
        """Until the last save is on disk; raises what it met."""
        with _explained(self.directory):
            self.manager.wait_until_finished()

    def restore(self, step: int, **arrays: Tree) -> dict[str, Any]:
        """Parts saved at `step` by name, and "facts". Each part is asked for by a tree of `jax.ShapeDtypeStruct` whose
        shardings say where it goes: on whatever devices there are now."""
        trees = {name: ocp.args.StandardRestore(tree) for name, tree in arrays.items()}
        return dict(self.manager.restore(step, args=ocp.args.Composite(**trees, facts=ocp.args.JsonRestore())))


def _missing(path: Path) -> list[str]:
    """The parts that a checkpoint at `path` has not."""
    return [part for part in PARTS if not (path / part).exists()]


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
