"""What a trained classifier says: of generated images, and of itself."""

import jax

from diffjax import metrics as m
from diffjax.measures.contract import Score
from diffjax.measures.evidence import Evidence
from diffjax.metrics.features import Extractor, Outputs
from diffjax.run import Run

OF_CLASSES = ("classifier_accuracy", "classes", "class_kl", "confidence", "confidence_ratio")
OF_STACKS = (
    "stacked_modes", "stacked_modes_single_hit", "stacked_kl", "stacked_kl_bias", "stacked_modes_of_100",
    "stacked_modes_single_hit_of_100", "stacked_modes_of_700", "stacked_modes_single_hit_of_700", "classifier_accuracy",
)  # fmt: skip


def extractor(judge: Run, precision: str = "highest") -> Extractor:
    """A trained classifier as a feature network: its last hidden layer, and its logits.

    Its products have this precision, whatever that of the run it judges; its activations the format it was trained in.
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
    """What a classifier trained on real data sees in the samples: classes, their balance, its confidence."""
    samples, real = (e.choice.judge.experiment.logits(e.choice.judge.ema, x) for x in (e.drawn.x, e.heldout["x"]))
    accuracy = float((real.argmax(axis=1) == e.heldout["label"]).mean())
    found = m.class_report(samples, real)
    protocol = e.drawn_protocol | {"classifier": e.choice.judge.identity, "reference": len(real), "split": "heldout"}
    balanced = m.expected_kl_to_uniform(real.shape[1], len(samples))
    balance = "of as many draws of equally likely classes; KL(classes || uniform) in nats"
    held = f"{len(real)} real held-out images"
    return [
        Score("classifier_accuracy", accuracy, 1.0, f"of the judge itself, on {held}", protocol),
        Score("classes", found["classes"], real.shape[1], "all of them", protocol),
        Score("class_kl", found["class_kl"], balanced, balance, protocol),
        Score("confidence", found["confidence"], found["real_confidence"], held, protocol),
        Score("confidence_ratio", found["confidence_ratio"], 1.0, "as sure as on real images", protocol),
    ]


def stacked_modes(e: Evidence, min_hits: int = 0) -> list[Score]:
    """How many of stacked MNIST's thousand modes a classifier of single digits finds, and how unequal they are.

    Each channel goes through the classifier; a mode counts from `min_hits` samples, 0: `metrics.fair_min_hits`. Beside
    it, by the same classifier and from as many images: real held-out digits of all modes, of 100 and of 700.
    """
    source, num, judge = e.experiment.source, len(e.drawn.x), e.choice.judge
    min_hits = min_hits or m.fair_min_hits(num, 1000)
    real = source.heldout_digits
    read, seen = (judge.experiment.logits(judge.ema, x).argmax(axis=1) for x in (source.channels(e.drawn.x), real["x"]))
    found = m.stacked_report(read.reshape(-1, 3), min_hits)
    oracle = {modes: m.stacked_report(seen[source.restricted(modes, num)], min_hits) for modes in (1000, 100, 700)}
    right = float((seen == real["label"]).mean())
    protocol = e.drawn_protocol | {"data.sha256": source.sha256, "classifier": judge.identity}
    protocol |= {"classifier_accuracy": right, "min_hits": min_hits, "reference": num, "split": "heldout"}
    best, held = oracle[1000], f"{num} stacks of real held-out digits"
    bias, single = m.expected_kl_to_uniform(1000, num), "from 1 hit, as papers count: mistakes of the classifier too"
    scores = [
        ("stacked_modes", found["modes"], best["modes"], f"{held}; counted from {min_hits} hits"),
        ("stacked_modes_single_hit", found["modes_single_hit"], best["modes_single_hit"], single),
        ("stacked_kl", found["kl"], best["kl"], f"{held}; KL(modes || uniform) in nats"),
        ("stacked_kl_bias", bias, None, f"the part of it that a finite number makes: of {num} exactly uniform draws"),
        *(
            (f"stacked_{name}_of_{modes}", oracle[modes][name], modes, f"real digits of {modes} modes, by this {how}")
            for modes in (100, 700)
            for name, how in (("modes", "count"), ("modes_single_hit", "classifier, from 1 hit"))
        ),
        ("classifier_accuracy", right, 1.0, f"of the judge itself, on {len(seen)} real held-out digits"),
    ]
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


def accuracy(e: Evidence) -> list[Score]:
    """Share of held-out images that a classifier labels rightly."""
    right = e.experiment.logits(e.variables, e.heldout["x"]).argmax(axis=1) == e.heldout["label"]
    return [
        Score(
            "accuracy",
            float(right.mean()),
            1.0,
            "no mistake",
            e.data_protocol | {"reference": len(right), "split": "heldout"},
        )
    ]
