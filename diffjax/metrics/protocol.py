"""A number together with how it was measured, and the rule for comparing two of them.

PROTOCOL is what must agree for two numbers to mean the same: feature network and its hash, resize, quantisation,
counts, reference, labels, flip, k. PROVENANCE is what an experiment varies: seed, EMA, sampler, NFE, guidance, device,
commit; of images compared with a reference also its data set and split, as the reference is known by its images' hash.
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
    """One measured number. `protocol` and `provenance` are JSON objects, kept as JSON would give them back."""

    name: str
    value: float
    protocol: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))
        for part in ("protocol", "provenance"):
            object.__setattr__(self, part, json.loads(canonical_json(getattr(self, part))))

    def to_json(self) -> str:
        """One line of strict JSON. A value that is not finite becomes the string "inf", "-inf" or "nan"."""
        value = self.value if math.isfinite(self.value) else str(self.value)
        return canonical_json(
            {"name": self.name, "value": value, "protocol": self.protocol, "provenance": self.provenance}
        )

    @classmethod
    def from_json(cls, text: str) -> "Metric":
        fields = json.loads(text)
        return cls(**fields | {"value": float(fields["value"])})


def check_comparable(first: Metric, *others: Metric) -> None:
    """Raises UserError, naming every field of the protocol that differs, unless all may be compared or averaged."""
    for other in others:
        if other.name != first.name:
            raise UserError(f"metric: {first.name} and {other.name} are different quantities; compare like with like")
        differing = differences(first.protocol, other.protocol)
        if differing:
            raise UserError(f"protocol: values of {first.name} differ in {', '.join(differing)}; measure both alike")


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What two protocols, as JSON gives them back, do not agree in: "k (3 against 5)", ..."""
    one, two = _flat(first), _flat(second)
    return [
        f"{key} ({one.get(key, ABSENT)} against {two.get(key, ABSENT)})"
        for key in sorted(one | two)
        if one.get(key, ABSENT) != two.get(key, ABSENT)
    ]


class Average(NamedTuple):
    """Of one quantity, measured alike n times."""

    mean: float
    sd: float  # of one measurement, n - 1 in the denominator; NaN for one
    n: int


def average(metrics: Sequence[Metric]) -> Average:
    """The mean and spread of the same quantity under one protocol. Raises UserError, as `check_comparable`, if not."""
    if not metrics:
        raise UserError("metrics: none to average; at least 1")
    check_comparable(*metrics)
    values = [metric.value for metric in metrics]
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return Average(statistics.fmean(values), sd, len(values))


def fingerprint(obj: Any, length: int = 12) -> str:
    """A short hash of anything JSON can say, the same on every machine: SHA-256 of its canonical form, in hexadecimal.

    The order of keys does not matter; 1 and 1.0 are different. Raises what `canonical_json` raises.
    """
    return hashlib.sha256(canonical_json(obj).encode()).hexdigest()[:length]


def canonical_json(obj: Any) -> str:
    """One line of JSON with sorted keys; arrays and their scalars as numbers. Raises ValueError on NaN and infinity."""
    return json.dumps(obj, sort_keys=True, allow_nan=False, ensure_ascii=False, default=_plain)


def _plain(obj: Any) -> Any:
    if hasattr(obj, "tolist"):  # NumPy and JAX, arrays and scalars
        return obj.tolist()
    raise TypeError(f"{type(obj).__name__} has no place in JSON; give its name or its fields")


def _flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    leaves = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return leaves
