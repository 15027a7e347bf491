"""What samples are conditioned on: checks a label, prompts and guidance against the model, and guides the sampler."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffjax import parallel
from diffjax.data.text import cut, fits
from diffjax.errors import UserError
from diffjax.methods.method import Method


def conditioned(
    method: Method,
    spec: Any,
    label: int | None = None,
    prompts: Sequence[str] = (),
    negative: str | None = None,
    guidance: float | None = None,
) -> tuple[Any, np.ndarray | None]:
    """The sampler `spec` with this guidance, and the labels or captions to draw in turn (see `method.requested`).

    An empty prompt means "no caption"; `negative` is a caption to guide away from. Raises UserError for what does not
    fit the model.
    """
    if label is not None:
        _check_label(method, spec, label)
    if guidance is not None:
        if not hasattr(method, "with_guidance"):
            raise UserError(f"`guidance`: {guidance:g} given, but this model has none; it is for diffusion models")
        try:
            spec = method.with_guidance(spec, guidance)
            method.check_sampler(spec)
        except UserError as error:
            raise error.about("sampler.guidance.scale", "`guidance`") from None
    _check_captions(method, prompts, negative)
    if negative is not None:
        if not hasattr(method, "with_negative"):
            raise UserError("`negative`: this model has no guidance to use it in")
        spec = method.with_negative(spec, negative)
    return spec, method.requested(spec, label, prompts)


def _check_label(method: Method, spec: Any, label: int) -> None:
    if method.reads_captions:
        raise UserError(f"`label`: {label} given, but this model draws by caption; use `prompt`")
    if not method.draws_by_label(spec):
        raise UserError(f"`label`: {label} given, but this model was trained without labels (method.conditional=false)")
    if not 0 <= label < method.space.num_classes:
        raise UserError(f"`label`: {label} must be from 0 to {method.space.num_classes - 1}")


def _check_captions(method: Method, prompts: Sequence[str], negative: str | None) -> None:
    """Raises UserError if the model reads no captions. Prints a line for captions that it truncates."""
    for field, texts in (("prompt", tuple(prompts)), ("negative", () if negative is None else (negative,))):
        if texts and not method.reads_captions:
            remedy = "train one with method.conditional=true, on data with captions"
            raise UserError(f"`{field}`: {texts[0]!r} given, but this model was trained without captions; {remedy}")
        for text, limit, read in _truncated(method, texts):
            if parallel.is_main():
                print(f"{field}: {text!r} is longer than the {limit} that this model reads: {read!r}")


def _truncated(method: Method, texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """The texts that are too long for the model: (text, the limit, the part that the model reads)."""
    if not texts:
        return []
    if method.space.encoder is None:
        length = method.space.caption
        return [(text, f"{length} bytes", cut(text, length)) for text in texts if not fits(text, length)]
    encoded = method.cond_for(method.captions(texts))
    return [(texts[i], f"{method.space.encoder.tokens} tokens", encoded.read(i)) for i in np.flatnonzero(encoded.cut)]
