"""Whether what was drawn is what was asked for, in words: of scenes of shapes, which can be read exactly."""

from collections import defaultdict

import numpy as np
from jaxtyping import UInt8

from diffjax import pictures
from diffjax.data.shapes import ATTRIBUTES, parse
from diffjax.data.text import decode
from diffjax.measures.contract import Score
from diffjax.measures.evidence import Evidence
from diffjax.measures.possible import check_prompts
from diffjax.metrics.alignment import THRESHOLDS, Alignment
from diffjax.metrics.alignment import alignment as judged
from diffjax.run import Experiment

TILE = 64  # pixels of an entry of a confusion matrix
RENDERED = 200  # held-out scenes, read to see what the checker gives real ones


def of_alignment(e: Experiment) -> tuple[str, ...]:
    """The names of the scores: of captions such as training saw, and of those with things that it never saw."""
    attributes = [a for a in ATTRIBUTES if a != "relation" or max(e.source.objects) > 1]
    names = [f"alignment_{name}" for name in ("exact", *attributes)]
    return (*names, *(f"{name}_heldout" for name in names)) if e.source.held_pairs else tuple(names)


def alignment(e: Evidence) -> list[Score]:
    """The share of samples that show exactly what their caption says, and each attribute's share of right answers."""
    source, captions = e.experiment.source, decode(e.drawn.label)
    unseen = np.array([source.is_held_out(parse(caption)) for caption in captions])
    real = source.split("heldout")
    batch = real.take(np.arange(min(RENDERED, len(real))))
    floor = judged(decode(batch["caption"]), batch["x"])
    scores = []
    for ending, chosen in (("", ~unseen), ("_heldout", unseen)):
        if chosen.any():
            found = judged(np.array(captions)[chosen], e.drawn.x[chosen])
            scores += _scores(found, floor, ending, e.drawn_protocol | {"captions": found.count, "read": THRESHOLDS})
            e.pictures |= {f"confusion_{a}{ending}": confusion(found, a) for a in found.attributes}
    return scores


def confusion(found: Alignment, attribute: str) -> UInt8[np.ndarray, "height width 3"]:
    """How often what was seen where what was wanted: a row for each that was wanted, darker where it is more of it."""
    wanted, seen, counts = found.matrix(attribute)
    shares = counts / counts.sum(axis=1, keepdims=True)
    tiles = (255 * (1 - shares)).round().astype(np.uint8).reshape(-1, 1, 1, 1).repeat(TILE, 1).repeat(TILE, 2)
    said = [f"{name}: {count}" for row in counts for name, count in zip(seen, row, strict=True)]
    return pictures.grid(tiles, columns=len(seen), captions=said, rows=[f"wanted {name}" for name in wanted])


def variety(e: Evidence) -> list[Score]:
    """How much samples of one prompt differ: their mean squared distance, over that of scenes rendered for that prompt.

    Each prompt's first two samples are compared, as two scenes with its things at other places are. 0: always the same
    picture. Raises UserError where fewer than two prompts were drawn by twice.
    """
    captions, samples_of = decode(e.drawn.label), defaultdict(list)
    check_prompts(len(captions), captions)
    for i, caption in enumerate(captions):
        samples_of[caption].append(i)
    pairs = {caption: samples[:2] for caption, samples in samples_of.items() if len(samples) > 1}
    one, two = np.transpose(list(pairs.values()))
    scenes = [parse(caption) for caption in pairs]
    rendered = [e.experiment.source.rendered(scenes, number) for number in (0, 1)]
    value = _distance(e.drawn.x[one], e.drawn.x[two]) / _distance(*rendered)
    means = "squared distance of two samples of a prompt, over that of two scenes rendered for it"
    return [Score("variety", value, 1.0, means, e.drawn_protocol | {"captions": len(pairs)})]


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.mean((one.astype(float) - two) ** 2))


def _scores(found: Alignment, floor: Alignment, ending: str, protocol: dict) -> list[Score]:
    whole = f"{floor.count} rendered scenes; here of {found.count} samples"
    scores = [Score(f"alignment_exact{ending}", found.exact, floor.exact, whole, protocol)]
    for attribute in (a for a in ATTRIBUTES if a in found.attributes):
        said = found.mistakes(attribute)
        means = f"rendered scenes{f'; here {said}' if said else ''}"
        value, best = found.attributes[attribute], floor.attributes.get(attribute)
        scores.append(Score(f"alignment_{attribute}{ending}", value, best, means, protocol))
    return scores
