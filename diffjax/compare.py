"""`evaluate --samples --reference`: measures one set of images against another, without a trained run."""

import re
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
    """The flags of the command, under their names."""

    samples: str  # a folder, an .npz of images, or a data source by name
    reference: str  # likewise, or a file of statistics
    metrics: tuple[str, ...] = ("frechet",)
    features: str = ""  # feature network of the metrics that name none; "": inception
    split: str = "train"  # of a data source
    weights: str = ""  # the feature network's; "": the cache, or a download
    precision: str = "highest"  # of its matrix products
    classifier: str = ""  # run directory of the classifier used by features "classifier"
    out: Path | None = None  # JSON file to write the scores and their protocols to
    statistics: Path | None = None  # file to write the moments of the reference's features to
    batch_size: int = 256  # images embedded at once


def compare(flags: Comparison) -> list[Score]:
    """Computes the metrics of the samples against the reference, and writes the files that the flags name.

    Raises UserError, before anything is computed if possible.
    """
    try:
        return _compare(flags)
    except UserError as error:  # the key eval.X of a run's config is the field X of a comparison
        raise UserError(re.sub(r"^eval\.(\w+)", r"`\1`", str(error))) from None


def _compare(flags: Comparison) -> list[Score]:
    metrics = by_features(flags.metrics, flags.features or "inception")
    check_features(flags.features, metrics)
    check_choice("`precision`", flags.precision, MATMUL)
    for path, flag, suffix in ((flags.out, "`out`", ".json"), (flags.statistics, "`statistics`", ".npz")):
        if path:
            check_place(path, flag, suffix)
    samples = read(flags.samples, "`samples`", flags.split)
    from_statistics = is_statistics(flags.reference)
    reference = flags.reference if from_statistics else read(flags.reference, "`reference`", flags.split)
    need_classifier = [name for name in metrics if name.endswith(":classifier")]
    run = judge(flags.classifier, samples.shape, need_classifier[0]) if need_classifier else None
    networks = extractors(metrics, samples.shape, flags.weights, run, flags.precision)
    if flags.statistics:
        if from_statistics or len(networks) != 1:
            content = "the moments of one reference's images by one feature network"
            raise UserError(f"`statistics`: {flags.statistics} must hold {content}")
        check_dimensions(*(network.dimensions for network in networks.values()))
    sets = Files(samples, reference, networks, parallel.layout(), flags.batch_size)
    check_all(metrics, networks, sets.counts)
    scores = [with_warning(score) for metric in metrics.values() for score in metric(sets)]
    if sets.alike:
        aside(f"{flags.samples} and {flags.reference} are the same images: comparing them says nothing")
    if flags.statistics and parallel.is_main():
        (name,) = networks
        protocol = sets.reference_protocol(name) | of_images(networks[name]) | {"images": reference.name}
        save_statistics(flags.statistics, sets.embedded(name, "reference").moments, protocol)
    if flags.out and parallel.is_main():
        record(scores, sets.provenance, flags.out)
        for name, image in sets.pictures.items():
            pictures.save_png(flags.out.with_name(f"{flags.out.stem}-{name}.png"), image)
    return scores
