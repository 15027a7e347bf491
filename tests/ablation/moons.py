"""Two moons by eta and steps: a table small enough for tests."""

from diffjax.ablation import Axis, Budget, Claim, Quantity, Table, increases, setting, trained, vary

PAPER = Table(
    source="nobody 2020, table 0",
    rows=Axis.of("eta", (0.0, 1.0)),
    columns=Axis.of("steps", (2, 4)),
    quantities=(Quantity("distance", "T", ((1.0, 0.5), ("unstable", None))),),
)
CLAIMS = (Claim("the distance grows with eta", increases("distance", along="eta")),)

SMALL = {
    "data__num_train": 4096, "data__num_heldout": 256, "method__network__width": 16, "method__network__depth": 1,
    "optim__decay": "constant", "train__batch_size": 64, "train__log_every": 5, "train__sample_every": 0,
    "train__checkpoint_every": 7, "train__steps": 14,
}  # fmt: skip
ETAS = vary("eta", {eta: {"sampler.name": "ddim", "sampler.eta": eta} for eta in (0.0, 1.0)})
STEPS = vary("steps", {steps: {"sampler.steps": steps} for steps in (2, 4)})
MEASURED = setting(eval__num=64, eval__batch_size=64)


def budget(seeds, **keys):
    grid = trained("configs/toy2d.py:moons", seeds=seeds, **SMALL | keys) * ETAS * STEPS * MEASURED
    return Budget("two moons, 14 steps", grid, {"distance": "energy_distance"}, hours=0.1)


BUDGETS = {
    "minute": budget(1),
    "hour": budget(2),
    "day": budget(2, optim__learning_rate=1e18, optim__warmup=0.0),  # diverges
}
