"""Metrics by a trained classifier: of generated images, and of the classifier itself."""

import jax
import numpy as np

from diffjax import metrics as m
from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence
from diffjax.metrics.features import Extractor, Outputs
from diffjax.run import Run

OF_CLASSES = ("classifier_accuracy", "classes", "class_kl", "confidence", "confidence_ratio")
OF_STACKS = (
    "stacked_modes", "stacked_modes_single_hit", "stacked_kl", "stacked_kl_bias", "stacked_modes_of_100",
    "stacked_modes_single_hit_of_100", "stacked_modes_of_700", "stacked_modes_single_hit_of_700", "classifier_accuracy",
)  # fmt: skip


def extractor(judge: Run, precision: str = "highest") -> Extractor:
    """Wraps a trained classifier as a feature network: its last hidden layer, and its logits.

    Matrix products have `precision`, whatever the precision of the judged run; activations have the data type that the
    classifier was trained in.
    """
    method = judge.experiment.method
    network = method.make(method.network)

    def apply(variables, images):
        x = method.space.to_model(images)
        with jax.default_matmul_precision(precision):
            return Outputs(network.apply(variables, x, features=True), network.apply(variables, x))

    protocol = {"network": "classifier", "weights": judge.identity, "resize": "none", "range": "its own"}
    protocol |= {"precision": precision, "compute": method.precision.compute}
    return Extractor("classifier", network.width, protocol, judge.ema["classifier"], apply, method.space.num_classes)


def judged(judge: Run, images: np.ndarray, precision: str = "highest") -> np.ndarray:
    """The judge's logits of images, [n, k], at this matmul precision, whatever that of the run they come from."""
    with jax.default_matmul_precision(precision):
        return judge.experiment.logits(judge.ema, images)


def classifier(e: Evidence) -> list[Score]:
    """Number and balance of the classes that a classifier trained on real data sees in samples; its confidence."""
    judge, precision = e.choice.judge, e.experiment.config.eval.precision
    sample_logits, real_logits = (judged(judge, x, precision) for x in (e.drawn.x, e.heldout["x"]))
    accuracy = float((real_logits.argmax(axis=1) == e.heldout["label"]).mean())
    report = m.class_report(sample_logits, real_logits)
    protocol = e.drawn_protocol | {
        "classifier": judge.identity,
        "precision": precision,
        "reference": len(real_logits),
        "split": "heldout",
    }
    num_classes = real_logits.shape[1]
    if e.experiment.generator().labelled:
        best_kl, best = m.kl_to_uniform(np.bincount(e.drawn.label, minlength=num_classes)), "the classes asked for"
    else:
        best_kl = m.expected_kl_to_uniform(num_classes, len(sample_logits))
        best = "as many draws of equally likely classes"
    real_images = f"{len(real_logits)} real held-out images"
    return [
        Score("classifier_accuracy", accuracy, 1.0, f"of the judge itself, on {real_images}", protocol),
        Score("classes", report["classes"], num_classes, "all of them", protocol),
        Score("class_kl", report["class_kl"], best_kl, f"of {best}; KL(classes || uniform) in nats", protocol),
        Score("confidence", report["confidence"], report["real_confidence"], real_images, protocol),
        Score("confidence_ratio", report["confidence_ratio"], 1.0, "as sure as on real images", protocol),
    ]


def stacked_modes(e: Evidence, min_hits: int = 0) -> list[Score]:
    """Modes of stacked MNIST (of 1000) that samples cover, and the KL of their mode histogram to uniform.

    A classifier of single digits reads each channel; a mode is covered from `min_hits` samples on (0:
    `metrics.fair_min_hits`). The same classifier also scores as many stacks of real held-out digits, restricted to all
    1000, to 700 and to 100 modes, as references.
    """
    source, num, judge = e.experiment.source, len(e.drawn.x), e.choice.judge
    precision = e.experiment.config.eval.precision
    min_hits = min_hits or m.fair_min_hits(num, 1000)
    heldout = source.heldout_digits
    sample_labels, real_labels = (
        judged(judge, x, precision).argmax(axis=1) for x in (source.channels(e.drawn.x), heldout["x"])
    )
    report = m.stacked_report(sample_labels.reshape(-1, 3), min_hits)
    oracle = {
        modes: m.stacked_report(real_labels[source.restricted(modes, num)], min_hits) for modes in (1000, 100, 700)
    }
    accuracy = float((real_labels == heldout["label"]).mean())
    protocol = e.drawn_protocol | {"data.sha256": source.sha256, "classifier": judge.identity, "precision": precision}
    protocol |= {"classifier_accuracy": accuracy, "min_hits": min_hits, "reference": num, "split": "heldout"}
    best, real_stacks = oracle[1000], f"{num} stacks of real held-out digits"
    kl_bias, single_hit = (
        m.expected_kl_to_uniform(1000, num),
        "from 1 hit, as papers count: mistakes of the classifier too",
    )
    scores = [
        ("stacked_modes", report["modes"], best["modes"], f"{real_stacks}; counted from {min_hits} hits"),
        ("stacked_modes_single_hit", report["modes_single_hit"], best["modes_single_hit"], single_hit),
        ("stacked_kl", report["kl"], best["kl"], f"{real_stacks}; KL(modes || uniform) in nats"),
        (
            "stacked_kl_bias",
            kl_bias,
            None,
            f"the part of it that a finite number makes: of {num} exactly uniform draws",
        ),
        *(
            (
                f"stacked_{name}_of_{modes}",
                oracle[modes][name],
                modes,
                f"real digits of {modes} modes, by this {criterion}",
            )
            for modes in (100, 700)
            for name, criterion in (("modes", "count"), ("modes_single_hit", "classifier, from 1 hit"))
        ),
        ("classifier_accuracy", accuracy, 1.0, f"of the judge itself, on {len(real_labels)} real held-out digits"),
    ]
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


def accuracy(e: Evidence) -> list[Score]:
    """Share of held-out images that a trained classifier labels correctly."""
    correct = e.experiment.logits(e.variables, e.heldout["x"]).argmax(axis=1) == e.heldout["label"]
    return [
        Score(
            "accuracy",
            float(correct.mean()),
            1.0,
            "no mistake",
            e.data_protocol | {"reference": len(correct), "split": "heldout"},
        )
    ]
