"""Builds the objects that a config names: the data, the method, the sampler, the layout of devices."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel
from diffjax.config import build, errors_at
from diffjax.data import Stream
from diffjax.data.source import in_memory
from diffjax.diffusion import Process, Sampler
from diffjax.diffusion.guidance import classifier
from diffjax.diffusion.nested import with_other
from diffjax.errors import UserError
from diffjax.frozen_text import open_for, readers_of
from diffjax.inference.embedding import Embedder
from diffjax.inference.sampling import Generator
from diffjax.keys import SEEDS, Role, key_of
from diffjax.methods import Diffusion, NoisyClassifier
from diffjax.methods.method import Method
from diffjax.metrics.features import Extractor, Outputs
from diffjax.optim.ema import network_of
from diffjax.optim.optimizers import Optimizer
from diffjax.optim.state import TrainState
from diffjax.parallel import Layout, Tree
from diffjax.precision import Precision


@dataclass(frozen=True)
class Experiment:
    """The objects of a config: the data, the method, the sampler, and the layout of devices."""

    config: ConfigDict
    source: Any
    method: Method
    sampler: Any
    layout: Layout
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, config: ConfigDict) -> "Experiment":
        """Builds everything a config names. Raises UserError for whatever can be checked before anything runs."""
        _check_numbers(config)
        layout = parallel.layout(**config.parallel)
        batch_size = config.train.batch_size
        source = build("data", config.data)
        space = source.space
        if space.caption and (readers := readers_of(config.method)):
            encoder, config = open_for(readers, config)
            space = replace(space, encoder=encoder)
        make_method = build("method", config.method)
        method = make_method(
            space=space,
            precision=Precision(**config.precision),
            optimizers={},
            ema=build("ema", config.ema),
            batch_size=batch_size,
            accumulate=config.train.accumulate,
        )
        recipes, images = _optimizers(config.optim, method.networks), config.train.steps * batch_size
        method = replace(method, optimizers={name: method.optimizer(name, r, images) for name, r in recipes.items()})
        sampler = _fitting(build("sampler", config.sampler), repr(config.sampler.name), method, config.method.name)
        return cls(config, source, method, sampler, layout)

    def key(self, role: Role) -> jax.Array:
        """The run's random key for a role, from the config's seed; sampling and measuring have seeds of their own."""
        return key_of(self.config.seed, role)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of one step's input, with batches of `batch_size`."""
        lead, space = (self.method.batches_per_step, batch_size), self.method.space
        parts = {"x": (space.shape, space.stored), "position": ((), jnp.int32)} | space.annotations
        return {name: jax.ShapeDtypeStruct((*lead, *shape), dtype) for name, (shape, dtype) in parts.items()}

    def stream(self, step: int = 0) -> Stream:
        """The training batches, starting after `step`."""
        return Stream(
            self.source, self.config.seed, self.config.train.batch_size, self.method.batches_per_step, self.layout,
            step, encoder=self.method.space.encoder,
        )  # fmt: skip

    def init(self, key: jax.Array) -> TrainState:
        """The state before step 1. Traceable, so that `jax.eval_shape` gives its shapes without computing it."""
        batch = jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), self.batch_shapes(1))
        return self.method.init(key, batch).tracking(self.method.ema)

    def initial_state(self, shapes: TrainState, warm: TrainState | None = None) -> TrainState:
        """The state before step 1 on its devices, initialised from the seed; networks are those of `warm` if given."""
        shardings = self.layout.of_state(shapes)
        state = jax.jit(self.init, out_shardings=shardings)(self.key(Role.INIT))
        if warm is None:
            return state
        averages = {name: warm.ema.get(name, warm.averaged[network_of(name)[0]]) for name in state.ema}
        networks = {name: warm.params[name] for name in state.params}
        return jax.jit(lambda state: state, out_shardings=shardings)(state.replace(params=networks, ema=averages))

    def fitting(self, spec: Any) -> Any:
        """A sampler made in code, with the second model of its guidance if it needs one.

        Raises UserError, which names `spec`, if it cannot draw from this method.
        """
        if spec is self.sampler:
            return spec
        try:
            return _fitting(spec, type(spec).__name__, self.method, self.config.method.name)
        except UserError as error:
            raise error.about("sampler.name", "`spec`").about("sampler.", "`spec`.") from None

    def generator(self, spec: Any = None, batch_size: int = 0, trajectory: bool = False) -> Generator:
        """A generator that draws from this experiment's networks with `spec`, by default its own sampler.

        Generators of its own sampler are made once, so that whatever draws from a run shares their compiled programs.
        """
        spec, batch_size = spec or self.sampler, batch_size or self.config.eval.batch_size

        def make() -> Generator:
            return Generator(self.method, spec, self.layout, batch_size, trajectory)

        return self.once(("generator", batch_size, trajectory), make) if spec is self.sampler else make()

    def once(self, name: Any, make: Callable[[], Any]) -> Any:
        """The cached object of this name, made on first use: programs are compiled, and real data embedded, once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def logits(self, variables: dict[str, Tree], images: np.ndarray, batch_size: int = 512) -> np.ndarray:
        """A classifier's logits of stored images: [n, h, w, c] -> [n, k]. Raises UserError if some are not finite."""

        def embedder() -> Embedder:
            classes = self.method.space.num_classes
            extractor = Extractor("logits", classes, {}, {}, lambda v, x: Outputs(self.method.logits(v, x)))
            return Embedder(extractor, self.layout, batch_size)

        embedded = self.once("logits", embedder)(in_memory(images, np.zeros(len(images))), variables=variables)
        return embedded.features


def _fitting(sampler: Any, name: str, method: Method, method_name: str) -> Any:
    """The sampler, which must fit the method, with the second model of its guidance if it needs one."""
    kinds = (Sampler,) if isinstance(method, Diffusion) else tuple(method.samplers.values())
    if not isinstance(sampler, kinds):
        raise UserError(f"sampler.name: {name} cannot draw from a {method_name}; use {', '.join(method.samplers)}")
    method.check_sampler(sampler)
    if not hasattr(sampler, "guidance"):
        return sampler
    return replace(sampler, guidance=with_other(sampler.guidance, partial(_other, method)))


def _other(method: Method, guidance: Any, fields: dict[str, Any]) -> Any:
    """The second model of a guidance, from its run directory: a denoiser, or a classifier of noisy examples.

    A guidance made in code may already have it.
    """
    if "other" in fields:
        return fields["other"]
    by_classifier, path = guidance is classifier, fields.get("run", "")
    method_class, kind = (NoisyClassifier, "noisy_classifier") if by_classifier else (Diffusion, "diffusion")
    if not path:
        raise UserError(f"sampler.guidance.run: {guidance.__name__} needs the run directory of a {kind} model")
    from diffjax.run import load  # deferred: a run has an experiment

    try:
        run = load(path)
    except UserError as error:
        raise error.about("`workdir`: ", "sampler.guidance.run: ") from None
    if not isinstance(run.experiment.method, method_class):
        raise UserError(f"sampler.guidance.run: {path} is a {run.experiment.config.method.name} model, not a {kind}")
    other = run.experiment.method
    if (other.space, other.process) != (method.space, method.process):
        raise UserError(f"sampler.guidance.run: {path} must have the data and the process of the run it guides")
    if not by_classifier and other.super_resolution != method.super_resolution:
        raise UserError(
            f"sampler.guidance.run: {path} has method.super_resolution={other.super_resolution}, which must be the"
            f" {method.super_resolution} of the run it guides"
        )
    if not isinstance(method.process, Process):
        raise UserError(
            "sampler.guidance.name: a learned noise schedule cannot be guided by a second model, whose schedule differs"
        )
    return other.log_class(run.ema) if by_classifier else run.denoiser


def _check_numbers(config: ConfigDict) -> None:
    """Raises UserError for counts that are too small, and for an `eval.best` that no checkpoint could have."""
    if not 0 <= config.seed < SEEDS:
        raise UserError(f"seed: {config.seed} must be from 0 to {SEEDS - 1}")
    every = ("train.log_every", "train.sample_every", "train.checkpoint_every", "train.profile", "eval.every")
    least = dict.fromkeys(every, 0)  # 0: never
    least |= dict.fromkeys(("train.steps", "train.batch_size", "train.accumulate", "train.keep", "eval.batch_size"), 1)
    least["eval.num"] = 2
    for path, low in least.items():
        section, field = path.split(".")
        if config[section][field] < low:
            raise UserError(f"{path}: {config[section][field]} must be at least {low}")
    if config.eval.reference not in ("train", "heldout"):
        raise UserError(f"eval.reference: {config.eval.reference!r} must be 'train' or 'heldout'")
    best, eval_every, save_every = config.eval.best, config.eval.every, config.train.checkpoint_every
    if best and not best.startswith("eval/"):
        raise UserError(f"eval.best: {best!r} must be the name of an evaluation's value, such as 'eval/frechet_pixels'")
    if best and (eval_every < 1 or save_every % eval_every):
        raise UserError(
            f"eval.best: train.checkpoint_every={save_every} must be a multiple of eval.every={eval_every}, above 0"
        )


def _optimizers(node: ConfigDict, networks: tuple[str, ...]) -> dict[str, Optimizer]:
    """The optimiser of each network: `optim` is one component for all networks, or a section with one for each."""
    if "name" in node:
        return dict.fromkeys(networks, build("optim", node))
    if set(node) != set(networks):
        raise UserError(f"optim: {', '.join(node)} must be the networks that this method trains, {', '.join(networks)}")
    recipes = {}
    for network in networks:
        with errors_at(f"optim.{network}", "optim"):
            recipes[network] = build("optim", node[network])
    return recipes
