"""Checks of hyper-parameters: each mistake is a one-line UserError that names the field, its value and what is right.

`field` is the whole path in a config, such as "method.process.sigma_max".
"""

import math

from diffjax.errors import UserError


def positive(field: str, value: float, advice: str) -> None:
    """Raises UserError unless 0 < value < infinity."""
    if not 0 < value < math.inf:
        raise UserError(f"{field}: {value} must be positive and finite; {advice}")


def not_negative(field: str, value: float, advice: str) -> None:
    """Raises UserError unless 0 <= value < infinity."""
    if not 0 <= value < math.inf:
        raise UserError(f"{field}: {value} must not be negative or infinite; {advice}")


def fraction(field: str, value: float) -> None:
    """Raises UserError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise UserError(f"{field}: {value:g} must lie between 0 and 1")
