"""Nested guidance: checks it, lists its levels, and rebuilds the nest with one setting changed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from diffjax.diffusion.denoiser import Denoiser
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
from diffjax.diffusion.process import Process


def check(guidance: Guidance, process: Process) -> None:
    """Raises UserError for a field of `guidance`, or of one that it wraps, that is out of range. Calls no network.

    Each guidance checks its own fields when it is given a denoiser, which it calls later.
    """
    uncalled = Denoiser(lambda *_: None)
    with_other(guidance, lambda *_: uncalled)(uncalled, 0, process)


def levels(guidance: Guidance) -> list[Callable]:
    """The functions of all levels, from the outermost to the innermost."""
    func, kwargs = _parts(guidance)
    inner = _wrapped(func, kwargs)
    return [func] if inner is None else [func, *levels(inner)]


def innermost(guidance: Guidance) -> Callable:
    """The guidance that all others wrap."""
    return levels(guidance)[-1]


def with_scale(guidance: Guidance, scale: float) -> Guidance:
    """The same guidance with another scale for the innermost one; classifier-free where there is none."""
    func, kwargs = _parts(guidance)
    if func is none:
        return partial(classifier_free, scale=scale)
    inner = _wrapped(func, kwargs)
    return partial(func, **kwargs | ({"scale": scale} if inner is None else {"guidance": with_scale(inner, scale)}))


def scale_of(guidance: Guidance) -> float:
    """The scale of the innermost guidance; 1 if it has none."""
    func, kwargs = _parts(guidance)
    inner = _wrapped(func, kwargs)
    defaults = getattr(func, "__kwdefaults__", None) or {}
    return scale_of(inner) if inner is not None else kwargs.get("scale", defaults.get("scale", 1.0))


def with_null(guidance: Guidance, null: Null) -> Guidance:
    """The same guidance with `null` in place of "no label": wraps the innermost guidance in `negative`."""
    func, kwargs = _parts(guidance)
    inner = _wrapped(func, kwargs)
    if inner is None:
        return partial(negative, guidance=guidance, instead=null)
    return partial(func, **kwargs | {"guidance": with_null(inner, null)})


def with_other(guidance: Guidance, opened: Callable[[Callable, dict], Any]) -> Guidance:
    """The same guidance with its second model, `opened(function, its keywords)`; unchanged if it needs none."""
    func, kwargs = _parts(guidance)
    inner = _wrapped(func, kwargs)
    if inner is not None:
        return partial(func, **kwargs | {"guidance": with_other(inner, opened)})
    return partial(func, **kwargs | {"other": opened(func, kwargs)}) if func in NEED_OTHER else guidance


def _parts(guidance: Guidance) -> tuple[Callable, dict[str, Any]]:
    """The function of a guidance, and the keywords bound to it."""
    return (guidance.func, guidance.keywords) if isinstance(guidance, partial) else (guidance, {})


def _wrapped(func: Callable, fields: dict[str, Any]) -> Guidance | None:
    """The value of the keyword `guidance`, given or by default; None for guidance that wraps no other."""
    return fields.get("guidance", WRAP[func]) if func in WRAP else None


NEED_OTHER = (autoguidance, classifier)
WRAP = {  # guidance that wraps another: its default
    interval: classifier_free,
    dynamic_threshold: classifier_free,
    negative: classifier_free,
    rounded: none,
}
