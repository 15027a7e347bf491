"""How long something has been wrong with a run that goes on computing finite numbers, and what is then not saved over.

What is wrong is for the method to say. The loop asks at every log line, gives the run up when it has lasted too long,
and meanwhile saves nothing over a healthy checkpoint, but for the end of the run.
"""

from dataclasses import dataclass

from diffjax.methods.method import Method


@dataclass
class Health:
    """Follows a run of `method`. A continued run starts from the `facts` its checkpoint was saved with."""

    method: Method
    batch_size: int
    complaint: str = ""
    since: int = 0  # the step of the first look, while there is a complaint, that found one at all
    healthy: int = 0  # the last healthy step that was saved; 0: none
    given_up: str = ""  # why the run should end now; "" while it may go on

    def restore(self, facts: dict) -> None:
        self.complaint, self.since, self.healthy = facts["complaint"], facts["since"], facts["healthy"]

    @property
    def facts(self) -> dict:
        return {"complaint": self.complaint, "since": self.since, "healthy": self.healthy}

    def look(self, step: int, values: dict[str, float]) -> None:
        """What the method says of the values logged at this step: one look that finds something is never enough."""
        before, self.complaint = self.complaint, self.method.complaint(values)
        if not (before and self.complaint):
            self.since = step
        images = (step - self.since) * self.batch_size
        lasts = self.complaint and before and images >= self.method.patience
        self.given_up = f"{self.complaint}, for {images:,} images" if lasts else ""

    def may_save(self, step: int) -> bool:
        """Whether a checkpoint of this step takes no healthy one's place; it is then counted as saved."""
        if not self.complaint:
            self.healthy = step
        return not self.complaint or not self.healthy
