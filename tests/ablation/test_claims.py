"""Claims are decided by intervals: true ones, false ones, and those that nothing decides."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from diffjax.ablation import (
    All,
    AnyOf,
    Axis,
    Claim,
    Fails,
    Less,
    Near,
    Quantity,
    Table,
    Within,
    decreases,
    greatest,
    increases,
    least,
)
from diffjax.ablation.cells import Cell, Cells
from diffjax.errors import UserError

TABLE = Table(
    "somebody 2020",
    rows=Axis.of("eta", (0, 1, 2)),
    columns=Axis.of("steps", (10, 20)),
    quantities=(Quantity("FID", "T", ((1, 2), (3, 4), (5, 6))), Quantity("IS", "M", ((1, 2), (3, 4), (5, 6)), "more")),
)


def cells(table, runs=None, protocol=None):
    """{(eta, steps): values by seed}, all of FID; the same networks at every place unless `runs` says otherwise."""
    made = []
    for (eta, steps), values in table.items():
        ids = {seed: (runs or (lambda eta, steps: "same"))(eta, steps) + str(seed) for seed in range(len(values))}
        protocols = {"FID": (protocol or (lambda eta: {"n": 5}))(eta)}
        made.append(Cell({"eta": str(eta), "steps": str(steps)}, ids, {"FID": dict(enumerate(values))}, protocols))
    return Cells(TABLE, made)


def verdict(statement, of):
    return Claim("it is so", statement).verdict(of).verdict


def at(eta, steps=10):
    return {"eta": str(eta), "steps": str(steps)}


def test_less_holds_if_the_interval_of_the_differences_lies_above_0():
    of = cells({(0, 10): [1.0, 2.0, 3.0], (1, 10): [1.5, 2.6, 3.4]})
    assert verdict(Less("FID", at(0), at(1)), of) == "reproduced"
    assert verdict(Less("FID", at(1), at(0)), of) == "contradicted"


def test_independent_networks_are_not_paired():
    apart = cells({(0, 10): [1.0, 2.0, 3.0], (1, 10): [1.5, 2.6, 3.4]}, runs=lambda eta, steps: f"{eta}-")
    assert verdict(Less("FID", at(0), at(1)), apart) == "not decided"


def test_near_needs_the_whole_interval_within_the_share():
    of = cells({(0, 10): [10.0, 12.0, 14.0], (1, 10): [10.1, 12.1, 14.2], (2, 10): [20.0, 22.0, 24.1]})
    assert verdict(Near("FID", at(1), at(0), share=0.1), of) == "reproduced"  # paired: 0.13 +- 0.14 of 12
    assert verdict(Near("FID", at(1), at(0), share=0.01), of) == "not decided"
    assert verdict(Near("FID", at(2), at(0), share=0.1), of) == "contradicted"
    apart = cells({(0, 10): [10.0, 12.0, 14.0], (1, 10): [10.1, 12.1, 14.2]}, runs=lambda eta, steps: f"{eta}-")
    assert verdict(Near("FID", at(1), at(0), share=0.1), apart) == "not decided"  # too noisy to tell is not near
    failed = Cells(TABLE, [of.cells[0], failing(at(1), 3, 3)])
    assert verdict(Near("FID", at(1), at(0), share=0.1), failed) == "not decided"


def test_near_includes_the_uncertainty_of_the_other_mean():
    """x = y + 0.9 where y = 10 +- 4: a tenth of y's mean may be less than 0.9; of x = 0.95 y there is no doubt."""
    statement, y = Near("FID", at(1), at(0), share=0.1), [6.0, 14.0, 10.0]
    assert verdict(statement, cells({(0, 10): y, (1, 10): [value + 0.9 for value in y]})) == "not decided"
    y = [8.0, 12.0, 10.0]
    x = [0.95 * value for value in y]
    assert verdict(statement, cells({(0, 10): y, (1, 10): x})) == "reproduced"
    lower, upper = (stats.ttest_1samp([b - share * a for a, b in zip(y, x, strict=True)], 0).confidence_interval(0.95)
                    for share in (0.9, 1.1))  # fmt: skip
    said = (
        f"A - 0.9 B {lower.low:.4g} to {lower.high:.4g}, A - 1.1 B {upper.low:.4g} to {upper.high:.4g} (95 %, paired)"
    )
    assert said in statement.decide(cells({(0, 10): y, (1, 10): x})).why
    negative = cells({(0, 10): [-10.0, -10.1, -9.9], (1, 10): [-10.5, -10.6, -10.4]})
    assert verdict(statement, negative) == "reproduced"
    assert verdict(Near("FID", at(1), at(0), share=0.01), negative) == "contradicted"


def test_intervals_are_scipys():
    a, b = [1.0, 2.0, 4.0], [3.0, 3.5, 3.1, 2.9]
    apart = cells({(0, 10): a, (1, 10): b}, runs=lambda eta, steps: f"{eta}-")
    low, high = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    difference = f"FID (eta 0, steps 10) < FID (eta 1, steps 10): difference {low:.4g} to {high:.4g} (95 %)"
    assert Less("FID", at(0), at(1)).decide(apart).why == difference
    together = cells({(0, 10): a, (1, 10): b[:3]})
    low, high = stats.ttest_rel(b[:3], a).confidence_interval(0.95)
    assert f"difference {low:.4g} to {high:.4g} (95 %, paired)" in Less("FID", at(0), at(1)).decide(together).why


@pytest.mark.parametrize(
    ("runs", "spread", "shared", "low"),
    [
        (None, 1, 0, 0.035),  # seeds of the same networks
        (None, 1, 9, 0.035),  # and what they share, nine times what they do not
        (lambda eta, _: f"{eta}-", 1, 0, 0.025),  # networks of their own: Welch's is cautious with few seeds,
        (lambda eta, _: f"{eta}-", 10, 0, 0.035),  # and exact where nearly all of the spread is one's
    ],
)
def test_a_verdict_on_equal_means_is_wrong_one_time_in_twenty(runs, spread, shared, low):
    """Two places of one mean: a difference is found in 5 % of 2,000 draws of 3 seeds, half of them each way."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2_000):
        both = shared * rng.normal(size=3)
        of = cells({(0, 10): both + rng.normal(size=3), (1, 10): both + spread * rng.normal(size=3)}, runs=runs)
        found.append(Less("FID", at(0), at(1)).decide(of).holds)
    wrong = np.mean([holds is not None for holds in found])
    assert low < wrong < 0.065
    assert 0.3 < np.mean([holds for holds in found if holds is not None]) < 0.7


def test_one_seed_decides_nothing():
    assert verdict(Less("FID", at(0), at(1)), cells({(0, 10): [1.0], (1, 10): [9.0]})) == "not decided"


def test_a_false_claim_is_contradicted_and_an_underpowered_one_is_not_decided():
    falling = {(eta, n): [10.0 - eta * (1 + 0.01 * s) for s in range(3)] for eta in (0, 1, 2) for n in (10, 20)}
    noisy = {place: [1.0 + place[0], 9.0, 4.0 - place[0]] for place in falling}
    assert verdict(increases("FID", along="eta"), cells(falling)) == "contradicted"
    assert verdict(decreases("FID", along="eta"), cells(falling)) == "reproduced"
    assert verdict(increases("FID", along="eta"), cells(noisy)) == "not decided"


def test_all_needs_each_statement_and_one_undecided_leaves_it_undecided():
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3], (2, 10): [2.0, 2.3, 2.1]})
    assert verdict(Less("FID", at(0), at(1)), of) == "reproduced"
    assert verdict(increases("FID", along="eta", steps="10"), of) == "not decided"
    assert verdict(increases("FID", along="eta", over=(0, 1)), of) == "reproduced"


def test_a_contradiction_among_many_is_tested_at_a_corrected_level():
    """One of 20 comparisons that lies beyond 95 % by chance does not contradict the 19 others."""
    t = stats.t.ppf(0.985, 2) / np.sqrt(3)  # beyond the interval of 95 %, not beyond that of 99.75 %
    slightly = [-t + 1, -t, -t - 1]
    one, other = [0.0, 0.0, 0.0], [10.0, 10.1, 10.2]
    of = cells({(0, 10): one, (1, 10): slightly, (0, 20): one, (1, 20): other})
    lone = Less("FID", at(0), at(1))
    assert lone.decide(of).holds is False
    many = All((lone, *(Less("FID", at(0, 20), at(1, 20)) for _ in range(19))))
    low, high = stats.ttest_rel(slightly, one).confidence_interval(1 - 0.05 / 20)
    assert many.decide(of) == (
        None,
        "1 of 20 contradicted only without correction: FID (eta 0, steps 10) < FID (eta 1, steps 10): "
        f"difference {low:.4g} to {high:.4g} (99.8 %, paired)",
    )
    open_too = All((*(Less("FID", at(0), at(2)),) * 4, lone)).decide(of).why
    assert open_too.startswith("1 of 5 contradicted only without correction: FID (eta 0, steps 10) < FID (eta 1, s")
    assert "(99 %, paired); 4 of 5 not decided: FID (eta 0, steps 10) < FID (eta 2" in open_too
    assert open_too.endswith("; and 1 more")
    found = All((Less("FID", at(1, 20), at(0, 20)), lone)).decide(of)
    low, high = stats.ttest_rel(one, other).confidence_interval(0.975)
    assert found.holds is False and f"difference {low:.4g} to {high:.4g} (97.5 %, paired)" in found.why


def test_any_of_needs_one_statement():
    of = cells({(0, 10): [1.0, 1.01, 1.02], (1, 10): [2.0, 2.02, 2.03], (2, 10): [0.0, 0.03, 0.02]})
    assert AnyOf((Less("FID", at(1), at(0)), Less("FID", at(2), at(0)))).decide(of).holds is True
    assert AnyOf((Less("FID", at(1), at(0)), Less("FID", at(1), at(2)))).decide(of).holds is False
    assert AnyOf(()).decide(of).holds is None
    slight = cells({(0, 10): [1.0, 1.0, 1.0], (1, 10): [1.07, 1.13, 1.1], (2, 10): [0.95, 0.9, 0.85]})
    lone = Less("FID", at(0), at(1))
    assert lone.decide(slight).holds is True and lone.decide(slight, 0.05 / 3).holds is None
    found = AnyOf((lone, Less("FID", at(0), at(2)), Less("FID", at(1), at(2)))).decide(slight)
    assert found.holds is None, "of three"
    assert found.why.startswith(
        "1 of 3 hold only without correction: FID (eta 0, steps 10) < FID (eta 1, steps 10): diff"
    )
    assert " (98.3 %, paired); 1 of 3 not decided: FID (eta 0, steps 10) < FID (eta 2, steps 10): diff" in found.why


def test_extremes():
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3], (2, 10): [3.0, 3.2, 3.1]})
    assert verdict(least("FID", along="eta", eta="0", steps="10"), of) == "reproduced"
    assert verdict(least("FID", along="eta", eta="1", steps="10"), of) == "contradicted"
    assert verdict(greatest("FID", along="eta", eta="2", steps="10"), of) == "reproduced"
    assert verdict(greatest("FID", along="eta", eta="2", steps="20"), of) == "not decided"
    assert verdict(least("FID", along="eta", eta="1", steps="10"), of) == "contradicted", "whichever is less still"
    assert verdict(greatest("FID", along="eta", eta="1", steps="10"), of) == "contradicted"
    two = cells(
        {(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3], (0, 20): [3.0, 3.1, 3.2], (1, 20): [2.0, 2.1, 2.3]}
    )
    for statement in (least("FID", along="eta", eta="0"), increases("FID", along="eta")):
        assert verdict(statement, two) == "contradicted", "in the second column"


def test_a_mean_within_bounds():
    of = cells({(0, 10): [25.0, 25.1, 24.9], (1, 10): [20.0, 25.0, 30.0]})
    assert verdict(Within("FID", at(0), low=24.5), of) == "reproduced"
    assert verdict(Within("FID", at(0), high=24.5), of) == "contradicted"
    assert verdict(Within("FID", at(1), low=24.5), of) == "not decided"
    for bounds, said in (({"low": 24.5}, ">= 24.5"), ({"high": 26}, "<= 26"), ({"low": 24, "high": 26}, "in [24, 26]")):
        assert f"FID (eta 0, steps 10) {said}: mean " in Within("FID", at(0), **bounds).decide(of).why


@pytest.mark.parametrize(("seeds", "holds"), [(3, None), (5, None), (6, True)])
def test_seeds_that_all_agree_have_no_interval_and_are_counted(seeds, holds):
    """Three counts of 8 in three runs are what a place gives one time in three that has 8 in seven runs of ten."""
    of = cells({(0, 10): [8.0] * seeds, (1, 10): [7.0] * seeds})
    found = Within("FID", at(0), low=7.5).decide(of)
    low, high = stats.beta.ppf(0.025, seeds, 1), 1
    assert found.holds is holds
    assert f"{seeds} of {seeds} runs within bounds, all 8, share {low:.4g} to {high:.4g} (95 %)" in found.why
    assert ("needs at least 6 seeds" in found.why) is (holds is None)
    assert Within("FID", at(1), low=7.5).decide(of).holds is (False if holds else None)
    paired = Less("FID", at(1), at(0)).decide(of)
    assert paired.holds is holds and "(sign test)" in paired.why
    assert Near("FID", at(1), at(0), share=0.5).decide(of).holds is None


@pytest.mark.parametrize(("seeds", "holds"), [(3, None), (4, True)])
def test_a_place_whose_seeds_all_agree_is_compared_by_ranks(seeds, holds):
    of = cells({(0, 10): [8.0] * seeds, (1, 10): [5.0, 6.0, 6.0, 7.0][:seeds]}, runs=lambda eta, steps: f"{eta}-")
    found = Less("FID", at(1), at(0)).decide(of)
    assert found.holds is holds and "no spread over seeds, p = " in found.why
    assert ("needs more seeds: these allow no p below 0.1" in found.why) is (holds is None)
    same = cells({(0, 10): [8.0] * 9, (1, 10): [8.0] * 9}, runs=lambda eta, steps: f"{eta}-")
    assert "all seeds of both give 8" in Less("FID", at(1), at(0)).decide(same).why


def test_differences_that_differ_only_by_rounding_have_no_spread():
    for low, high in (([0.49, 0.04, 0.89], [0.50, 0.05, 0.90]), ([0.25, 0.5, 0.75], [0.5, 0.75, 1.0])):
        found = Less("FID", at(0), at(1)).decide(cells({(0, 10): low, (1, 10): high}))
        assert found.holds is None and "no spread over seeds, p = 0.25 (sign test); needs more seeds" in found.why


@pytest.mark.parametrize(
    ("high", "least"),
    [
        ([4.0, 6.0, 7.0, 8.0, 9.0], ""),  # 3 against 5 can give 2 / C(8, 3) = 0.036: four seeds of each are not needed
        ([4.0, 6.0, 6.0, 6.0, 6.0], "0.11"),  # 2 * C(3, 2) / C(8, 3)
        ([5.0, 5.0, 5.0, 5.0, 6.0], "0.75"),  # 2 * C(7, 2) / C(8, 3)
    ],
)
def test_whether_ranks_can_decide_depends_on_the_sizes_and_ties(high, least):
    of = cells({(0, 10): [5.0] * 3, (1, 10): high}, runs=lambda eta, steps: f"{eta}-")
    needs = Less("FID", at(0), at(1)).decide(of).why.partition("(rank test)")[2]
    assert needs == (least and f"; needs more seeds: these allow no p below {least}")


def test_seeds_that_tie_do_not_help_signs_to_decide():
    """Five of six differ: 2 / 2^5."""
    of = Cells(TABLE, [failing(at(0), 6, 1), failing(at(1), 6, 1, value=4.0)])
    assert (
        Less("FID", at(0), at(1))
        .decide(of)
        .why.endswith("p = 0.062 (sign test); needs more seeds: these allow no p below 0.062")
    )


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_a_verdict_on_a_count_is_wrong_no_more_often(seeds):
    """A mean of 7.4 modes, 8 in seven runs of ten and 6 in the others, is not found to be 7.5 or more, or seldom.

    Where all seeds give 8, most runs do: then it is true that they lie there, of the mean nothing is said.
    """
    rng, found = np.random.default_rng(seeds), []
    for _ in range(2_000):
        of = cells({(0, 10): rng.choice([8.0, 6.0], size=seeds, p=[0.7, 0.3])})
        found.append(Within("FID", at(0), low=7.5).decide(of))
    assert np.mean([f.holds is True and "within bounds" not in f.why for f in found]) < 0.05
    decided = [f.holds is not None for f in found if "within bounds" in f.why]
    assert decided and (not any(decided) if seeds < 6 else all(decided))


def failing(where, seeds, failed, value=3.0, runs="own"):
    """A cell of so many seeds, of which the first few failed."""
    reasons = dict.fromkeys(range(failed), "not finite")
    values = {"FID": {seed: value + 0.1 * seed for seed in range(failed, seeds)}} if failed < seeds else {}
    ids = {seed: f"{runs}{seed}" for seed in range(seeds)}
    return Cell(where, ids, values, dict.fromkeys(values, {"n": 5}), failed=reasons)


@pytest.mark.parametrize(("seeds", "holds"), [(1, None), (3, None), (4, True), (6, True)])
def test_failures_against_none_are_decided_by_ranks_from_four_seeds_on(seeds, holds):
    """Two-sided, 3 seeds against 3 can say no more than p = 0.1, however they end; 4 against 4 can say 2 / 70."""
    of = Cells(TABLE, [failing(at(0), seeds, 0), failing(at(1), seeds, seeds, runs="other")])
    found = Less("FID", at(0), at(1)).decide(of)
    assert found.holds is holds
    assert f"0 of {seeds} runs failed against {seeds} of {seeds}, p = " in found.why
    assert ("needs more seeds: these allow no p below " in found.why) is (holds is None)
    assert Less("FID", at(1), at(0)).decide(of).holds is (False if holds else None)


def test_a_failed_run_is_worse_than_any_other_whichever_direction_is_better():
    of = Cells(TABLE, [failing(at(0), 4, 0), failing(at(1), 4, 4, runs="other")])
    assert Less("IS", at(0), at(1)).decide(of).holds is None, "IS was not measured of those that did not fail"
    of = Cells(TABLE, [Cell(c.where, c.runs, {"IS": c.values.get("FID", {})} if c.values else {}, {"IS": {}},
                            failed=c.failed) for c in of.cells])  # fmt: skip
    assert Less("IS", at(1), at(0)).decide(of).holds is True
    assert Less("IS", at(0), at(1)).decide(of).holds is False


def test_partial_failures_are_ranked_by_the_exact_test():
    """4 of 5 failed, and the one that did not is better than all the others: it is one outcome of many."""
    bad = failing(at(1), 5, 4, value=0.0, runs="other")
    found = Less("FID", at(0), at(1)).decide(Cells(TABLE, [failing(at(0), 5, 0), bad]))
    ranks = [[2, 3, 4, 5, 6], [8.5, 8.5, 8.5, 8.5, 1]]
    exact = stats.permutation_test(ranks, lambda x, y: sum(x), n_resamples=np.inf).pvalue
    assert found.holds is None and f"0 of 5 runs failed against 4 of 5, p = {exact:.2g} (rank test)" in found.why
    assert "needs" not in found.why
    many = Cells(TABLE, [failing(at(0), 14, 0), failing(at(1), 14, 10, runs="other")])
    assert Less("FID", at(0), at(1)).decide(many).holds is True


def test_failures_of_the_same_networks_are_compared_seed_by_seed():
    """The sign test: 6 seeds that all say the same are needed, and those in which both failed say nothing."""
    for seeds, holds in ((5, None), (6, True)):
        of = Cells(TABLE, [failing(at(0), seeds, 0), failing(at(1), seeds, seeds)])
        assert Less("FID", at(0), at(1)).decide(of).holds is holds
        assert "(sign test)" in Less("FID", at(0), at(1)).decide(of).why
    of = Cells(TABLE, [failing(at(0), 6, 6), failing(at(1), 6, 6)])
    assert Less("FID", at(0), at(1)).decide(of).holds is None


def test_a_failure_among_many_comparisons_is_tested_at_a_corrected_level():
    of = Cells(TABLE, [failing(at(0), 4, 4, runs="other"), failing(at(1), 4, 0)])
    lone = Less("FID", at(0), at(1))
    assert lone.decide(of).holds is False and All((lone,) * 2).decide(of).holds is None
    assert "needs more seeds: these allow no p below 0.029" in lone.decide(of, 0.05 / 2).why


def test_fails_is_decided_by_the_clopper_pearson_interval():
    for seeds, failed, holds in ((1, 1, None), (5, 5, None), (6, 6, True), (6, 0, False), (3, 0, None), (20, 12, None)):
        found = Fails(at(1)).decide(Cells(TABLE, [failing(at(1), seeds, failed)]))
        low, high = stats.beta.ppf((0.025, 0.975), (failed, failed + 1), (seeds - failed + 1, seeds - failed))
        low, high = 0 if failed == 0 else low, 1 if failed == seeds else high
        assert found.holds is holds, found
        assert (
            f"eta 1, steps 10 fails: {failed} of {seeds} runs failed, share {low:.4g} to {high:.4g} (95 %)" in found.why
        )
        assert ("needs at least 6 seeds" in found.why) is (seeds < 6)
    assert Fails(at(1)).decide(Cells(TABLE, [failing(at(1), 6, 6)]), level=0.01).holds is None


def test_a_mean_is_within_no_bounds_if_most_runs_fail():
    for seeds, failed, holds in ((3, 3, None), (6, 6, False), (6, 1, None), (30, 1, None)):
        of = Cells(TABLE, [failing(at(1), seeds, failed)])
        assert Within("FID", at(1), low=0.0).decide(of).holds is holds


def test_cells_not_run_or_without_their_judge_decide_nothing():
    whole = failing(at(0), 6, 0)
    lost = Cell(at(1), {0: "a"}, blocked={0: "needs b, which failed"})
    of = Cells(TABLE, [whole, lost, Cell(at(2), {0: "a"})])
    for other in (1, 2):
        for statement in (Less("FID", at(0), at(other)), Fails(at(other)), Within("FID", at(other), low=0.0)):
            found = statement.decide(of)
            assert found.holds is None and of.at(at(other)).reason in found.why


def test_a_refused_quantity_decides_nothing():
    good = failing(at(0), 4, 0)
    refused = Cell(at(1), {0: "a", 1: "b"}, refused={"FID": "protocols differ: n (1 against 2)"},
                   provenance={0: {}, 1: {}})  # fmt: skip
    found = Less("FID", at(0), at(1)).decide(Cells(TABLE, [good, refused]))
    assert found.holds is None and "refused: protocols differ: n (1 against 2)" in found.why


def test_a_quantity_that_a_budget_does_not_measure_decides_nothing():
    of = cells({(0, 10): [1.0, 1.1], (1, 10): [2.0, 2.1]})
    for statement in (Less("IS", at(0), at(1)), Within("IS", at(0), low=0.0), increases("IS", along="eta")):
        found = statement.decide(of)
        assert found.holds is None and "does not measure IS" in found.why


@pytest.mark.parametrize("failed", [0, 1])
def test_a_quantity_that_a_seed_lacks_decides_nothing(failed):
    """It is no failure, and no worse than others."""
    whole, part = failing(at(0), 6, failed), failing(at(1), 6, 0, value=3.0)
    part = dataclasses.replace(part, values={"FID": dict.fromkeys(range(5), 3.0)}, provenance={5: {}})
    of = Cells(TABLE, [whole, part])
    for statement in (Less("FID", at(0), at(1)), Within("FID", at(1), low=0.0), Near("FID", at(0), at(1), share=0.1)):
        found = statement.decide(of)
        assert found.holds is None and found.why.endswith("seed 5 has no FID")


def test_different_protocols_are_never_compared():
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.2]}, protocol=lambda eta: {"generated": 100 + eta})
    found = Less("FID", at(0), at(1)).decide(of)
    assert found.holds is None and "generated (100 against 101)" in found.why


def test_a_claim_along_an_axis_names_the_labels_that_a_budget_has():
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3]})
    whole = increases("FID", along="eta").decide(of)
    assert whole.holds and whole.why.endswith("; this budget has FID only at eta 0, 1 and steps 10")
    fixed = least("FID", along="eta", eta="0", steps="10").decide(of)
    assert fixed.holds and fixed.why.endswith("; this budget has FID only at eta 0, 1")
    assert " only " not in increases("FID", along="eta", over=(0, 1), steps="10").decide(of).why
    asked = increases("FID", along="eta", over=(0, 1, 2), steps="10").decide(of)
    assert asked.holds and asked.why.endswith("; this budget has FID only at eta 0, 1")


def test_a_claim_along_an_axis_names_the_gaps_of_each_line():
    """A line of two of three labels compares those, and one of a single label nothing: neither is silent."""
    rising = [[1.0 + eta, 1.1 + 1.1 * eta, 1.2 + eta] for eta in range(3)]
    of = cells({(0, 10): rising[0], (1, 10): rising[1], (2, 10): rising[2], (0, 20): rising[0], (2, 20): rising[2]})
    found = increases("FID", along="eta").decide(of)
    assert found.holds and found.why.startswith("3 of 3 hold")
    assert found.why.endswith("; this budget has FID at steps 20 only at eta 0, 2")
    one = Cells(TABLE, of.cells[:4])
    found = greatest("FID", along="eta", eta="2").decide(one)
    assert found.holds and found.why.endswith("; this budget has FID at steps 20 only at eta 0")
    assert "this budget has FID only at eta 0, 1; at steps 20 only at eta 0" in increases(
        "FID", along="eta").decide(Cells(TABLE, [*of.cells[:2], of.cells[3]])).why  # fmt: skip


def test_a_claim_along_an_axis_leaves_out_places_that_do_not_measure_the_quantity():
    """As where two tables are one. A place that is not run yet, was refused or failed is no such place."""
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3]})
    other = Cell(at(2), {0: "a", 1: "b"}, {"IS": {0: 1.0, 1: 1.0}}, {"IS": {}})
    found = increases("FID", along="eta", steps="10").decide(Cells(TABLE, [*of.cells, other]))
    assert found.holds and found.why.endswith("; this budget has FID only at eta 0, 1")
    refused = dataclasses.replace(other, refused={"FID": "protocols differ"})
    partly = dataclasses.replace(other, runs=other.runs | {2: "c"})
    lost = Cell(at(2), {0: "a"}, failed={0: "not finite"})
    for cell in (refused, partly, lost, Cell(at(2), {0: "a"})):
        found = increases("FID", along="eta", steps="10").decide(Cells(TABLE, [*of.cells, cell]))
        assert found.holds is None and "only at" not in found.why


@pytest.mark.parametrize(
    ("statement", "places"),
    [
        (Less("FID", at(0), at(1)), "eta 1, steps 10"),
        (AnyOf((Near("FID", at(0), at(1), share=0.1), Within("FID", at(2)))), "eta 1, steps 10, eta 2, steps 10"),
        (increases("FID", along="eta", over=(0, 1)), "eta 1, steps 10"),
        (All((Fails(at(0)), Fails(at(0)))), ""),
    ],
)
def test_evidence_names_the_stale_places_that_it_rests_on(statement, places):
    of = cells({(eta, 10): [1.0 + eta, 1.1 + eta, 1.2 + eta] for eta in range(3)})
    _, _, why = Claim("it is so", statement).verdict(of, stale=[at(1), at(2)])
    assert why.partition("; stale: ")[2] == places
    assert "stale" not in Claim("it is so", statement).verdict(of).why


def test_a_claim_added_after_cells_were_seen_says_so():
    of = cells({(0, 10): [1.0, 1.1, 1.2], (1, 10): [2.0, 2.1, 2.3]})
    claim = Claim("it grows", Less("FID", at(0), at(1)), added="after the cells of hour were seen")
    assert claim.verdict(of).says == "it grows (added after the cells of hour were seen)"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (Less("IDF", at(0), at(1)), "'IDF' is not a quantity of this table; it has FID, IS"),
        (Less("FID", at(0), at(7)), "eta '7' is not one of 0, 1, 2"),
        (
            Near("FID", {"eta": "0"}, at(1), share=0.1),
            "{'eta': '0'} must have a label for eta and steps, and for no other axis",
        ),
        (All((Fails(at(0)), AnyOf((Within("FID", at(0, 30)),)))), "steps '30' is not one of 10, 20"),
        (increases("FID", along="epsilon"), "'epsilon' is not an axis of this table; it has eta and steps"),
        (increases("FID", along="eta", over=(0, 5)), "eta '5' is not one of 0, 1, 2"),
        (least("FID", along="eta", steps="10"), "the label with the extreme is missing; give eta=LABEL"),
        (greatest("FID", along="eta", eta="1", step="10"), "'step' is not an axis of this table"),
        (increases("FID", along="eta", eta="1"), "eta=1 cannot be fixed in a statement along eta"),
        (decreases("FID", along="eta", over=(1,)), "over=('1',) has one label; it must name at least two of eta"),
        (Less("FID", at(0), at(0)), "eta 0, steps 10 cannot be compared with itself"),
        (decreases("FID", along="eta", over=(1, 1)), "over=('1', '1') has one label; it must name at least two of eta"),
        (Near("FID", at(0), at(0), share=0.1), "eta 0, steps 10 cannot be compared with itself"),
        (Less("FID", at(0), "1"), "the place '1' must be {axis: label}"),
        (All((Less("FID", at(0), at(1)), 3)), "3 must be a statement such as Less(...)"),
        (AnyOf(()), "AnyOf has no statements, so it decides nothing"),
        (Near("FID", at(0), at(1), share=-0.1), "share=-0.1 must lie between 0 and 1"),
        (Near("FID", at(0), at(1), share=10), "share=10 must lie between 0 and 1"),
        (Within("FID", at(0), low=5, high=1), "FID cannot be in [5, 1]: low exceeds high"),
    ],
)
def test_a_claim_about_something_outside_the_table_is_an_error(statement, said):
    with pytest.raises(UserError, match=re.escape(f"experiment: {said}")):
        statement.check(TABLE)


@pytest.mark.parametrize("statement", [increases("FID", along="eta"), All(())])
def test_no_cells_decide_nothing(statement):
    assert verdict(statement, Cells(TABLE, [])) == "not decided"
