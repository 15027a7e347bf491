"""Guidances that wrap one another: found by what is outside or inside, and the same again with one thing changed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from diffjax.diffusion.guidance import (
    Guidance,
    Null,
    autoguidance,
    classifier,
    classifier_free,
    dynamic_threshold,
    interval,
    negative,
    none,
    rounded,
)


def outermost(guidance: Guidance) -> Callable:
    """The guidance that wraps all others."""
    return _parts(guidance)[0]


def innermost(guidance: Guidance) -> Callable:
    """The guidance that all others wrap."""
    func, fields = _parts(guidance)
    inner = _wrapped(func, fields)
    return innermost(inner) if inner is not None else func


def with_scale(guidance: Guidance, scale: float) -> Guidance:
    """The same guidance at another scale; classifier-free where there is none."""
    func, fields = _parts(guidance)
    if func is none:
        return partial(classifier_free, scale=scale)
    inner = _wrapped(func, fields)
    return partial(func, **fields | ({"scale": scale} if inner is None else {"guidance": with_scale(inner, scale)}))


def scale_of(guidance: Guidance) -> float:
    """The scale of the innermost guidance; 1 where there is none."""
    func, fields = _parts(guidance)
    inner = _wrapped(func, fields)
    default = getattr(func, "__kwdefaults__", None) or {}
    return scale_of(inner) if inner is not None else fields.get("scale", default.get("scale", 1.0))


def with_null(guidance: Guidance, null: Null) -> Guidance:
    """The same guidance with another label in place of "no label", next to the denoiser whatever wraps it."""
    func, fields = _parts(guidance)
    inner = _wrapped(func, fields)
    if inner is None:
        return partial(negative, guidance=guidance, instead=null)
    return partial(func, **fields | {"guidance": with_null(inner, null)})


def with_other(guidance: Guidance, opened: Callable[[Callable, str], Any]) -> Guidance:
    """The same guidance with the second model it needs, `opened(guidance's function, its run)`; as it is if none."""
    func, fields = _parts(guidance)
    inner = _wrapped(func, fields)
    if inner is not None:
        return partial(func, **fields | {"guidance": with_other(inner, opened)})
    return partial(func, **fields | {"other": opened(func, fields.get("run", ""))}) if func in NEED_OTHER else guidance


def _parts(guidance: Guidance) -> tuple[Callable, dict[str, Any]]:
    return (guidance.func, guidance.keywords) if isinstance(guidance, partial) else (guidance, {})


def _wrapped(func: Callable, fields: dict[str, Any]) -> Guidance | None:
    """The guidance in a guidance's own field `guidance`, if it has one."""
    return fields.get("guidance", WRAP[func]) if func in WRAP else None


NEED_OTHER = (autoguidance, classifier)
WRAP = {  # and what by default
    interval: classifier_free,
    dynamic_threshold: classifier_free,
    negative: classifier_free,
    rounded: none,
}
