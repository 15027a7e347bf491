"""The algebra of grids: products, sums, and the disagreements that are refused."""

from functools import partial

import pytest

from diffjax.ablation import Run, computed, setting, trained, vary
from diffjax.errors import UserError


def test_a_product_combines_every_pair_of_points():
    etas = vary("eta", {0.0: {"sampler.eta": 0.0}, 1.0: {"sampler.eta": 1.0}})
    steps = vary("steps", {10: {"sampler.steps": 10}, 20: {"sampler.steps": 20}, 50: {"sampler.steps": 50}})
    grid = trained("configs/digits.py", seeds=2, train__steps=7) * etas * steps
    assert len(grid) == 2 * 2 * 3
    point = grid.points[-1]
    assert (point.config, point.seed, point.where) == ("configs/digits.py", 1, {"eta": "1.0", "steps": "50"})
    assert point.keys == {"train.steps": 7, "sampler.eta": 1.0, "sampler.steps": 50}


def test_a_product_is_associative_and_has_one_for_its_unit():
    a, b, c = trained("configs/digits.py", seeds=2), vary("x", {1: {"a.b": 1}}), vary("y", {2: {"c.d": 2}, 3: {}})
    assert ((a * b) * c).points == (a * (b * c)).points
    assert (a * setting()).points == a.points


def test_a_sum_has_the_points_of_both_in_order():
    one, two = trained("configs/a.py"), trained("configs/b.py", seeds=2)
    assert [(p.config, p.seed) for p in one + two] == [("configs/a.py", 0), ("configs/b.py", 0), ("configs/b.py", 1)]


def test_a_choice_may_have_its_own_config():
    rows = vary("row", {"a": trained("configs/a.py", seeds=2), "b": trained("configs/b.py", optim__b1=0.5)})
    assert [(p.where["row"], p.config) for p in rows] == [("a", "configs/a.py")] * 2 + [("b", "configs/b.py")]
    assert rows.points[-1].keys == {"optim.b1": 0.5}


def test_points_can_be_left_out():
    grid = vary("x", {1: {}, 2: {}, 3: {}}).where(lambda where: where["x"] != "2")
    assert [point.where["x"] for point in grid] == ["1", "3"]


def test_disagreeing_choices_are_an_error_that_names_the_key():
    with pytest.raises(UserError, match=r"keys of two choices disagree on sampler.eta: 0.0 and 1.0"):
        vary("x", {1: {"sampler.eta": 0.0}}) * vary("y", {1: {"sampler.eta": 1.0}})
    with pytest.raises(UserError, match=r"places of two choices disagree on x: '1' and '2'"):
        vary("x", {1: {}}) * vary("x", {2: {}})
    with pytest.raises(UserError, match="configs/a.py and configs/b.py are two configs"):
        trained("configs/a.py") * trained("configs/b.py")
    with pytest.raises(UserError, match="seeds=0"):
        trained("configs/a.py", seeds=0)
    assert len(vary("x", {1: {"a.b": 1}}) * vary("y", {1: {"a.b": 1}})) == 1, "agreeing is no disagreement"


def square(seed, x):
    return {"value": x * x}


def pow_(seed, x):
    return {"value": x**3}


def test_a_needed_run_is_given_by_config_and_keys():
    run = Run.of("configs/classifier.py:digits", train__steps=5)
    assert run == Run("configs/classifier.py:digits", (("train.steps", 5),))


def test_a_computation_is_a_function_for_each_seed():
    grid = computed(square, seeds=2) * vary("x", {1: {"x": 1}})
    assert [(p.compute, p.seed, p.where, p.keys) for p in grid] == [
        (square, seed, {"x": "1"}, {"x": 1}) for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="seeds=0"):
        computed(square, seeds=0)
    for nameless in (lambda seed: {}, len, partial(square, x=1), "square"):
        with pytest.raises(UserError, match="computed must get a named function"):
            computed(nameless)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (computed(square), computed(pow_), "square and pow_ are two functions for one point"),
        (trained("a.py"), trained("b.py"), "a.py and b.py are two configs for one point"),
    ],
)
def test_a_point_has_one_thing_to_run(one, other, said):
    with pytest.raises(UserError, match=said):
        one * other
