"""`sample --prompt` and `--negative`: checks them against the model and guides the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffjax import parallel
from diffjax.data.text import cut, fits
from diffjax.errors import UserError
from diffjax.methods.method import Method


@dataclass(frozen=True)
class Words:
    """The flags --prompt and --negative. Several prompts are drawn in turn; an empty one means "no caption"."""

    prompt: tuple[str, ...] = ()
    negative: str | None = None

    @property
    def given(self) -> bool:
        return bool(self.prompt) or self.negative is not None

    def checked(self, method: Method, spec: Any) -> Any:
        """The sampler `spec`, guided away from the negative prompt. Prints a line for prompts that the model truncates.

        Raises UserError if the model reads no captions or has no guidance for a negative prompt.
        """
        if not method.reads_captions:
            flag, text = ("--prompt", self.prompt[0]) if self.prompt else ("--negative", self.negative)
            remedy = "train one with method.conditional=true, on data with captions"
            raise UserError(f"{flag}: {text!r} given, but this model was trained without captions; {remedy}")
        for flag, texts in (("--prompt", self.prompt), ("--negative", (self.negative,) if self.negative else ())):
            for text, limit, read in _truncated(method, texts):
                if parallel.is_main():
                    print(f"{flag}: {text!r} is longer than the {limit} that this model reads: {read!r}")
        if self.negative is None:
            return spec
        if not hasattr(method, "with_negative"):
            raise UserError("--negative: this model has no guidance to use it in")
        return method.with_negative(spec, self.negative)


def _truncated(method: Method, texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """The texts that are too long for the model: (text, the limit, the part that the model reads)."""
    if not texts:
        return []
    if method.space.encoder is None:
        length = method.space.caption
        return [(text, f"{length} bytes", cut(text, length)) for text in texts if not fits(text, length)]
    encoded = method.cond_for(method.captions(texts))
    return [(texts[i], f"{method.space.encoder.tokens} tokens", encoded.read(i)) for i in np.flatnonzero(encoded.cut)]
