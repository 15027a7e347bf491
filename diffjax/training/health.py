"""Tracks the health of a run whose numbers are finite, such as a GAN that has collapsed.

The method decides what is wrong (its `complaint`). The loop asks at every log line, and ends the run when a complaint
has lasted too long. Meanwhile only the end of the run may replace a healthy checkpoint. As a checkpoint is healthy only
if the steps since the last look were, each planned one has a log line.
"""

import math
from dataclasses import dataclass

from diffjax.methods.method import Method


@dataclass
class Health:
    """The health of a run of `method`. A continued run restores the `facts` saved with its checkpoint."""

    method: Method
    batch_size: int
    complaint: str = ""
    since: int = 0  # the step of the first look of an uninterrupted series with a complaint; else of the last look
    healthy: int = 0  # the last healthy step that may have been saved; 0: none
    given_up: str = ""  # why the run should end now; "" while it may continue

    def restore(self, facts: dict) -> None:
        self.complaint, self.since, self.healthy = facts["complaint"], facts["since"], facts["healthy"]

    @property
    def may_end_run(self) -> bool:
        """Whether a complaint can last long enough to end the run."""
        return self.method.patience < math.inf

    @property
    def facts(self) -> dict:
        return {"complaint": self.complaint, "since": self.since, "healthy": self.healthy}

    def update(self, step: int, values: dict[str, float]) -> None:
        """Updates the health from the values logged at `step`. A single look with a complaint never ends the run."""
        previous, self.complaint = self.complaint, self.method.complaint(values)
        if not (previous and self.complaint):
            self.since = step
        images = (step - self.since) * self.batch_size
        too_long = self.complaint and previous and images >= self.method.patience
        self.given_up = f"{self.complaint}, for {images:,} images" if too_long else ""

    def may_save(self, step: int) -> bool:
        """Whether a checkpoint of this step replaces no healthy one. A healthy step is recorded as saved."""
        if not self.complaint:
            self.healthy = step
        return not self.complaint or not self.healthy
