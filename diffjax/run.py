"""Builds the objects that a config names (`Experiment`), and opens the run directory of a trained run (`load`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel
from diffjax.checkpoint import Checkpoints
from diffjax.conditioning import conditioned
from diffjax.config import build
from diffjax.data import Stream
from diffjax.data.source import in_memory
from diffjax.diffusion import Process
from diffjax.diffusion.guidance import classifier
from diffjax.diffusion.nested import with_other
from diffjax.ema import WIDEST, Power, network_of, reconstruct
from diffjax.embedding import Embedder
from diffjax.errors import UserError
from diffjax.frozen_text import open_for, readers_of
from diffjax.keys import Role, key_of
from diffjax.methods import Diffusion, NoisyClassifier
from diffjax.methods.method import Method
from diffjax.metrics.features import Extractor, Outputs
from diffjax.metrics.features.weights import content_hash
from diffjax.optim import Optimizer
from diffjax.parallel import Layout, Tree
from diffjax.precision import Precision
from diffjax.sampling import Drawn, Generator
from diffjax.state import TrainState
from diffjax.workdir import for_this_machine, read_config

if TYPE_CHECKING:
    from diffjax.measures import Score


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
        sampler = build("sampler", config.sampler)
        if not isinstance(sampler, tuple(method.samplers.values())):
            names = ", ".join(method.samplers)
            raise UserError(
                f"sampler.name: {config.sampler.name!r} cannot draw from a {config.method.name}; use {names}"
            )
        method.check_sampler(sampler)
        if hasattr(sampler, "guidance"):
            sampler = replace(sampler, guidance=with_other(sampler.guidance, partial(_other, method)))
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


def _other(method: Method, guidance: Any, path: str) -> Any:
    """The second model of a guidance, from its run directory: a denoiser, or a classifier of noisy examples."""
    by_classifier = guidance is classifier
    method_class, kind = (NoisyClassifier, "noisy_classifier") if by_classifier else (Diffusion, "diffusion")
    if not path:
        raise UserError(f"sampler.guidance.run: {guidance.__name__} needs the run directory of a {kind} model")
    try:
        run = load(path)
    except UserError as error:
        raise error.about("`workdir`: ", "sampler.guidance.run: ") from None
    if not isinstance(run.experiment.method, method_class):
        raise UserError(f"sampler.guidance.run: {path} is a {run.experiment.config.method.name} model, not a {kind}")
    if (run.experiment.method.space, run.experiment.method.process) != (method.space, method.process):
        raise UserError(f"sampler.guidance.run: {path} must have the data and the process of the run it guides")
    if not isinstance(method.process, Process):
        raise UserError(
            "sampler.guidance.name: a learned noise schedule cannot be guided by a second model, whose schedule differs"
        )
    return run.experiment.method.log_class(run.ema) if by_classifier else run.denoiser


def _check_numbers(config: ConfigDict) -> None:
    """Raises UserError for counts that are too small, and for an `eval.best` that no checkpoint could have."""
    least = dict.fromkeys(("train.steps", "train.batch_size", "train.accumulate", "train.keep", "eval.batch_size"), 1)
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
    return {network: build("optim", node[network]) for network in networks}


@dataclass(frozen=True)
class Run:
    """A trained run: `run.sample(16)`, `run.evaluate("frechet_pixels")`, `run.denoiser`, `run.process`, `run.ema`."""

    workdir: Path
    experiment: Experiment
    state: TrainState
    weights: str = "ema"  # describes the average in `ema`, for the records of evaluations

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def params(self) -> dict[str, Tree]:
        """The networks' variables, not averaged."""
        return self.state.params

    @property
    def ema(self) -> dict[str, Tree]:
        """The networks' variables, averaged if the run keeps an average."""
        return self.state.averaged

    @cached_property
    def identity(self) -> str:
        """A hash of the averaged weights, which identifies the network in the protocol of its measurements."""
        return content_hash(jax.device_get(self.ema))

    @property
    def process(self) -> Any:
        """The forward process of a diffusion model, with its learned parameters if it has any."""
        return self.experiment.method.process_of(self.ema)

    @cached_property
    def denoiser(self) -> Any:
        """E[x0 | x_t] of a diffusion model with the averaged weights: `run.denoiser(x_t, t, label).x0`."""
        return self.experiment.method.denoiser(self.ema)

    def sample(
        self,
        num: int,
        seed: int = 0,
        label: int | None = None,
        prompt: str | Sequence[str] = (),
        negative: str | None = None,
        guidance: float | None = None,
        spec: Any = None,
        batch_size: int = 0,
        trajectory: bool = False,
    ) -> Drawn:
        """Draws `num` samples in stored units (uint8 for images); raises UserError for what does not fit the model.

        Samples have the label, or the captions of `prompt` in turn, and are guided away from the caption `negative`.
        `guidance` s is the scale of D_u + s (D_c - D_u), so 1 is the conditional model; by default the config's.
        `spec` replaces the sampler. With `trajectory` the samples have x_t and the prediction of x0 at every step.
        """
        prompts, spec = (prompt,) if isinstance(prompt, str) else prompt, spec or self.experiment.sampler
        spec, requested = conditioned(self.experiment.method, spec, label, prompts, negative, guidance)
        return self.experiment.generator(spec, batch_size, trajectory).draw(self.ema, num, seed, requested)

    def evaluate(
        self,
        metrics: str | Sequence[str] = (),
        num: int | None = None,
        seed: int | None = None,
        features: str = "",
        out: Path | None = None,
    ) -> "list[Score]":
        """Measures this run and records the scores; see `diffjax.evaluate.evaluate_run`."""
        from diffjax.evaluate import evaluate_run  # deferred: it builds on this module

        return evaluate_run(self, metrics, num, seed, features, out)


def load(
    workdir: str | Path, config: ConfigDict | None = None, step: int | str | None = None, ema: float | None = None
) -> Run:
    """Opens the run in `workdir` at its last checkpoint, at `step`, or at the "best" one if its config has `eval.best`.

    `config` replaces the run's own. `ema` is a sigma_rel: averages the weights with that width, which need not be one
    that the run kept.
    """
    workdir = Path(workdir)
    experiment = Experiment.of(config or for_this_machine(read_config(workdir)))
    if ema is not None:
        _check_width(ema, experiment)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"`workdir`: {workdir} has no checkpoint yet; train it first")
    best = experiment.config.eval.best
    with Checkpoints(workdir / "checkpoints", best=best, read_only=True) as checkpoints:
        if step == "best":
            if not best:
                raise UserError(
                    "`step`: this run has no best checkpoint, since eval.best was not set when it was trained"
                )
            if (best_checkpoint := checkpoints.best()) is None:
                raise UserError(f"`step`: no checkpoint of {workdir} has a value of {best}; take a step, or the last")
            step = best_checkpoint["step"]
        if step is not None and step not in checkpoints.steps():
            steps = ", ".join(map(str, checkpoints.steps()))
            raise UserError(f"`step`: {workdir} has no checkpoint at step {step}; it has {steps or 'none'}")
        step = checkpoints.latest() if step is None else step
        if step is None:
            raise UserError(f"`workdir`: {workdir} has no checkpoint yet; train it first")
        shapes = jax.eval_shape(experiment.init, jax.random.key(0))
        state = checkpoints.restore(step, state=experiment.layout.place(shapes))["state"]
        if ema is None:
            return Run(workdir, experiment, state)
        return Run(workdir, experiment, *_of_width(ema, experiment, state, checkpoints))


def _check_width(width: float, experiment: Experiment) -> None:
    if not isinstance(experiment.method.ema, Power):
        raise UserError(f"`ema`: needs a run with ema.name='power'; this one has {experiment.config.ema.name!r}")
    if not 0 < width <= WIDEST:
        raise UserError(
            f"`ema`: {width:g} is not the sigma_rel of any power function; must be above 0 and at most 0.2886"
        )


def _of_width(
    width: float, experiment: Experiment, state: TrainState, checkpoints: Checkpoints
) -> tuple[TrainState, str]:
    """The state with averages of sigma_rel `width`, and a description of them.

    They are reconstructed from the state's own averages and all earlier snapshots.
    """
    step, shapes = int(state.step), experiment.layout.place(jax.eval_shape(lambda: state.ema))
    steps = [*(earlier for earlier in checkpoints.snapshots() if earlier < step), step]
    averages, residual = reconstruct(
        experiment.method.ema,
        width,
        steps,
        lambda earlier: state.ema if earlier == step else checkpoints.restore_averages(earlier, shapes),
    )
    description = (
        f"ema of sigma_rel {width:g}, from {len(steps) - 1} snapshots and step {step}, residual {residual:.2g}"
    )
    return state.replace(ema=state.ema | averages), description
