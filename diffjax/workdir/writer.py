"""A run's records: metrics.jsonl, TensorBoard events, and the progress lines on stdout."""

import errno
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from diffjax.host.atomic import atomic_write
from diffjax.host.json_files import parse_line, strict
from diffjax.host.progress import clock
from diffjax.host.surroundings import machine_load


class Writer:
    """Appends to `metrics.jsonl`, one object per line, and to TensorBoard's events, and prints progress.

    A continued run drops the lines after the step it continues from. Only the main process writes: in the others
    (`active` false) every method does nothing.
    """

    def __init__(self, workdir: Path, total_steps: int, active: bool = True):
        self.workdir, self.total_steps, self.active = workdir, total_steps, active
        self.events = self.lines = None
        self.began = time.monotonic()
        self.first_step = 0

    def start(self, step: int) -> None:
        """Opens the files to continue after `step`, and drops the lines of later steps.

        Raises UserError for a line that is damaged.
        """
        self.began, self.first_step = time.monotonic(), step
        if not self.active:
            return
        path = self.workdir / "metrics.jsonl"
        if path.exists():
            kept = []
            for line in path.read_text().splitlines(keepends=True):
                if not line.endswith("\n") or parse_line(line, path)["step"] > step:
                    break  # written after the checkpoint, or cut short by a kill: the run will write it again
                kept.append(line)
            with atomic_write(path) as unfinished:
                unfinished.write_text("".join(kept))
        self.lines = path.open("a", buffering=1)
        self.events = SummaryWriter(str(self.workdir), purge_step=step + 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.lines:
            self.lines.close()
            self.events.close()

    def metrics(self, step: int, images: int, seconds: float, values: dict[str, float]) -> None:
        """Writes a line of `metrics.jsonl` and the values for TensorBoard; `seconds` is the run's time so far."""
        if not self.active:
            return
        line = {"step": step, "images": images, "seconds": round(seconds, 3), "load": machine_load()} | values
        self.lines.write(json.dumps(strict(line), allow_nan=False) + "\n")
        for name, value in values.items():
            if math.isfinite(value):  # TensorBoard warns about other values and does not draw them
                self.events.add_scalar(name, value, step)

    def picture(self, step: int, image: Any, name: str = "samples") -> None:
        """Writes a picture, uint8 [h, w, c], for TensorBoard."""
        if self.active:
            self.events.add_image(name, image, step, dataformats="HWC")

    def progress(self, step: int, values: dict[str, float], images_per_second: float | None) -> None:
        """Prints one progress line: step, values with the losses first, speed if known, and remaining time."""
        per_step = (time.monotonic() - self.began) / max(step - self.first_step, 1)
        losses_first = sorted(values.items(), key=lambda item: not item[0].endswith("loss"))
        text = "  ".join(f"{name} {value:.4g}" for name, value in losses_first)
        width = len(f"{self.total_steps:,}")
        speed = f"{images_per_second:,.0f} images/s  " if images_per_second else ""
        left = clock(per_step * (self.total_steps - step))
        self.say(f"step {step:>{width},}/{self.total_steps:,}  {text}  {speed}{left} left")

    def say(self, text: str) -> None:
        """Prints a line on stdout, unbuffered. A run whose terminal or pipe is closed goes on without its lines."""
        if not self.active:
            return
        try:
            print(text, flush=True)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
