"""The base class of training methods: the interface that the loop uses, and the settings that every method has."""

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
from diffjax.diffusion import split
from diffjax.encoders import Encoded
from diffjax.errors import UserError
from diffjax.models import NETWORKS
from diffjax.models.text import FrozenText, NoText
from diffjax.optim.ema import Average
from diffjax.optim.optimizers import Optimizer
from diffjax.optim.state import TrainState, Tree, update
from diffjax.parallel import Axis
from diffjax.precision import Precision

# "x" [m, b, ...] as stored, "label" [m, b], "position" [m, b] (the index in the global batch); "caption" [m, b, bytes]
# if the data have any, and its "embedding" [m, b, 1 + n, d + 1] if there is a frozen encoder. The input of a network
# besides x is its cond: a label, a caption or an embedding. Networks call all three `label`.
Batch = dict[str, Array]
Metrics = dict[str, Array]
Named = TypeVar("Named", bound=tuple)


@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """Trains a set of named networks, one pure step at a time, and draws samples from them."""

    space: Space
    precision: Precision
    optimizers: dict[str, optax.GradientTransformation]  # by network, made by `optimizer`
    ema: Average
    batch_size: int  # global
    accumulate: int  # the number of sequential parts of a network's batch

    networks: ClassVar[tuple[str, ...]]  # the networks that are trained; the first one samples
    samplers: ClassVar[dict[str, type]]  # the sampler components that work with this method
    given: ClassVar[dict[str, set[str]]] = {}  # names of the inputs of each network, by the field that holds it
    conditional: ClassVar[bool] = False  # whether networks receive labels, or captions if the data have any
    generates: ClassVar[bool] = True  # whether samples can be drawn

    @property
    def batches_per_step(self) -> int:
        """The number of real batches that one step consumes."""
        return 1

    @property
    def group(self) -> int:
        """The number of adjacent examples that a network judges together; they must be on the same device."""
        return 1

    @property
    def steps_differ(self) -> bool:
        """Whether some steps do more than others."""
        return False

    def optimizer(self, network: str, spec: Optimizer, images: int) -> optax.GradientTransformation:
        """The optimiser of a network that is updated once per step, in a run of `images` images."""
        return spec.build(self.batch_size, images)

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], batch: Batch) -> TrainState:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, state: TrainState, batch: Batch, key: Key[Array, ""], axis: Axis) -> tuple[TrainState, Metrics]:
        """Updates all networks once. Pure; `key` is the key of the run, into which the method folds `state.step`."""

    def train_network(
        self,
        state: TrainState,
        batch: Batch,
        loss: Callable[[Tree, Batch], tuple[Array, dict]],
        axis: Axis,
        remember: Callable[[dict, Tree], dict] | None = None,
    ) -> tuple[TrainState, Metrics]:
        """The step of a method with one network: an update on the step's only batch, then that of the averages.

        `loss(variables, batch)` and `remember(extra, examples)` are those of `diffjax.optim.state.update`.
        """
        (network,) = self.networks
        single_batch = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, network, loss, single_batch, self.optimizers[network], axis, self.accumulate, remember=remember
        )
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    @abc.abstractmethod
    def sample(
        self,
        variables: dict[str, Tree],
        spec: Any,
        keys: Key[Array, "b"],
        cond: Array | None,
        trajectory: bool = False,
    ) -> Any:
        """Draws one sample per key, in model units, with the sampler component `spec`. Pure."""

    def make(self, network: Callable[..., nn.Module], axis: Axis = Axis(), **known: Any) -> nn.Module:  # noqa: B008
        """Builds a network component for the shape and classes of the data, the precision of the run and `axis`.

        The network has no classes if it receives no labels. `known` overrides these fields and adds others.
        """
        num_classes = self.space.num_classes if self.conditional and not self.reads_captions else 0
        fields = {"shape": self.space.shape, "num_classes": num_classes, "precision": self.precision, "axis": axis}
        return network(**fields | known)

    def fits(self, network: Callable[..., nn.Module], slot: str, *fields: str) -> bool:
        """Whether a network takes the inputs given in this slot, requires no others, and has the fields."""
        network = class_of(network)
        _self, *inputs = inspect.signature(network.__call__).parameters.values()
        required, accepted = {p.name for p in inputs if p.default is p.empty}, {p.name for p in inputs}
        return required <= self.given[slot] <= accepted and all(hasattr(network, field) for field in fields)

    def fitting(self, slot: str, *fields: str) -> str:
        """The names of all networks that fit, for an error message."""
        return ", ".join(name for name, network in NETWORKS.items() if self.fits(network, slot, *fields))

    def check_conditional(self) -> None:
        """Raises UserError if the method is conditional and the data have neither labels nor captions."""
        if self.conditional and not self.space.num_classes and not self.space.caption:
            raise UserError("method.conditional: true, but the data have neither labels nor captions; it must be false")

    def check_text(self, slot: str) -> None:
        """Raises UserError unless the network `slot` has a caption encoder exactly if it receives captions."""
        network = getattr(self, slot)
        parameters = inspect.signature(network).parameters
        encoder = parameters["text"].default if "text" in parameters else NoText()
        if self.reads_captions and "text" not in parameters:
            name = class_of(network).__name__
            remedy = f"use {readers}, or" if (readers := self.fitting(slot, "text")) else "none that fits does; use"
            raise UserError(f"method.{slot}.name: {name} reads no captions; {remedy} method.conditional=false")
        if self.reads_captions and isinstance(encoder, NoText):
            raise UserError(f"method.{slot}.text: must not be none, as the network receives captions; use transformer")
        if not self.conditional and not isinstance(encoder, NoText):
            raise UserError(
                f"method.{slot}.text: must be none, as method.conditional is false; or make that true, on data with"
                " captions"
            )
        if not self.reads_captions and not isinstance(encoder, NoText):
            raise UserError(
                f"method.{slot}.text: must be none, as these data have no captions; or set data.caption where there is"
                " one, as in `config.data.caption='a handwritten {}'`"
            )
        if self.reads_captions and (class_of(encoder) is FrozenText) != bool(self.space.encoder):
            raise UserError(f"method.{slot}.text: must be frozen for all networks or for none")

    def complaint(self, values: dict[str, float]) -> str:
        """Describes what is wrong with a run that logs these values, in a few words; "" if it is healthy."""
        return ""

    @property
    def patience(self) -> float:
        """The number of images for which a complaint must last before the run is aborted."""
        return math.inf

    def process_of(self, variables: dict[str, Tree]) -> Any:
        """The forward process, for methods that have one, with the parameters in these variables."""
        return self.process

    @property
    def reads_captions(self) -> bool:
        """Whether the networks receive captions instead of labels."""
        return self.conditional and bool(self.space.caption)

    def cond_of(self, batch: Batch) -> Array | None:
        """The conditioning of a batch: captions, their embeddings by a frozen encoder, labels, or None."""
        if not self.conditional:
            return None
        if not self.reads_captions:
            return batch["label"]
        return batch["embedding" if self.space.encoder else "caption"]

    @property
    def null(self) -> np.ndarray | int:
        """The cond that means "no label": an extra class, the empty caption, or its embedding by a frozen encoder."""
        if self.reads_captions and self.space.encoder:
            return self.space.encoder(self.space.prompts).empty
        return np.zeros(self.space.caption, np.uint8) if self.reads_captions else self.space.num_classes

    def draws_by_label(self, spec: Any) -> bool:
        """Whether samples of a given label can be drawn."""
        return self.conditional and not self.reads_captions

    def requested(self, spec: Any, label: int | None = None, prompts: Sequence[str] = ()) -> np.ndarray | None:
        """The conditions to draw samples for, cyclically: prompts as bytes, labels, or None if unconditional.

        Defaults to the prompts of the data, or to every label.
        """
        if self.reads_captions:
            return self.captions(prompts or self.space.prompts)
        if not self.draws_by_label(spec):
            return None
        return np.arange(self.space.num_classes, dtype=np.int32) if label is None else np.array([label], np.int32)

    def captions(self, prompts: Sequence[str]) -> np.ndarray:
        """Prompts as bytes [k, n]: n as in the data, or long enough for all prompts with a frozen encoder."""
        length = max(self.space.caption, longest(prompts)) if self.space.encoder else self.space.caption
        return encode(prompts, length)

    def cond_for(self, requested: np.ndarray | None) -> np.ndarray | Encoded | None:
        """The cond for `requested` [k, ...]: captions embedded by a frozen encoder if there is one, else `requested`.

        In training, `cond_of` takes the embeddings from the batch instead, where they are already looked up.
        """
        return self.space.encoder(decode(requested)) if self.reads_captions and self.space.encoder else requested

    def check_sampler(self, spec: Any) -> None:  # noqa: B027  (most methods work with all settings)
        """Raises UserError if this method does not support the settings of a sampler component."""


def example_keys(key: Key[Array, ""], step: Array, batch: Batch) -> Key[Array, "b"]:
    """One key per example of a batch, by its index in the global batch: the same for any number of devices."""
    key = jax.random.fold_in(key, step)
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(batch["position"])


def split_into(kind: type[Named], keys: Key[Array, "b"]) -> Named:
    """Splits each example's key into the fields of a named tuple, each [b]."""
    return kind(*split(keys, len(kind._fields)))


def class_of(component: Callable[..., Any]) -> Callable[..., Any]:
    """The class of a component, such as a network, which may be wrapped in `functools.partial`."""
    return getattr(component, "func", component)


def name_of(component: Any, table: dict[str, Any]) -> str:
    """The name of a component in its table, which configs use; the class name of a component that is in no table."""
    component_class = component if component in table.values() else type(component)
    return next((name for name, entry in table.items() if entry is component_class), component_class.__name__)
