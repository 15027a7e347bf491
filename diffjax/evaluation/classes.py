"""Metrics by a trained classifier: of generated images, and of the classifier itself."""

import jax

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


def classifier(e: Evidence) -> list[Score]:
    """Number and balance of the classes that a classifier trained on real data sees in samples; its confidence."""
    sample_logits, real_logits = (
        e.choice.judge.experiment.logits(e.choice.judge.ema, x) for x in (e.drawn.x, e.heldout["x"])
    )
    accuracy = float((real_logits.argmax(axis=1) == e.heldout["label"]).mean())
    report = m.class_report(sample_logits, real_logits)
    protocol = e.drawn_protocol | {
        "classifier": e.choice.judge.identity,
        "reference": len(real_logits),
        "split": "heldout",
    }
    expected_kl = m.expected_kl_to_uniform(real_logits.shape[1], len(sample_logits))
    kl_meaning = "of as many draws of equally likely classes; KL(classes || uniform) in nats"
    real_images = f"{len(real_logits)} real held-out images"
    return [
        Score("classifier_accuracy", accuracy, 1.0, f"of the judge itself, on {real_images}", protocol),
        Score("classes", report["classes"], real_logits.shape[1], "all of them", protocol),
        Score("class_kl", report["class_kl"], expected_kl, kl_meaning, protocol),
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
    min_hits = min_hits or m.fair_min_hits(num, 1000)
    heldout = source.heldout_digits
    sample_labels, real_labels = (
        judge.experiment.logits(judge.ema, x).argmax(axis=1) for x in (source.channels(e.drawn.x), heldout["x"])
    )
    report = m.stacked_report(sample_labels.reshape(-1, 3), min_hits)
    oracle = {
        modes: m.stacked_report(real_labels[source.restricted(modes, num)], min_hits) for modes in (1000, 100, 700)
    }
    accuracy = float((real_labels == heldout["label"]).mean())
    protocol = e.drawn_protocol | {"data.sha256": source.sha256, "classifier": judge.identity}
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
