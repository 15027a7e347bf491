"""What a sample costs: calls of the network, as the sampler counted them."""

from diffjax.measures.contract import Score
from diffjax.measures.evidence import Evidence


def nfe(e: Evidence) -> list[Score]:
    """Network calls for a sample, the mean over all: an adaptive solver's differ."""
    return [
        Score("nfe", float(e.unchecked.nfe.mean()), None, "network calls for a sample, on average", e.drawn_protocol)
    ]
