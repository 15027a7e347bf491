"""What a sample costs: calls of the network, as the sampler counted them."""

from diffjax.measures.contract import Score
from diffjax.measures.evidence import Evidence


def nfe(e: Evidence) -> list[Score]:
    """Network calls for a sample. An adaptive solver's differ: those of the slowest sample of the last batch."""
    means = "network calls for a sample; of an adaptive solver, for the slowest of the last batch"
    protocol = e.drawn_protocol | {"batch_size": e.experiment.own_generator.batch_size}
    return [Score("nfe", float(e.shown.nfe), None, means, protocol)]
