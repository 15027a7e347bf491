"""Profiles some steps of a training run."""

from pathlib import Path
from typing import Any

import jax


class Trace:
    """Records a profile of `steps` steps of this process, from the tenth on, for TensorBoard or Perfetto."""

    FIRST = 10  # by then everything is compiled and caches are warm

    def __init__(self, directory: Path, steps: int):
        self.directory, self.steps, self.running = directory, steps, False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_):
        self._stop()  # of a run that ended within these steps

    def before(self, step: int) -> None:
        if self.steps and step == self.FIRST:
            jax.profiler.start_trace(str(self.directory))
            self.running = True

    def after(self, step: int, metrics: Any, last: bool) -> None:
        if self.running and (last or step == self.FIRST + self.steps - 1):
            jax.block_until_ready(metrics)  # the steps to profile have run
            self._stop()

    def _stop(self) -> None:
        if self.running:
            jax.profiler.stop_trace()
            self.running = False
