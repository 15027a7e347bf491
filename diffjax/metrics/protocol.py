"""A number with a record of how it was measured, and the rule for comparing two such numbers.

PROTOCOL is what must agree for two numbers to be comparable: feature network and its hash, resize, quantisation,
counts, reference, labels, flip, k. PROVENANCE is what an experiment varies: seed, EMA, sampler, NFE, guidance, device,
commit. For images compared with a reference, data set and split are provenance, as a hash identifies the reference.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffjax.errors import UserError

ABSENT = "absent"


@dataclass(frozen=True)
class Metric:
    """One measured number. `protocol` and `provenance` are JSON objects, normalised by a JSON round trip."""

    name: str
    value: float
    protocol: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))
        for name in ("protocol", "provenance"):
            object.__setattr__(self, name, json.loads(canonical_json(getattr(self, name))))


def check_comparable(first: Metric, *others: Metric) -> None:
    """Raises UserError, naming every field of the protocol that differs, unless all metrics are comparable."""
    for other in others:
        if other.name != first.name:
            raise UserError(f"metric: {first.name} and {other.name} are different quantities; must be the same")
        differing = differences(first.protocol, other.protocol)
        if differing:
            raise UserError(f"protocol: values of {first.name} differ in {', '.join(differing)}; measure both alike")


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The differences of two protocols, normalised by a JSON round trip: ["k (3 against 5)", ...]."""
    first_leaves, second_leaves = _flat(first), _flat(second)
    return [
        f"{key} ({first_leaves.get(key, ABSENT)} against {second_leaves.get(key, ABSENT)})"
        for key in sorted(first_leaves | second_leaves)
        if first_leaves.get(key, ABSENT) != second_leaves.get(key, ABSENT)
    ]


class Average(NamedTuple):
    """The average of n measurements of one quantity under one protocol."""

    mean: float
    sd: float  # of one measurement, n - 1 in the denominator; NaN if n = 1
    n: int


def average(metrics: Sequence[Metric]) -> Average:
    """Mean and standard deviation. Raises UserError if there are no metrics, or as `check_comparable` does."""
    if not metrics:
        raise UserError("metrics: none to average; must be at least 1")
    check_comparable(*metrics)
    values = [metric.value for metric in metrics]
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return Average(statistics.fmean(values), sd, len(values))


def fingerprint(obj: Any, length: int = 12) -> str:
    """A short hash of a JSON value, the same on every machine: SHA-256 of its canonical form, in hexadecimal.

    The order of keys does not matter; 1 and 1.0 are different. Raises as `canonical_json` does.
    """
    return hashlib.sha256(canonical_json(obj).encode()).hexdigest()[:length]


def canonical_json(obj: Any) -> str:
    """One line of JSON with sorted keys; arrays become lists. Raises ValueError on NaN and infinity."""
    return json.dumps(obj, sort_keys=True, allow_nan=False, ensure_ascii=False, default=_plain)


def _plain(obj: Any) -> Any:
    if hasattr(obj, "tolist"):  # NumPy and JAX, arrays and scalars
        return obj.tolist()
    raise TypeError(f"{type(obj).__name__} has no place in JSON; give its name or its fields")


def _flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Flattens a nested dict: {"a": {"b": 1}} -> {"a.b": 1}."""
    leaves = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return leaves
