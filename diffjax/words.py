"""What `sample --prompt` asks for: the prompts, what to be guided away from, and what of them a model reads."""

from dataclasses import dataclass
from typing import Any

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
        if not method.reads:
            flag, what = ("--prompt", self.prompt[0]) if self.prompt else ("--negative", self.negative)
            how = "method.conditional=true, on data with captions"
            raise UserError(
                f"{flag}: {what!r} given, but this model was trained without captions; train one with {how}"
            )
        length = method.space.caption
        for flag, text in [("--prompt", text) for text in self.prompt] + [("--negative", self.negative or "")]:
            if not fits(text, length) and parallel.is_main():
                print(
                    f"{flag}: {text!r} is longer than the {length} bytes that this model reads: {cut(text, length)!r}"
                )
        if self.negative is None:
            return spec
        if not hasattr(method, "with_negative"):
            raise UserError("--negative: this model has no guidance, away from nothing")
        return method.with_negative(spec, self.negative)
