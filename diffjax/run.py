"""A run: a config turned into the objects it names, and a run directory opened again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffjax import parallel
from diffjax.checkpoint import Checkpoints
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
from diffjax.workdir import elsewhere, read_config


@dataclass(frozen=True)
class Experiment:
    """What a config describes: the data, the method, the sampler, and the devices to run on."""

    config: ConfigDict
    source: Any
    method: Method
    sampler: Any
    layout: Layout
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, config: ConfigDict) -> "Experiment":
        """Builds everything a config names, and checks what can be checked before anything runs."""
        _check_numbers(config)
        layout = parallel.layout(**config.parallel)
        batch_size = config.train.batch_size
        source = build("data", config.data)
        space = source.space
        if space.caption and (readers := readers_of(config.method)):
            encoder, config = open_for(readers, config)
            space = replace(space, encoder=encoder)
        make = build("method", config.method)
        method = make(
            space=space,
            precision=Precision(**config.precision),
            optimizers={},
            ema=build("ema", config.ema),
            batch_size=batch_size,
            accumulate=config.train.accumulate,
        )
        optims, images = _optimizers(config.optim, method.networks), config.train.steps * batch_size
        method = replace(method, optimizers={name: method.optimizer(name, o, images) for name, o in optims.items()})
        sampler = build("sampler", config.sampler)
        if not isinstance(sampler, tuple(method.samplers.values())):
            fitting = ", ".join(method.samplers)
            raise UserError(
                f"sampler.name: {config.sampler.name!r} cannot draw from a {config.method.name}; use {fitting}"
            )
        method.check_sampler(sampler)
        if hasattr(sampler, "guidance"):
            sampler = replace(sampler, guidance=with_other(sampler.guidance, partial(_other, method)))
        return cls(config, source, method, sampler, layout)

    def key(self, role: Role) -> jax.Array:
        """The run's key for a role; samples, and what is measured, have seeds of their own."""
        return key_of(self.config.seed, role)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of what one step is fed, in batches of this size."""
        lead, space = (self.method.batches_per_step, batch_size), self.method.space
        parts = {"x": (space.shape, space.stored), "position": ((), jnp.int32)} | space.annotations
        return {name: jax.ShapeDtypeStruct((*lead, *own), kind) for name, (own, kind) in parts.items()}

    def stream(self, step: int = 0) -> Stream:
        """The batches that the run is trained on, from after this step."""
        return Stream(
            self.source, self.config.seed, self.config.train.batch_size, self.method.batches_per_step, self.layout,
            step, encoder=self.method.space.encoder,
        )  # fmt: skip

    def init(self, key: jax.Array) -> TrainState:
        """The state before step 1. Traceable, so that its shapes can be had without the arrays."""
        batch = jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), self.batch_shapes(1))
        return self.method.init(key, batch).tracking(self.method.ema)

    def initial_state(self, shapes: TrainState, warm: TrainState | None = None) -> TrainState:
        """The state before step 1, laid out: from the seed, its networks those of `warm` where that is given."""
        at = self.layout.of_state(shapes)
        state = jax.jit(self.init, out_shardings=at)(self.key(Role.INIT))
        if warm is None:
            return state
        averages = {name: warm.ema.get(name, warm.averaged[network_of(name)[0]]) for name in state.ema}
        networks = {name: warm.params[name] for name in state.params}
        return jax.jit(lambda state: state, out_shardings=at)(state.replace(params=networks, ema=averages))

    @cached_property
    def own_generator(self) -> Generator:
        """Draws as the config says. One for all who watch a run, so that it is compiled once."""
        return self.generator()

    def generator(self, spec: Any = None, batch_size: int = 0, trajectory: bool = False) -> Generator:
        """Draws from this experiment's networks, by its own sampler unless another is given."""
        batch_size = batch_size or self.config.eval.batch_size
        return Generator(self.method, spec or self.sampler, self.layout, batch_size, trajectory)

    def once(self, name: Any, make: Callable[[], Any]) -> Any:
        """What has this name, made when first asked for: a run that is watched compiles, and sees real data, once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def logits(self, variables: dict[str, Tree], images: np.ndarray, batch_size: int = 512) -> np.ndarray:
        """What a classifier says of stored images [n, h, w, c]: [n, k]. Raises UserError if some are not finite."""

        def embedder() -> Embedder:
            classes = self.method.space.num_classes
            says = Extractor("logits", classes, {}, {}, lambda v, x: Outputs(self.method.logits(v, x)))
            return Embedder(says, self.layout, batch_size)

        found = self.once("logits", embedder)(in_memory(images, np.zeros(len(images))), variables=variables)
        return found.features


def _other(method: Method, guidance: Any, path: str) -> Any:
    """The second model that a guidance needs, from its run directory: a denoiser, or a classifier of noisy examples."""
    by_classifier = guidance is classifier
    wanted, kind = (NoisyClassifier, "noisy_classifier") if by_classifier else (Diffusion, "diffusion")
    if not path:
        raise UserError(f"sampler.guidance.run: {guidance.__name__} needs the run directory of a {kind} model")
    run = load(path)
    if not isinstance(run.experiment.method, wanted):
        raise UserError(f"sampler.guidance.run: {path} is a {run.experiment.config.method.name} model, not a {kind}")
    if (run.experiment.method.space, run.experiment.method.process) != (method.space, method.process):
        raise UserError(f"sampler.guidance.run: {path} has other data, or another process, than the run it is to guide")
    if not isinstance(method.process, Process):
        raise UserError("sampler.guidance.name: two learned schedules are never the same; a second model cannot guide")
    return run.experiment.method.log_class(run.ema) if by_classifier else run.denoiser


def _check_numbers(config: ConfigDict) -> None:
    """Counts that make sense, and a best checkpoint that can be known."""
    least = dict.fromkeys(("train.steps", "train.batch_size", "train.accumulate", "train.keep", "eval.batch_size"), 1)
    least["eval.num"] = 2
    for path, low in least.items():
        section, field = path.split(".")
        if config[section][field] < low:
            raise UserError(f"{path}: {config[section][field]} is too few; at least {low}")
    if config.eval.reference not in ("train", "heldout"):
        raise UserError(f"eval.reference: {config.eval.reference!r} is no split; it is 'train' or 'heldout'")
    best, every, saved = config.eval.best, config.eval.every, config.train.checkpoint_every
    if best and not best.startswith("eval/"):
        raise UserError(f"eval.best: {best!r} is not the name of an evaluation's value, such as 'eval/frechet_pixels'")
    if best and (every < 1 or saved % every):
        raise UserError(f"eval.best: train.checkpoint_every={saved} must be a multiple of eval.every={every}, above 0")


def _optimizers(node: ConfigDict, networks: tuple[str, ...]) -> dict[str, Optimizer]:
    """One optimiser for each network: `optim` is a component for all of them, or a section with one for each."""
    if "name" in node:
        return dict.fromkeys(networks, build("optim", node))
    if set(node) != set(networks):
        raise UserError(f"optim: has {', '.join(node)}; this method trains {', '.join(networks)}")
    return {network: build("optim", node[network]) for network in networks}


@dataclass(frozen=True)
class Run:
    """A trained run, opened: `run.sample(16)`, `run.denoiser`, `run.process`, `run.ema`, `run.params`."""

    workdir: Path
    experiment: Experiment
    state: TrainState
    weights: str = "ema"  # which average `ema` is, for the record of what is measured by it

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def params(self) -> dict[str, Tree]:
        """The networks' variables as trained."""
        return self.state.params

    @property
    def ema(self) -> dict[str, Tree]:
        """The networks' variables, averaged where an average is kept."""
        return self.state.averaged

    @cached_property
    def identity(self) -> str:
        """A hash of the averaged weights: names a network in the protocol of what it measured."""
        return content_hash(jax.device_get(self.ema))

    @property
    def process(self) -> Any:
        """The forward process of a diffusion model, as it was learned where it is."""
        return self.experiment.method.process_of(self.ema)

    @cached_property
    def denoiser(self) -> Any:
        """E[x0 | x_t] by the averaged weights: `run.denoiser(x_t, t, label).x0`, for a diffusion model."""
        return self.experiment.method.denoiser(self.ema)

    def sample(
        self, num: int, seed: int = 0, label: int | None = None, prompts: Sequence[str] = (), **options: Any
    ) -> Drawn:
        """`num` samples in stored units (uint8 for images), of a label, or of each of the prompts in turn.

        `trajectory=True` keeps the way there.
        """
        generator = self.experiment.generator(**options)
        requested = self.experiment.method.requested(generator.spec, label, prompts)
        return generator.draw(self.ema, num, seed, requested)


def load(
    workdir: str | Path, config: ConfigDict | None = None, step: int | str | None = None, ema: float | None = None
) -> Run:
    """Opens the run in `workdir` at its last checkpoint, at `step`, or at the "best", if its config has `eval.best`.

    `config` replaces the one it was made with.

    `ema` is a sigma_rel: the weights are averaged with that width, whatever widths the run itself kept.
    """
    workdir = Path(workdir)
    experiment = Experiment.of(config or elsewhere(read_config(workdir)))
    if ema is not None:
        _check_width(ema, experiment)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"--workdir: {workdir} has no checkpoint yet; train it first")
    best = experiment.config.eval.best
    with Checkpoints(workdir / "checkpoints", best=best, read_only=True) as checkpoints:
        if step == "best":
            if not best:
                raise UserError("--step: this run keeps no best checkpoint; that needs eval.best when it is trained")
            if (found := checkpoints.best()) is None:
                raise UserError(f"--step: no checkpoint of {workdir} has a value of {best}; take a step, or the last")
            step = found["step"]
        if step is not None and step not in checkpoints.steps():
            there = ", ".join(map(str, checkpoints.steps()))
            raise UserError(f"--step: {workdir} has no checkpoint at step {step}; it has {there or 'none'}")
        step = checkpoints.latest() if step is None else step
        if step is None:
            raise UserError(f"--workdir: {workdir} has no checkpoint yet; train it first")
        shapes = jax.eval_shape(experiment.init, jax.random.key(0))
        state = checkpoints.restore(step, state=experiment.layout.place(shapes))["state"]
        if ema is None:
            return Run(workdir, experiment, state)
        return Run(workdir, experiment, *_of_width(ema, experiment, state, checkpoints))


def _check_width(width: float, experiment: Experiment) -> None:
    if not isinstance(experiment.method.ema, Power):
        raise UserError(f"--ema: needs a run with ema.name='power'; this one has {experiment.config.ema.name!r}")
    if not 0 < width <= WIDEST:
        raise UserError(f"--ema: {width:g} is not the sigma_rel of any power function; above 0, at most 0.2886")


def _of_width(
    width: float, experiment: Experiment, state: TrainState, checkpoints: Checkpoints
) -> tuple[TrainState, str]:
    """The state with averages of sigma_rel `width`, from its own and all snapshots before it; and what they are."""
    step, at = int(state.step), experiment.layout.place(jax.eval_shape(lambda: state.ema))
    steps = [*(earlier for earlier in checkpoints.snapshots() if earlier < step), step]
    averages, residual = reconstruct(
        experiment.method.ema,
        width,
        steps,
        lambda earlier: state.ema if earlier == step else checkpoints.restore_averages(earlier, at),
    )
    said = f"ema of sigma_rel {width:g}, from {len(steps) - 1} snapshots and step {step}, residual {residual:.2g}"
    return state.replace(ema=state.ema | averages), said
