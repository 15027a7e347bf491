"""The cost of sampling: network calls, as counted by the sampler."""

from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence


def nfe(e: Evidence) -> list[Score]:
    """The network calls per sample, averaged over samples, as an adaptive solver's count varies."""
    return [
        Score("nfe", float(e.unchecked.nfe.mean()), None, "network calls for a sample, on average", e.drawn_protocol)
    ]
