"""A trained run: draws from it, evaluates it, and opens it from its run directory (`load`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.inference.conditioning import conditioned
from diffjax.inference.sampling import Drawn, batch_for
from diffjax.metrics.features.weights import content_hash
from diffjax.optim.ema import WIDEST, Power, reconstruct
from diffjax.optim.state import TrainState
from diffjax.parallel import Tree
from diffjax.workdir.checkpoint import Checkpoints
from diffjax.workdir.directory import for_this_machine, read_config

if TYPE_CHECKING:
    from diffjax.evaluation import Score


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
        `spec` replaces the sampler; `batch_size` samples are drawn at once (0: a number that suits `num`). With
        `trajectory` the samples have x_t and the prediction of x0 at every step.
        """
        if num < 1:
            raise UserError(f"`num`: {num} must be at least 1")
        prompts = (prompt,) if isinstance(prompt, str) else prompt
        spec = self.experiment.sampler if spec is None else self.experiment.fitting(spec)
        spec, requested = conditioned(self.experiment.method, spec, label, prompts, negative, guidance)
        batch_size = batch_size or batch_for(num, self.experiment.config.eval.batch_size)
        return self.experiment.generator(spec, batch_size, trajectory).draw(self.ema, num, seed, requested)

    def evaluate(
        self,
        metrics: str | Sequence[str] = (),
        num: int | None = None,
        seed: int | None = None,
        features: str = "",
        out: Path | None = None,
    ) -> "list[Score]":
        """Measures this run and records the scores; see `diffjax.evaluation.evaluate.evaluate_run`."""
        from diffjax.evaluation.evaluate import evaluate_run  # deferred: it builds on this module

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
    best = _kept_by(workdir, experiment.config.eval.best) if step == "best" else ""
    with Checkpoints(workdir / "checkpoints", best=best, read_only=True) as checkpoints:
        if step == "best":
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


def _kept_by(workdir: Path, asked: str) -> str:
    """The value whose best checkpoint the run keeps. Raises UserError if there is none, or `asked` is another one."""
    best = read_config(workdir).eval.best
    if not best:
        raise UserError("`step`: this run has no best checkpoint, since eval.best was not set when it was trained")
    if asked != best:
        raise UserError(f"`config.eval.best`: {asked!r} must be {best!r}, whose best checkpoint this run has kept")
    return best


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
