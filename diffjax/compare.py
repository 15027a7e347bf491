"""Anyone's images against a reference: the other half of the command `evaluate`."""

from pathlib import Path

from diffjax import parallel
from diffjax.errors import UserError
from diffjax.measures import by_features, extractors, judge
from diffjax.measures.choice import check_all
from diffjax.measures.contract import Score
from diffjax.measures.files import Files
from diffjax.measures.named import read
from diffjax.measures.report import check_place, record
from diffjax.metrics import check_dimensions
from diffjax.metrics.statistics import is_statistics, save_statistics


def compare(
    samples: str,
    reference: str,
    metrics: tuple[str, ...] = ("frechet",),
    features: str = "inception",
    split: str = "train",
    weights: str = "",
    precision: str = "highest",
    classifier: str = "",
    batch_size: int = 256,
    out: Path | None = None,
    keep: Path | None = None,
) -> list[Score]:
    """The metrics of the images in `samples`, compared with those of `reference`.

    Either is a folder, an .npz of images, or a data source by name, of which the `split` is taken; the reference may
    also be a file of statistics, as `keep` makes one of the reference's moments. `out` is a JSON file for the scores
    with their protocols. Raises UserError before anything is computed for what can be known then.
    """
    chosen = by_features(metrics, features)
    for path, flag, ending in ((out, "--out", ".json"), (keep, "--statistics", ".npz")):
        if path:
            check_place(path, flag, ending)
    images = read(samples, "--samples", split)
    against = reference if is_statistics(reference) else read(reference, "--reference", split)
    asking = [name for name in chosen if name.endswith(":classifier")]
    run = judge(classifier, images.shape, asking[0]) if asking else None
    networks = extractors(chosen, images.shape, weights, run, precision)
    if keep:
        if isinstance(against, str) or len(networks) != 1:
            what = "the moments of one reference's images by one feature network"
            raise UserError(f"--statistics: {keep} would keep {what}")
        check_dimensions(*(network.dimensions for network in networks.values()))
    sets = Files(images, against, networks, parallel.layout(), batch_size)
    check_all(chosen, networks, sets.counts)
    scores = [score for metric in chosen.values() for score in metric(sets)]
    if keep and parallel.is_main():
        (name,) = networks
        protocol = sets.reference_protocol(name) | {"features": networks[name].protocol, "images": against.name}
        save_statistics(keep, sets.embedded(name, "reference").moments, protocol)
    if out and parallel.is_main():
        record(scores, sets.provenance, out)
    return scores
