"""Metrics of text-conditional models of shapes, whose scenes can be read exactly: alignment and variety."""

from collections import defaultdict

import numpy as np
from jaxtyping import UInt8

from diffjax.data.shapes import ATTRIBUTES, parse
from diffjax.data.text import decode
from diffjax.drawing import pictures
from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence
from diffjax.evaluation.requirements import check_prompts
from diffjax.experiment import Experiment
from diffjax.metrics.alignment import THRESHOLDS, Alignment
from diffjax.metrics.alignment import alignment as judged

TILE = 64  # side of an entry of a confusion matrix, pixels
RENDERED = 200  # held-out scenes that give the score of real images


def of_alignment(e: Experiment) -> tuple[str, ...]:
    """The names of the scores: of captions as in training, and of those with combinations held out from it."""
    attributes = [a for a in ATTRIBUTES if a != "relation" or max(e.source.objects) > 1]
    names = [f"alignment_{name}" for name in ("exact", *attributes)]
    return (*names, *(f"{name}_heldout" for name in names)) if e.source.held_pairs else tuple(names)


def alignment(e: Evidence) -> list[Score]:
    """Share of samples that show exactly what their caption says, and accuracy for each attribute."""
    source, captions = e.experiment.source, decode(e.drawn.label)
    unseen = np.array([source.is_held_out(parse(caption)) for caption in captions])
    heldout = source.split("heldout")
    batch = heldout.take(np.arange(min(RENDERED, len(heldout))))
    real_result = judged(decode(batch["caption"]), batch["x"])
    scores = []
    for suffix, mask in (("", ~unseen), ("_heldout", unseen)):
        if mask.any():
            result = judged(np.array(captions)[mask], e.drawn.x[mask])
            scores += _scores(
                result, real_result, suffix, e.drawn_protocol | {"captions": result.count, "read": THRESHOLDS}
            )
            e.pictures |= {f"confusion_{a}{suffix}": confusion(result, a) for a in result.attributes}
    return scores


def confusion(found: Alignment, attribute: str) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of the confusion matrix: a row for each wanted value, darker for a larger share of its row."""
    wanted, seen, counts = found.matrix(attribute)
    shares = counts / counts.sum(axis=1, keepdims=True)
    tiles = (255 * (1 - shares)).round().astype(np.uint8).reshape(-1, 1, 1, 1).repeat(TILE, 1).repeat(TILE, 2)
    cell_labels = [f"{name}: {count}" for row in counts for name, count in zip(seen, row, strict=True)]
    return pictures.grid(tiles, columns=len(seen), captions=cell_labels, rows=[f"wanted {name}" for name in wanted])


def variety(e: Evidence) -> list[Score]:
    """Variety of samples of one prompt: their mean squared distance, over that of scenes rendered for the prompt.

    Compares the first two samples of each prompt, and two rendered scenes with its things at different places. 0: all
    samples of a prompt are the same. Raises UserError if fewer than two prompts have two samples.
    """
    captions, samples_of = decode(e.drawn.label), defaultdict(list)
    check_prompts(len(captions), captions)
    for i, caption in enumerate(captions):
        samples_of[caption].append(i)
    pairs = {caption: samples[:2] for caption, samples in samples_of.items() if len(samples) > 1}
    first, second = np.transpose(list(pairs.values()))
    scenes = [parse(caption) for caption in pairs]
    rendered = [e.experiment.source.rendered(scenes, number) for number in (0, 1)]
    value = _distance(e.drawn.x[first], e.drawn.x[second]) / _distance(*rendered)
    meaning = "squared distance of two samples of a prompt, over that of two scenes rendered for it"
    return [Score("variety", value, 1.0, meaning, e.drawn_protocol | {"captions": len(pairs)})]


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.mean((one.astype(float) - two) ** 2))


def _scores(found: Alignment, floor: Alignment, ending: str, protocol: dict) -> list[Score]:
    exact_meaning = f"{floor.count} rendered scenes; here of {found.count} samples"
    scores = [Score(f"alignment_exact{ending}", found.exact, floor.exact, exact_meaning, protocol)]
    for attribute in (a for a in ATTRIBUTES if a in found.attributes):
        mistakes = found.mistakes(attribute)
        meaning = f"rendered scenes{f'; here {mistakes}' if mistakes else ''}"
        value, at_best = found.attributes[attribute], floor.attributes.get(attribute)
        scores.append(Score(f"alignment_{attribute}{ending}", value, at_best, meaning, protocol))
    return scores
