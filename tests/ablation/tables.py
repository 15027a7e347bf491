"""A table that needs no training, and what is done with tables: they are run and kept, or their runs left by hand."""

from diffjax.ablation.ablate import finish
from diffjax.ablation.experiment import read
from diffjax.ablation.ledger import cells_of
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import work
from diffjax.evaluation import Score
from diffjax.host.json_files import write_json
from tests.tiny import quiet

COMPUTED = """'Squares.'
from diffjax.ablation import *
PAPER = Table("nobody", Axis.of("x", (1, 2)), (Quantity("square", "D", (1, 4)),))
CLAIMS = (Claim("squares grow", increases("square", along="x")),)
def square(seed, x):
    return {"value": x * x + 0.1 * x * seed}
BUDGETS = {"hour": Budget("", computed(square, 3) * vary("x", {1: {"x": 1}, 2: {"x": 2}}), {"square": "value"}, 1)}
"""


def run(path, root, seeds=3, first=0):
    """So many seeds of the plan are run in `root`; then the experiment is collected and kept. The cells there."""
    experiment = read(path)
    plan = tasks(experiment.budget("hour"), root)
    for task in plan[first : first + seeds]:
        work(task, root, quiet)
    return finish(experiment, "hour", plan, root)


def kept(path):
    return cells_of(read(path), "hour").cells


def left(task, root, failed=False, trained="", measured="", **scores):
    """A run directory as a run leaves it: of one that failed nothing was measured."""
    at = task.workdir(root)
    write_json(at / "config.json", {"device": "1 x cpu", "cores": 2, "commit": "abc"})
    write_json(at / "code.json", {"code": trained or task.code})
    write_json(at / "result.json", {"status": "failed", "reason": "r"} if failed else {
        "status": "finished", "seconds": 30.0})  # fmt: skip
    for evaluation in () if failed else task.evaluations:
        numbers = scores or {"energy_distance": 1.0 + task.seed}
        metrics = [Score(name, value, None, f"<{name}>", {"n": 1})._asdict() for name, value in numbers.items()]
        made = {"device": "1 x cpu", "commit": "abc", "code": measured or evaluation.code}
        write_json(evaluation.path(at), {"metrics": metrics, "provenance": made})
