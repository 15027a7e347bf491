"""Run directories: creates them, locks them for one process, records how they were made, and reads their configs.

`config.json` holds the config, its fingerprint, versions, device and commit, and `places`: for every part of the run
the commit and hardware that computed it. A run that was lengthened also has `lengths`, its earlier numbers of steps;
they are part of the fingerprint if its rates decay to the last step.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from diffjax.config import (
    Overrides,
    decays_to_the_end,
    differences,
    fingerprint,
    from_json,
    is_place,
    override,
    pairs,
)
from diffjax.errors import Taken, UserError
from diffjax.host.json_files import read_json, write_json
from diffjax.host.surroundings import surroundings

# Keys of `eval` that the configs of older runs lack, with the values those runs used.
OLDER_EVAL = {"features": "inception", "precision": "highest", "weights": "", "reference": "heldout"}
RETRY = 0.05  # seconds between two attempts to lock a directory
PLACE = ("commit", "device", "processor", "cores")  # the parts of `surroundings` that make up a place


class Lock:
    """Reserves a directory for this process with a file lock, which the kernel releases when the process dies.

    Raises Taken if another process still holds it after `wait` seconds, and UserError if files cannot be locked.
    """

    def __init__(self, workdir: Path, wait: float = 0.0):
        self.workdir, self.wait = workdir, wait

    def __enter__(self) -> "Lock":
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
            self.file = (self.workdir / ".lock").open("a+")
        except OSError as error:
            raise UserError(f"`workdir`: cannot write to {self.workdir} ({error.strerror})") from error
        deadline = time.monotonic() + self.wait
        while not self._locked():
            if time.monotonic() >= deadline:
                self.file.seek(0)
                holder = self.file.read().strip() or "unknown"
                self.file.close()
                raise Taken(f"`workdir`: {self.workdir} is in use by a live process ({holder})")
            time.sleep(RETRY)
        self.file.truncate(0)
        self.file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        self.file.flush()
        return self

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self.file.close()
            raise UserError(
                f"`workdir`: {self.workdir} is on a file system without file locks ({error.strerror}), so two "
                "processes could train there at once; choose another file system"
            ) from error
        return True

    def __exit__(self, *_):
        self.file.close()


def is_locked(workdir: Path) -> bool:
    """Whether a live process holds this directory."""
    try:
        with Lock(workdir):
            return False
    except Taken:
        return True


def record_config(workdir: Path, config: ConfigDict, done: int) -> None:
    """Writes `config.json`. Raises UserError if `config` cannot continue the `done` steps already in `workdir`.

    If steps were made in different places, such as on another device, the file says "mixed: ..." for what differs.
    """
    path, steps = workdir / "config.json", config.train.steps
    lengths = _continued(workdir, config, done) if done else []
    if done < steps:
        (workdir / "result.json").unlink(missing_ok=True)  # the result of a shorter run
    current = surroundings()
    places = _places(path, done, steps, current)
    identity = {"config": config.to_dict(), "fingerprint": fingerprint(config, lengths)}
    identity |= {"lengths": lengths} if lengths else {}
    write_json(path, identity | current | _summary(places) | {"places": places})


def _continued(workdir: Path, config: ConfigDict, done: int) -> list[int]:
    """The earlier numbers of steps of a run that continues after `done` of them. Raises UserError if it cannot."""
    if not (workdir / "config.json").is_file():
        raise UserError(f"`workdir`: {workdir} has checkpoints but no config.json; choose another directory")
    recorded, steps = read_config(workdir), config.train.steps
    least = done if recorded.train.steps == done else done + 1  # a run ends with evaluations, not just anywhere
    if steps < least:
        raise UserError(f"train.steps: {steps} must be at least {least}, as the last checkpoint is at step {done}")
    if changed := differences(recorded, config):
        raise UserError(
            f"`workdir`: {workdir} holds a run of another config ({'; '.join(changed)}); choose another directory, "
            "or undo the change (train.steps may change, and so may keys that change no number: the *every keys, "
            "parallel.*, eval.batch_size, data.data_dir)"
        )
    if steps == recorded.train.steps:
        return lengths_of(workdir)
    if decays_to_the_end(config):
        print(
            f"train.steps changes from {recorded.train.steps:,} to {steps:,}: rates that decay to the last step jump "
            f"after step {done:,}, so this is not the run of {steps:,} steps from the start",
            flush=True,
        )
    return [*lengths_of(workdir), recorded.train.steps]


def lengths_of(workdir: Path) -> list[int]:
    """The earlier numbers of steps of a run that was lengthened."""
    path = workdir / "config.json"
    return read_json(path).get("lengths", []) if path.is_file() else []


def _places(path: Path, done: int, steps: int, current: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The commit and hardware that compute each part of a run, with the number of steps `after` which the part begins.

    Older runs recorded only their last place.
    """
    previous = read_json(path) if done else {}
    places = previous.get("places", [{"after": 0} | {name: previous.get(name, "unknown") for name in PLACE}])
    places = [place for place in places if place["after"] < done]  # later steps were lost and are computed again
    if done == steps:
        return places
    place = {"after": done} | {name: current[name] for name in PLACE}
    return places if places and places[-1] | {"after": done} == place else [*places, place]


def _summary(places: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One value of each name in PLACE for the whole run; "mixed: 2, 8 after step 700" if it changed on the way."""
    summary = {}
    for name in PLACE:
        values = [(value, next(group)["after"]) for value, group in groupby(places, key=lambda place: place[name])]
        (first, _), *changes = values
        summary[name] = first
        if changes:
            summary[name] = f"mixed: {first}" + "".join(f", {value} after step {step}" for value, step in changes)
    return summary


def read_config(workdir: Path) -> ConfigDict:
    """Reads the config of a run directory. Raises UserError if it holds no run."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"`workdir`: {workdir} holds no run (no config.json)")
    try:
        config = from_json(json.loads(path.read_text())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"`workdir`: {path} is not the config of a diffjax run ({type(error).__name__}: {error})"
        ) from error
    config.eval = ConfigDict(OLDER_EVAL | config.eval.to_dict())
    return config


def config_to_draw(workdir: Path, overrides: Overrides = ()) -> ConfigDict:
    """The config of a trained run, with overrides of how it draws and measures on this machine.

    Raises UserError for an override of anything that determines the trained weights.
    """
    overrides = pairs(overrides)
    for path, _ in overrides:
        if path.split(".")[0] not in ("sampler", "eval", "parallel") and not is_place(path):
            raise UserError(
                f"`config.{path}`: a trained run accepts only sampler.*, eval.* and parallel.* (and the path of its "
                "data or text encoder)"
            )
    return override(for_this_machine(read_config(workdir)), overrides)


def for_this_machine(config: ConfigDict) -> ConfigDict:
    """A copy of a run's config for drawing and measuring on the devices of this machine."""
    config = ConfigDict(config.to_dict())
    devices = config.parallel.devices if config.parallel.devices <= jax.device_count() else 0
    config.parallel.update(mode="jit", devices=devices, fsdp=1)
    return config
