"""Anyone's images against a reference: the other half of the command `evaluate`."""

from dataclasses import dataclass
from pathlib import Path

from diffjax import parallel, pictures
from diffjax.errors import UserError
from diffjax.measures import by_features, extractors, judge
from diffjax.measures.beware import with_warning
from diffjax.measures.choice import check_all, check_features
from diffjax.measures.contract import Score, of_images
from diffjax.measures.files import Files
from diffjax.measures.named import read
from diffjax.measures.report import check_place, record
from diffjax.metrics import check_dimensions
from diffjax.metrics.features import check_choice
from diffjax.metrics.statistics import is_statistics, save_statistics
from diffjax.precision import MATMUL
from diffjax.progress import aside


@dataclass(frozen=True)
class Comparison:
    """What is asked for, as the flags of the command are called."""

    samples: str  # a folder, an .npz of images, or a data source by name
    reference: str  # likewise, or a file of statistics
    metrics: tuple[str, ...] = ("frechet",)
    features: str = ""  # of the metrics that name none; "": inception
    split: str = "train"  # of data sources
    weights: str = ""  # the feature network's; "": the cache, or a download
    precision: str = "highest"  # of its products
    classifier: str = ""  # the run whose features "classifier" are
    out: Path | None = None  # a JSON file for the scores with their protocols
    statistics: Path | None = None  # a file of statistics to be made of the reference
    batch_size: int = 256  # images


def compare(asked: Comparison) -> list[Score]:
    """The metrics of some images, compared with others. Raises UserError before anything is computed where it can."""
    chosen, keep = by_features(asked.metrics, asked.features or "inception"), asked.statistics
    check_features(asked.features, chosen)
    check_choice("--precision", asked.precision, MATMUL)
    for path, flag, ending in ((asked.out, "--out", ".json"), (keep, "--statistics", ".npz")):
        if path:
            check_place(path, flag, ending)
    images = read(asked.samples, "--samples", asked.split)
    kept = is_statistics(asked.reference)
    against = asked.reference if kept else read(asked.reference, "--reference", asked.split)
    asking = [name for name in chosen if name.endswith(":classifier")]
    run = judge(asked.classifier, images.shape, asking[0]) if asking else None
    networks = extractors(chosen, images.shape, asked.weights, run, asked.precision)
    if keep:
        if isinstance(against, str) or len(networks) != 1:
            what = "the moments of one reference's images by one feature network"
            raise UserError(f"--statistics: {keep} would keep {what}")
        check_dimensions(*(network.dimensions for network in networks.values()))
    sets = Files(images, against, networks, parallel.layout(), asked.batch_size)
    check_all(chosen, networks, sets.counts)
    scores = [with_warning(score) for metric in chosen.values() for score in metric(sets)]
    if sets.alike:
        aside(f"{asked.samples} and {asked.reference} are the same images: what compares them says nothing")
    if keep and parallel.is_main():
        (name,) = networks
        protocol = sets.reference_protocol(name) | of_images(networks[name]) | {"images": against.name}
        save_statistics(keep, sets.embedded(name, "reference").moments, protocol)
    if asked.out and parallel.is_main():
        record(scores, sets.provenance, asked.out)
        for name, image in sets.pictures.items():
            pictures.save_png(asked.out.with_name(f"{asked.out.stem}-{name}.png"), image)
    return scores
