"""Evaluations beside each other."""

import json

import pytest

import launch
from diffjax.errors import UserError
from diffjax.evaluation import Score
from diffjax.evaluation.contract import Measuring
from diffjax.evaluation.report import measure, record
from tests.commands import one_line

PROTOCOL = {"generated": 100, "features": {"network": "pixels"}}


@pytest.fixture
def written(tmp_path):
    def write(name, protocol=PROTOCOL, **values):
        scores = [Score(metric, value, None, "", protocol) for metric, value in values.items()]
        return str(record(scores, {"seed": 0}, tmp_path / f"{name}.json"))

    return write


def test_what_all_have_stands_in_columns_with_its_mean_and_spread(written, capsys):
    files = [written("a", fid=1.0, kid=0.5), written("b", kid=0.7, fid=3.0), written("c", fid=2.0)]
    assert launch.main(["evaluate", "--compare", *files]) == 0
    head, _, line, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["metric", *files, "mean", "sd"] and not rest
    assert line.split() == ["fid", "1", "3", "2", "2", "1"]


def test_what_was_measured_otherwise_is_refused_and_the_difference_named(written, capsys):
    one, other = written("a", fid=1.0), written("b", PROTOCOL | {"generated": 50}, fid=1.0)
    said = one_line(capsys, "evaluate", "--compare", one, other)
    assert (
        f"{one} and {other}: protocol: values of fid differ in generated (100 against 50); measure both alike" in said
    )


def test_what_cannot_be_compared_is_one_line(written, tmp_path, capsys):
    (tmp_path / "else.json").write_text("[]")
    one = written("a", fid=1.0)
    assert "--compare: 1 file given; must be two or more" in one_line(capsys, "evaluate", "--compare", one)
    assert "--metrics: cannot be combined with --compare, which only reads earlier" in one_line(
        capsys, "evaluate", "--compare", one, one, "--metrics=fid"
    )
    assert "--num: cannot be combined with --compare" in one_line(capsys, "evaluate", "--compare", one, one, "--num=0")
    assert "--config.eval.num: cannot be combined with --compare" in one_line(
        capsys, "evaluate", "--compare", one, one, "--config.eval.num=9"
    )
    assert "share no score" in one_line(capsys, "evaluate", "--compare", one, written("b", kid=1.0))
    assert "is no file of scores" in one_line(capsys, "evaluate", "--compare", one, f"{tmp_path}/else.json")
    assert "cannot be read (No such file" in one_line(capsys, "evaluate", "--compare", one, f"{tmp_path}/none.json")


@pytest.mark.parametrize(
    "score",
    [
        {"name": "fid", "value": 1.0, "protocol": 3},
        {"name": "fid", "value": 1.0, "protocol": {"k": float("nan")}},
        {"name": "fid", "value": None, "protocol": {}},
        {"name": ["fid"], "value": 1.0, "protocol": {}},
        "fid",
    ],
)
def test_a_file_written_by_hand_that_holds_no_scores_is_one_line(score, written, tmp_path, capsys):
    (tmp_path / "hand.json").write_text(json.dumps({"metrics": [score]}))
    words = ["--compare", written("a", fid=1.0), f"{tmp_path}/hand.json"]
    assert "hand.json is no file of scores" in one_line(capsys, "evaluate", *words)


def test_what_could_not_be_measured_has_no_mean(written, tmp_path, capsys):
    """Whichever file it is in; what the others have is compared all the same."""

    def cannot(sets):
        raise UserError("samples: 5 are not finite")

    unmeasured = str(tmp_path / "failed.json")
    record(measure(None, {"fid": Measuring(cannot, ("fid",))}), {"seed": 0}, tmp_path / "failed.json")
    one, two = written("a", fid=1.0), written("b", fid=2.0)
    for files, values in (((unmeasured, one, two), ["nan", "1", "2"]), ((one, unmeasured, two), ["1", "nan", "2"])):
        assert launch.main(["evaluate", "--compare", *files]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split() == ["fid", *values, "nan", "nan"]
    other = written("c", PROTOCOL | {"generated": 50}, fid=3.0)
    said = one_line(capsys, "evaluate", "--compare", unmeasured, one, other)
    assert f"{one} and {other}: protocol: values of fid differ in generated (100 against 50)" in said
