"""What the loop expects of a method, and what every method is given by the run."""

import abc
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Key

from diffjax.data.space import Space
from diffjax.data.text import decode, encode, longest
from diffjax.ema import Average
from diffjax.encoders import Encoded
from diffjax.errors import UserError
from diffjax.models.text import FrozenText, NoText
from diffjax.optim import Optimizer
from diffjax.parallel import Axis
from diffjax.precision import Precision
from diffjax.state import TrainState, Tree

# "x" [m, b, ...] as stored, "label" [m, b], perhaps "caption" [m, b, bytes] and what a frozen encoder says of it,
# "embedding" [m, b, 1 + n, d + 1]; "position" [m, b]: the place in the global batch. What a network is shown of it
# besides x is its cond: a label, a caption or an embedding. A network calls all three its `label`.
Batch = dict[str, Array]
Metrics = dict[str, Array]
Named = TypeVar("Named", bound=tuple)


@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """How to train a set of named networks, one pure step at a time, and how to draw from what they have learned."""

    space: Space
    precision: Precision
    optimizers: dict[str, optax.GradientTransformation]  # by network, as `optimizer` makes them
    ema: Average
    batch_size: int  # global
    accumulate: int  # parts into which a network's batch is split, one after the other

    networks: ClassVar[tuple[str, ...]]  # those that are trained, the first of them the one that samples
    samplers: ClassVar[dict[str, type]]  # the sampler components that fit
    conditional: ClassVar[bool] = False  # whether the networks are shown labels, or captions where there are any
    generates: ClassVar[bool] = True  # whether there is anything to draw

    @property
    def batches_per_step(self) -> int:
        """Real batches that one step uses up."""
        return 1

    @property
    def group(self) -> int:
        """Examples that are judged together, neighbours in the batch: no device may have a part of them."""
        return 1

    def optimizer(self, network: str, spec: Optimizer, images: int) -> optax.GradientTransformation:
        """The optimiser of a network that is updated once a step, in a run of so many images."""
        return spec.build(self.batch_size, images)

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], batch: Batch) -> TrainState:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, state: TrainState, batch: Batch, key: Key[Array, ""], axis: Axis) -> tuple[TrainState, Metrics]:
        """One update of everything. Pure; `key` is the run's, and `state.step` is folded into it here."""

    @abc.abstractmethod
    def sample(
        self,
        variables: dict[str, Tree],
        spec: Any,
        keys: Key[Array, "b"],
        cond: Array | None,
        trajectory: bool = False,
    ) -> Any:
        """One sample for each key, in model units, by the sampler component `spec`. Pure."""

    def make(self, network: Callable[..., nn.Module], axis: Axis = Axis(), **known: Any) -> nn.Module:  # noqa: B008
        """A network component completed by what the data and the run say; without labels if it is not to see them.

        `known` is what this method says otherwise.
        """
        num_classes = self.space.num_classes if self.conditional and not self.reads_captions else 0
        fields = {"shape": self.space.shape, "num_classes": num_classes, "precision": self.precision, "axis": axis}
        return network(**fields | known)

    def check_conditional(self) -> None:
        """Raises UserError where there is nothing to be shown."""
        if self.conditional and not self.space.num_classes and not self.space.caption:
            raise UserError("method.conditional: true, but the data have neither labels nor captions; it must be false")

    def check_text(self, slot: str) -> None:
        """Raises UserError unless the network at this slot has an encoder of captions, where it is shown any."""
        network = getattr(self, slot)
        parameters = inspect.signature(network).parameters
        encoder = parameters["text"].default if "text" in parameters else NoText()
        if self.reads_captions and "text" not in parameters:
            name = getattr(network, "func", network).__name__
            raise UserError(f"method.{slot}: {name} reads no captions; unet does; or take method.conditional=false")
        if self.reads_captions and isinstance(encoder, NoText):
            raise UserError(f"method.{slot}.text: none, but there are captions to read; take transformer")
        if not self.conditional and not isinstance(encoder, NoText):
            raise UserError(
                f"method.{slot}.text: there is nothing to read, as method.conditional is false; make it true, on data"
                " with captions, or take none"
            )
        if not self.reads_captions and not isinstance(encoder, NoText):
            raise UserError(
                f"method.{slot}.text: there is nothing to read, as these data have no captions; give them some, where"
                " there is a data.caption, as in --config.data.caption='a handwritten {}', or take none"
            )
        if self.reads_captions and (getattr(encoder, "func", encoder) is FrozenText) != bool(self.space.encoder):
            raise UserError(f"method.{slot}.text: all networks read by the same means; take frozen for all, or none")

    def complaint(self, values: dict[str, float]) -> str:
        """What is wrong with a run that logs these values, in a few words; "" while it is healthy."""
        return ""

    @property
    def patience(self) -> float:
        """Images for which a complaint must last before the run is given up."""
        return math.inf

    def process_of(self, variables: dict[str, Tree]) -> Any:
        """The forward process of a method that has one, as these variables have it."""
        return self.process

    @property
    def reads_captions(self) -> bool:
        """Whether they are shown captions, in place of labels."""
        return self.conditional and bool(self.space.caption)

    def cond_of(self, batch: Batch) -> Array | None:
        """What the networks are shown of a batch besides its examples: captions, or what a frozen encoder says of
        them, labels or nothing."""
        if not self.conditional:
            return None
        if not self.reads_captions:
            return batch["label"]
        return batch["embedding" if self.space.encoder else "caption"]

    @property
    def null(self) -> np.ndarray | int:
        """What stands for "no label"; the empty caption for "no caption", or what a frozen encoder says of that."""
        if self.reads_captions and self.space.encoder:
            return self.space.encoder(self.space.prompts).empty
        return np.zeros(self.space.caption, np.uint8) if self.reads_captions else self.space.num_classes

    def draws_by_label(self, spec: Any) -> bool:
        """Whether a sample of a given label can be asked for."""
        return self.conditional and not self.reads_captions

    def requested(self, spec: Any, label: int | None = None, prompts: Sequence[str] = ()) -> np.ndarray | None:
        """What to draw by, each in turn: prompts, as bytes, a label, or nothing at all (None).

        Where none is given, the data's own prompts, or every label there is.
        """
        if self.reads_captions:
            return self.captions(prompts or self.space.prompts)
        if not self.draws_by_label(spec):
            return None
        return np.arange(self.space.num_classes, dtype=np.int32) if label is None else np.array([label], np.int32)

    def captions(self, prompts: Sequence[str]) -> np.ndarray:
        """Prompts as bytes [k, n]: as many as are read, or all where a frozen encoder counts its tokens instead."""
        length = max(self.space.caption, longest(prompts)) if self.space.encoder else self.space.caption
        return encode(prompts, length)

    def cond_for(self, requested: np.ndarray | None) -> np.ndarray | Encoded | None:
        """What the networks are given for what is asked for, [k, ...]: the same, or of captions what a frozen encoder
        says of them. Of a batch in training `cond_of` gives that, which has been looked up already."""
        return self.space.encoder(decode(requested)) if self.reads_captions and self.space.encoder else requested

    def check_sampler(self, spec: Any) -> None:  # noqa: B027  (most can do whatever their samplers ask)
        """Raises UserError when this method cannot be drawn from as a sampler component asks."""


def example_keys(key: Key[Array, ""], step: Array, batch: Batch) -> Key[Array, "b"]:
    """One key for each example of one batch, by its place in the global batch: the same on any number of devices."""
    key = jax.random.fold_in(key, step)
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(batch["position"])


def split_into(kind: type[Named], keys: Key[Array, "b"]) -> Named:
    """Of each example's key as many as a named tuple has fields, each [b]."""
    return kind(*jax.vmap(lambda key: jax.random.split(key, len(kind._fields)), out_axes=1)(keys))
