"""What `sample --prompt` asks for: the prompts, what to be guided away from, and what of them a model reads."""

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
    """The flags of `sample` about words. Several prompts are drawn in turn; the empty one means "no caption"."""

    prompt: tuple[str, ...] = ()
    negative: str | None = None

    @property
    def given(self) -> bool:
        return bool(self.prompt) or self.negative is not None

    def checked(self, method: Method, spec: Any) -> Any:
        """The sampler `spec`, guided away from the negative prompt; says what is too long to be read.

        Raises UserError where the model reads nothing, or nothing is guided.
        """
        if not method.reads_captions:
            flag, what = ("--prompt", self.prompt[0]) if self.prompt else ("--negative", self.negative)
            how = "method.conditional=true, on data with captions"
            raise UserError(
                f"{flag}: {what!r} given, but this model was trained without captions; train one with {how}"
            )
        for flag, texts in (("--prompt", self.prompt), ("--negative", (self.negative,) if self.negative else ())):
            for text, what, read in _too_long(method, texts):
                if parallel.is_main():
                    print(f"{flag}: {text!r} is longer than the {what} that this model reads: {read!r}")
        if self.negative is None:
            return spec
        if not hasattr(method, "with_negative"):
            raise UserError("--negative: this model has no guidance, away from nothing")
        return method.with_negative(spec, self.negative)


def _too_long(method: Method, texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """Of the texts that are longer than is read: the text, what is read of any at most, and what of this."""
    if not texts:
        return []
    if method.space.encoder is None:
        length = method.space.caption
        return [(text, f"{length} bytes", cut(text, length)) for text in texts if not fits(text, length)]
    encoded = method.cond_for(method.captions(texts))
    return [(texts[i], f"{method.space.encoder.tokens} tokens", encoded.read(i)) for i in np.flatnonzero(encoded.cut)]
