"""`evaluate --samples --reference`: measures one set of images against another, without a trained run."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffjax import parallel
from diffjax.drawing import pictures
from diffjax.errors import UserError
from diffjax.evaluation.choice import by_features, check_all, check_features, extractors, load_classifier
from diffjax.evaluation.contract import Score, of_images
from diffjax.evaluation.files import Files
from diffjax.evaluation.image_sets import needs_split, read
from diffjax.evaluation.report import check_place, record, table
from diffjax.evaluation.table import BY_FEATURES
from diffjax.evaluation.warnings import with_warning
from diffjax.host.progress import to_stderr
from diffjax.metrics import check_dimensions
from diffjax.metrics.features import check_choice
from diffjax.metrics.statistics import is_statistics, save_statistics
from diffjax.precision import MATMUL


@dataclass(frozen=True)
class Comparison:
    """What to compare, and how; the fields are the command's flags."""

    samples: str  # a folder, an .npz of images, or a data source by name
    reference: str  # likewise, or a file of statistics
    metrics: tuple[str, ...] = ("frechet",)
    features: str = ""  # feature network of the metrics that name none; "": inception
    split: str = ""  # of a data source whose name chooses none; "": train
    weights: str = ""  # the feature network's; "": the cache, or a download
    precision: str = "highest"  # of its matrix products
    classifier: str = ""  # run directory of the classifier used by features "classifier"
    out: Path | None = None  # JSON file to write the scores and their protocols to
    statistics: Path | None = None  # file to write the moments of the reference's features to
    batch_size: int = 256  # images embedded at once


def compare(given: Comparison, show: Callable[[str], None] = lambda text: None) -> list[Score]:
    """Computes the metrics of the samples against the reference, and writes the files that its fields name.

    `show` receives the table of the scores before anything is written. Raises UserError, before anything is computed if
    possible.
    """
    try:
        return _compare(given, show)
    except UserError as error:  # the key eval.X of a run's config is the field X of a comparison
        raise UserError(re.sub(r"^eval\.(\w+)", r"`\1`", str(error))) from error


def _compare(given: Comparison, show: Callable[[str], None]) -> list[Score]:
    metrics = by_features(given.metrics, given.features or "inception")
    if not metrics:
        raise UserError(f"`metrics`: is empty; must be some of {', '.join(BY_FEATURES)}")
    check_features(given.features, metrics)
    check_choice("`precision`", given.precision, MATMUL)
    for path, field, suffix in ((given.out, "`out`", ".json"), (given.statistics, "`statistics`", ".npz")):
        if path:
            check_place(path, field, suffix)
    if given.split and not any(map(needs_split, (given.samples, given.reference))):
        neither = f"neither {given.samples} nor {given.reference} is a data source without a split of its own"
        raise UserError(f"`split`: {given.split} applies to nothing: {neither}; leave it out")
    split = given.split or "train"
    samples = read(given.samples, "`samples`", split)
    from_statistics = is_statistics(given.reference)
    reference = given.reference if from_statistics else read(given.reference, "`reference`", split)
    need_classifier = [name for name in metrics if name.endswith(":classifier")]
    run = load_classifier(given.classifier, samples.shape, need_classifier[0]) if need_classifier else None
    networks = extractors(metrics, samples.shape, given.weights, run, given.precision)
    if given.statistics:
        if from_statistics or len(networks) != 1:
            content = "the moments of one reference's images by one feature network"
            raise UserError(f"`statistics`: {given.statistics} must hold {content}")
        check_dimensions(*(network.dimensions for network in networks.values()))
    sets = Files(samples, reference, networks, parallel.layout(), given.batch_size)
    check_all(metrics, networks, sets.counts)
    scores = [with_warning(score) for metric in metrics.values() for score in metric(sets)]
    if sets.alike:
        to_stderr(f"{given.samples} and {given.reference} are the same images: comparing them says nothing")
    if parallel.is_main():
        show(table(scores))
    if given.statistics and parallel.is_main():
        (name,) = networks
        protocol = sets.reference_protocol(name) | of_images(networks[name]) | {"images": reference.name}
        save_statistics(given.statistics, sets.embedded(name, "reference").moments, protocol)
    if given.out and parallel.is_main():
        record(scores, sets.provenance, given.out)
        for name, image in sets.pictures.items():
            pictures.save_png(given.out.with_name(f"{given.out.stem}-{name}.png"), image)
    return scores
