"""What a run writes about itself: metrics.jsonl, TensorBoard events, JSON files, and the lines a person watches."""

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from diffjax.errors import UserError
from diffjax.progress import clock
from diffjax.whole import written_whole


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(strict(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, whole: Path | None = None, needs: Sequence[str] = ()) -> dict[str, Any]:
    """What a JSON file says. Raises UserError where it is none, as one that was copied in part, or lacks these keys.

    `whole` is what has to be made anew then: the file alone, or the run directory it is in.
    """
    try:
        content = json.loads(path.read_text())
        wrong = "" if isinstance(content, dict) else "no JSON object"
        wrong = wrong or next((f"without {key!r}" for key in needs if key not in content), "")
    except ValueError:
        wrong = "no JSON (cut short?)"
    if wrong:
        raise UserError(f"{path} is {wrong}; copy it again, or remove {whole or path}, and it is made again")
    return content


def read_lines(path: Path, last: int = 0) -> list[Any]:
    """The lines of a `metrics.jsonl`, or the last so many, but one that is being written; [] if there is no file.

    Raises UserError for a line that is no JSON.
    """
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    try:
        return [json.loads(line) for line in lines[-last:]]
    except ValueError as error:
        raise UserError(
            f"{path} has a line that is no JSON; copy it again, or remove {path.parent}, and it is made again"
        ) from error


def strict(content: Any) -> Any:
    """What JSON can say: arrays as lists, and a number that is not finite as the text "nan", "inf" or "-inf"."""
    content = content.tolist() if hasattr(content, "tolist") else content  # NumPy's and JAX's, and their scalars
    if isinstance(content, dict):
        return {key: strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [strict(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content


def machine_load() -> float | None:
    """How many threads want each core of this machine, over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None


class Writer:
    """Appends to `metrics.jsonl`, one object a line. A continued run drops the lines after the step it goes on from.

    Of several processes only the main one writes; for the others every method does nothing.
    """

    def __init__(self, workdir: Path, total_steps: int, active: bool = True):
        self.workdir, self.total_steps, self.active = workdir, total_steps, active
        self.events = self.lines = None
        self.began = time.monotonic()
        self.first_step = 0

    def start(self, step: int) -> None:
        """Makes ready to go on after `step`."""
        self.began, self.first_step = time.monotonic(), step
        if not self.active:
            return
        path = self.workdir / "metrics.jsonl"
        if path.exists():
            kept = []
            for line in path.read_text().splitlines(keepends=True):
                if not line.endswith("\n") or json.loads(line)["step"] > step:
                    break  # written after the checkpoint, or cut short by a kill: about to be written again
                kept.append(line)
            with written_whole(path) as unfinished:
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
        """One line of `metrics.jsonl`, and the same for TensorBoard. `seconds` is the run's training time so far."""
        if not self.active:
            return
        line = {"step": step, "images": images, "seconds": round(seconds, 3), "load": machine_load()} | values
        self.lines.write(json.dumps(strict(line), allow_nan=False) + "\n")
        for name, value in values.items():
            if math.isfinite(value):  # of others TensorBoard draws nothing, and complains
                self.events.add_scalar(name, value, step)

    def picture(self, step: int, image: Any, name: str = "samples") -> None:
        """A picture [h, w, c] uint8 for TensorBoard."""
        if self.active:
            self.events.add_image(name, image, step, dataformats="HWC")

    def progress(self, step: int, values: dict[str, float], images_per_second: float) -> None:
        """One line for a person: where the run is, what it measures, how fast it goes, how long it still takes."""
        per_step = (time.monotonic() - self.began) / max(step - self.first_step, 1)
        losses_first = sorted(values.items(), key=lambda item: not item[0].endswith("loss"))
        shown = "  ".join(f"{name} {value:.4g}" for name, value in losses_first)
        width = len(f"{self.total_steps:,}")
        self.say(
            f"step {step:>{width},}/{self.total_steps:,}  {shown}  {images_per_second:,.0f} images/s  "
            f"{clock(per_step * (self.total_steps - step))} left"
        )

    def say(self, text: str) -> None:
        """A line on stdout, at once."""
        if self.active:
            print(text, file=sys.stdout, flush=True)
