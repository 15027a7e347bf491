"""Metrics of trained runs: the same number on any devices and in any batches, what they need, and what they show."""

import dataclasses
import errno
import json
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from diffjax import evaluation
from diffjax import metrics as m
from diffjax.data import Digits, Examples
from diffjax.data.source import in_memory
from diffjax.drawing.sheets import by_class
from diffjax.errors import UserError
from diffjax.evaluation import Score
from diffjax.evaluation.evaluate import evaluate
from diffjax.evaluation.report import table
from diffjax.experiment import Experiment
from diffjax.inference.embedding import Embedder
from diffjax.inference.sampling import Drawn
from diffjax.parallel import layout
from diffjax.run import load
from diffjax.training.loop import carry_shapes, train
from tests import tiny

IMAGES = ("frechet_pixels", "kid:pixels", "kid_all_pairs:pixels", "prdc:pixels", "memorisation:pixels")


def evidence(names=(), num=64, model=tiny.gan, **changes) -> evaluation.Evidence:
    """An untrained model's, of digits by label."""
    experiment = Experiment.of(model(**changes))
    state = experiment.initial_state(carry_shapes(experiment)["state"])
    return evaluation.Evidence(experiment, state, num, 0, evaluation.choose(names, experiment, num))


def scores(e) -> dict[str, evaluation.Score]:
    return {score.name: score for metric in e.choice.metrics.values() for score in metric(e)}


def test_numbers_depend_on_neither_batch_nor_devices():
    """50 samples, 16 at a time on one device and 24 at a time on eight: ragged in both."""
    one = scores(evidence(IMAGES, 50, eval__batch_size=16, parallel__devices=1))
    eight = scores(evidence(IMAGES, 50, eval__batch_size=24, parallel__devices=8))
    assert one.keys() == eight.keys()
    for name in one:
        np.testing.assert_allclose(one[name].value, eight[name].value, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(one[name].at_best, eight[name].at_best, rtol=1e-6, err_msg=name)
        assert one[name].protocol == eight[name].protocol


def test_frechet_pixels_is_the_distance_of_the_pixels_themselves():
    e = evidence(["frechet_pixels"])
    found = scores(e)["frechet_pixels"]
    samples, heldout, others = (
        m.Moments.of(x.reshape(len(x), -1) / 255.0)
        for x in (e.drawn.x, e.heldout["x"], e.train["x"][np.arange(64) * 1438 // 64])
    )
    assert found.value == pytest.approx(m.frechet_distance(samples, heldout), rel=1e-5)
    assert found.at_best == pytest.approx(m.frechet_distance(others, heldout), rel=1e-5)
    assert found.protocol["reference"] == 359
    assert found.protocol["features"]["network"] == "pixels"
    assert "64 images span at most 63 of 64 dimensions" in found.warning and found.warning in table([found])


def test_the_table_says_of_an_error_no_best():
    shown = table(
        [Score("kid_pixels", 0.2, 0.01, "others", {}), Score("kid_pixels_standard_error", 0.1, 0.0, "of", {})]
    )
    assert [line.split() for line in shown.splitlines()[2:]] == [
        ["kid_pixels", "0.2", "0.01", "others"],
        ["kid_pixels_standard_error", "0.1", "of"],
    ]


def test_the_reference_may_be_the_training_split_and_the_floor_is_then_of_held_out_images():
    against_train = scores(evidence(["kid:pixels"], 400, eval__reference="train"))["kid_pixels"]
    assert against_train.protocol["reference"] == 1438
    assert against_train.protocol["subset_size"] == 400
    assert against_train.at_best == 0  # there are only 359 others
    with pytest.raises(UserError, match=r"eval.reference: 'test' must be 'train' or 'heldout'"):
        evidence(eval__reference="test")


def test_two_numbers_of_different_references_cannot_be_averaged():
    both = [
        m.Metric(score.name, score.value, score.protocol)
        for split in ("train", "heldout")
        for score in [scores(evidence(["frechet_pixels"], eval__reference=split))["frechet_pixels"]]
    ]
    with pytest.raises(UserError, match=r"differ in reference \(1438 against 359\), reference_hash .*; measure"):
        m.average(both)


def test_modes_are_of_a_mixture_however_many_of_its_points_were_drawn():
    """So that a game that sees pairs of examples, and twice as many, can be compared with one that sees each alone."""

    def counted(**changes):
        score = scores(evidence(["modes"], model=tiny.ring, **changes))["modes"]
        return m.Metric(score.name, score.value, score.protocol)

    m.average([counted(), counted(data__num_train="8192", data__seed="1", data__standardised="false")])
    for changes in ({"data__noise": "0.02"}, {"data__name": "toy2d:grid"}):
        with pytest.raises(UserError, match="differ in .*sigma"):
            m.average([counted(), counted(**changes)])


class Replayed(evaluation.Evidence):
    """Whose samples are given images, and whose data may be another source's."""

    def __init__(self, x, names, source=None, **changes):
        e = evidence(names, **changes)
        experiment = dataclasses.replace(e.experiment, source=source) if source else e.experiment
        super().__init__(experiment, e.state, len(x), 0, e.choice)
        self._embedded = {
            name: Embedder(of, layout(devices=1))(in_memory(x, np.zeros(len(x))))
            for name, of in e.choice.extractors.items()
        }
        self.__dict__["_sampled"] = (Drawn(x, np.full(len(x), -1), np.ones(len(x), int)), {})


@pytest.mark.parametrize("conditional", [True, False])
def test_the_best_balance_of_classes_is_that_of_the_labels_that_are_asked_for(conditional):
    """33 samples of a perfect model: asked by label, three classes come four times and the others three times."""
    e, asked = evidence(num=33, method__conditional=str(conditional).lower()), np.arange(33) % 10
    seen = {33: asked, 359: e.heldout["label"]}
    perfect = SimpleNamespace(logits=lambda variables, x: np.eye(10)[seen[len(x)]])
    e.choice = evaluation.Choice(judge=SimpleNamespace(identity="perfect", ema={}, experiment=perfect))
    labels = asked if conditional else np.full(33, -1)
    e.__dict__["_sampled"] = (Drawn(np.zeros((33, 8, 8, 1), np.uint8), labels, np.ones(33, int)), {})
    kl = next(score for score in evaluation.METRICS["classifier"].function(e) if score.name == "class_kl")
    assert kl.at_best == (kl.value if conditional else m.expected_kl_to_uniform(10, 33))
    assert kl.protocol["precision"] == e.experiment.config.eval.precision == "highest"


def test_real_images_are_at_the_floor_and_noise_is_ranked():
    """As many digits as are held out, none of them among those of the floor; a share of them replaced by noise."""
    rng, train_x = np.random.default_rng(0), Digits().split("train").arrays()["x"]
    rest = np.setdiff1d(np.arange(1438), np.arange(359) * 1438 // 359)
    found = []
    for share in (0.0, 0.05, 0.1):
        x = train_x[rest[np.arange(359) * len(rest) // 359]]
        x[: round(share * len(x))] = rng.integers(0, 256, (round(share * len(x)), 8, 8, 1))
        found.append(scores(Replayed(x, ("frechet_pixels", "kid_all_pairs:pixels", "prdc:pixels"))))
    clean, five, ten = found
    assert clean["frechet_pixels_ratio"].value == pytest.approx(1, abs=0.25)  # three times the spread of such draws
    kid, error = clean["kid_all_pairs_pixels"], clean["kid_all_pairs_pixels_standard_error"]
    assert abs(kid.value) < 3 * error.value
    for name in ("frechet_pixels", "kid_all_pairs_pixels"):
        assert clean[name].value < five[name].value < ten[name].value
    assert clean["precision_pixels"].value > five["precision_pixels"].value > ten["precision_pixels"].value


class Fewer:
    """The digits, of whose training split 438 are neither trained on nor held out."""

    order = np.random.default_rng(0).permutation(1438)

    def split(self, name):
        whole = Digits().split(name)
        return Examples(1000, lambda i: whole.take(self.order[i])) if name == "train" else whole


def test_a_generator_that_memorised_its_training_set_is_flagged_and_shown():
    rng = np.random.default_rng(0)
    train_x = Digits().split("train").arrays()["x"]
    copies = np.clip(train_x[:300].astype(int) + rng.integers(-3, 4, (300, 8, 8, 1)), 0, 255).astype(np.uint8)
    e = Replayed(copies, ["memorisation:pixels"])
    found = scores(e)
    assert found["auth_pct_pixels"].value < 5 and found["auth_pct_pixels"].at_best > 40
    assert found["copied_pct_pixels"].value > 95
    assert found["excess_copies_pixels"].value > 4 and "memorised" in found["excess_copies_pixels"].warning
    assert e.pictures["nearest_pixels"].shape[2] == 3

    fresh = scores(Replayed(train_x[Fewer.order[1000:]], ["memorisation:pixels"], source=Fewer()))
    assert fresh["auth_pct_pixels"].protocol["reference"] == 1000
    assert 0 < abs(fresh["excess_copies_pixels"].value) < 3 and not fresh["excess_copies_pixels"].warning


def test_an_evaluation_leaves_its_numbers_their_protocol_and_its_pictures(tmp_path):
    e = evidence(("frechet_pixels", "memorisation:pixels"), method__conditional="true")
    evaluate(e, tmp_path, step=0)
    (file,) = (tmp_path / "evals").glob("*.json")
    written = json.loads(file.read_text())
    assert {"frechet_pixels", "auth_pct_pixels"} <= {score["name"] for score in written["metrics"]}
    assert written["metrics"][0]["protocol"]["features"]["resize"] == "none" and written["metrics"][0]["warning"]
    assert written["metrics"][0]["protocol"]["labels"] == "i modulo 10"
    pictures = {path.name for path in file.parent.glob("*.png")}
    assert pictures == {f"{written['id']}-{name}.png" for name in ("samples", "nearest_pixels", "classes")}


def test_a_run_that_cannot_be_written_to_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    train(tiny.points(train__steps=1, eval__metrics="()"), tmp_path)
    (tmp_path / "evals").write_text("in place of a folder that may not be written, as root may write to any")
    monkeypatch.setattr(evaluation.Evidence, "_drawing", lambda *_: pytest.fail("drawn"))
    with pytest.raises(UserError, match="`out`: .*/evals/ID.json cannot be written .*; must be a writable path"):
        load(tmp_path).evaluate("energy", num=8)


def test_numbers_that_cannot_be_recorded_have_been_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("diffjax.evaluation.evaluate.record", raises_no_room)
    with pytest.raises(OSError, match="No space left"):
        evaluate(evidence(["denoising_error"], model=tiny.points), tmp_path, step=0, show=shown.append)
    assert len(shown) == 1 and "denoising_error_0.01" in shown[0]


def raises_no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_metric_that_asks_no_samples_draws_none(tmp_path):
    e = evidence(["denoising_error"], model=tiny.points)
    evaluate(e, tmp_path, step=0)
    assert not e.has_drawn


def test_the_errors_of_an_untrained_denoiser_are_known():
    """An untrained network gives F = 0, so D = c_skip x_t: (1 - c_skip)^2 E x0^2 + c_skip^2 sigma^2 a dimension."""
    e = evidence(["denoising_error"], 359, model=tiny.digits)
    square = np.mean(np.asarray(e.experiment.method.space.to_model(e.heldout["x"].astype(float))) ** 2)
    found = scores(e)
    for sigma in (0.01, 0.5, 50):
        skip = 0.25 / (0.25 + sigma**2)
        expected = (1 - skip) ** 2 * square + skip**2 * sigma**2
        assert found[f"denoising_error_{sigma:g}"].value == pytest.approx(expected, rel=0.03)


def test_each_class_has_a_row():
    labels = np.random.default_rng(0).permutation(np.arange(40) % 10)
    greys, space = (20 * labels).astype(np.uint8), Digits().space
    sheet = by_class(Drawn(np.tile(greys[:, None, None, None], (1, 8, 8, 1)), labels, np.ones(40, int)), space)
    side, gap = 56, 2  # of a cell, and between two: ten rows of four, from the right and the bottom edge
    columns, rows = (
        edge - gap - side // 2 - (side + gap) * np.arange(n)[::-1]
        for edge, n in ((sheet.shape[1], 4), (sheet.shape[0], 10))
    )
    np.testing.assert_array_equal(sheet[np.ix_(rows, columns)][..., 0], np.tile(20 * np.arange(10)[:, None], (1, 4)))
    few = by_class(Drawn(np.zeros((5, 8, 8, 1), np.uint8), labels[:5], np.ones(5, int)), space)
    assert few.shape[0] < sheet.shape[0]  # those five that there are


@pytest.mark.parametrize(
    ("names", "changes", "said"),
    [
        (["fiddle"], {}, r"eval.metrics: 'fiddle' is unknown; it is one of frechet, .*fid"),
        (
            ["kid:pictures"],
            {},
            r"eval.metrics: 'kid:pictures': its feature network must be one of .*inception.*classifier",
        ),
        (
            ["accuracy:pixels"],
            {},
            r"eval.metrics: 'accuracy:pixels': accuracy takes no feature network; write 'accuracy'",
        ),
        (["kid:classifier"], {}, r"eval.classifier: the metric 'kid:classifier' needs the run directory of a class"),
        (["fid"], {"eval__precision": "half"}, "eval.precision: 'half' is not one of highest, tensorfloat32, default"),
        (["fid"], {"eval__weights": "/nowhere/inception.pth"}, r"weights: there is no file /nowhere/inception.pth"),
        (["fid", "fd_dinov2"], {"eval__weights": "x.pth"}, r"eval.weights: x.pth is one file, for 2 networks"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_drawn(names, changes, said):
    with pytest.raises(UserError, match=said):
        evidence(names, **changes)


def test_the_best_checkpoint_is_kept_beside_the_last_and_both_are_reported(tmp_path):
    watched = {"eval__every": 2, "eval__metrics": "frechet_pixels", "eval__best": "eval/frechet_pixels"}
    config = tiny.gan(train__steps=6, train__checkpoint_every=2, train__keep=1, **watched)
    result = train(config, tmp_path)
    lines = {line["step"]: line for line in tiny.losses(tmp_path)}
    best = min((2, 4, 6), key=lambda step: lines[step]["eval/frechet_pixels"])
    found = {key: value for key, value in result["best"].items() if key != "evaluation"}
    assert found == {"step": best, "eval/frechet_pixels": lines[best]["eval/frechet_pixels"]}
    assert result["metrics"]["eval/frechet_pixels"] == lines[6]["eval/frechet_pixels"]
    assert load(tmp_path, step="best").step == best and load(tmp_path).step == 6


def test_the_best_checkpoint_is_that_of_the_greatest_value_where_more_is_better(tmp_path):
    changes = {"train.batch_size": "32", "train.steps": "8", "train.checkpoint_every": "1", "train.keep": "1"}
    changes |= {"eval.every": "1", "eval.best": "eval/accuracy", "parallel.devices": "1", "optim.learning_rate": "3e-2"}
    result = train(tiny.changed("configs/classifier.py:digits", changes, {}), tmp_path)
    found = {line["step"]: line["eval/accuracy"] for line in tiny.losses(tmp_path)}
    assert result["best"]["eval/accuracy"] == max(found.values()) > min(found.values())
    assert load(tmp_path, step="best").step == result["best"]["step"]


def test_an_error_is_nothing_to_choose_a_checkpoint_by(tmp_path):
    name = "eval/kid_pixels_standard_error"
    watched = {"eval__every": 2, "eval__metrics": "kid:pixels", "eval__best": name, "train__checkpoint_every": 2}
    said = f"eval.best: '{name}' does not say how good .*; must be one of eval/kid_pixels$"
    with pytest.raises(UserError, match=said):
        train(tiny.gan(train__steps=4, **watched), tmp_path)


def test_a_checkpoint_whose_value_is_missing_is_said_not_to_be_the_best(tmp_path, capsys):
    """A chain gives only the errors at noise levels that it reaches."""
    name = "eval/denoising_error_0.01"
    watched = {"eval__metrics": "denoising_error", "eval__best": name, "eval__every": 1, "train__checkpoint_every": 1}
    assert "best" not in train(tiny.chain(train__steps=1, **watched), tmp_path)
    said = f"eval.best: {name} was not measured at step 1, which therefore cannot be the best"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("metrics", "there"),
    [
        ("frechet_pixels", "must be one of eval/frechet_pixels, eval/frechet_pixels_ratio"),
        ("()", "eval.metrics is empty"),
    ],
)
def test_a_best_that_no_metric_gives_is_refused_before_the_first_step(metrics, there, tmp_path):
    watched = {"eval__every": 2, "eval__metrics": metrics, "eval__best": "eval/frechet"}
    with pytest.raises(UserError, match=f"eval.best: no metric gives 'eval/frechet'; {there}"):
        train(tiny.gan(train__steps=4, train__checkpoint_every=2, **watched), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_with_more_samples_than_other_images_the_ratio_is_of_as_many():
    e = evidence(["frechet_pixels"], 400)
    rng = np.random.default_rng(0)
    x = e.train["x"][rng.permutation(1438)[:1200]]
    found = scores(Replayed(x, ["frechet_pixels"], eval__reference="train"))
    assert found["frechet_pixels"].at_best is None and "floor" not in found["frechet_pixels"].protocol
    ratio = found["frechet_pixels_ratio"]
    assert ratio.protocol["generated"] == ratio.protocol["floor"] == 359
    assert 0.3 < ratio.value < 1.2  # images of the reference itself, and not yet 0: of 359


def test_a_run_of_before_these_keys_can_be_opened(tmp_path):
    train(tiny.gan(train__steps=2), tmp_path)
    path = tmp_path / "config.json"
    old = json.loads(path.read_text())
    for key in ("features", "precision", "weights", "reference"):
        del old["config"]["eval"][key]
    path.write_text(json.dumps(old))
    kept = load(tmp_path).experiment.config.eval
    assert (kept.reference, kept.precision) == ("heldout", "highest")
    with pytest.raises(UserError, match="`step`: this run has no best checkpoint"):
        load(tmp_path, step="best")


def test_a_run_stopped_and_continued_measures_the_same(tmp_path):
    watched = {"eval__every": 2, "eval__metrics": "frechet_pixels,memorisation:pixels", "train__checkpoint_every": 2}
    watched |= {"train__log_every": 2, "optim__decay": "constant"}
    train(tiny.gan(train__steps=4, **watched), tmp_path / "whole")
    train(tiny.gan(train__steps=2, **watched), tmp_path / "parts")
    train(tiny.gan(train__steps=4, **watched), tmp_path / "parts")
    assert tiny.losses(tmp_path / "whole") == tiny.losses(tmp_path / "parts")


def test_a_result_names_the_evaluations_that_its_numbers_are_of(tmp_path):
    watched = {"eval__metrics": "frechet_pixels,nfe", "eval__every": 2, "train__checkpoint_every": 2}
    config = tiny.gan(train__steps=6, eval__best="eval/frechet_pixels", **watched)
    train(config, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    best = result["best"]
    for found, step, values in ((result, 6, result["metrics"]), (best, best["step"], best)):
        written = json.loads((tmp_path / "evals" / f"{found['evaluation']}.json").read_text())
        scores = {f"eval/{score['name']}": score["value"] for score in written["metrics"]}
        assert written["provenance"]["step"] == step
        assert scores["eval/frechet_pixels"] == values["eval/frechet_pixels"]
    again = train(config, tmp_path)
    assert (again["evaluation"], again["best"]) == (result["evaluation"], best), "so it says at its end"
    train(tiny.gan(train__steps=2, eval__metrics="()"), tmp_path / "unmeasured")
    assert "evaluation" not in json.loads((tmp_path / "unmeasured" / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_and_continued_measures_the_same_and_keeps_the_same_best_checkpoint(tmp_path):
    small = {"method.generator.width": 4, "method.discriminator.width": 4, "train.batch_size": 16}
    small |= {"train.steps": 400, "train.checkpoint_every": 20, "train.log_every": 20, "train.sample_every": 0}
    small |= {"eval.metrics": "frechet_pixels,memorisation:pixels", "eval.num": 64, "eval.batch_size": 64}
    small |= {"eval.every": 20, "eval.best": "eval/frechet_pixels"}
    words = ["train", "--config=configs/gan_digits.py", *(f"--config.{key}={value}" for key, value in small.items())]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tiny.launch(*words, f"--workdir={whole}").communicate(timeout=250)
    result = json.loads((whole / "result.json").read_text())
    process, until = tiny.launch(*words, f"--workdir={parts}"), time.monotonic() + 200
    while len(lines(parts)) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = lines(parts)[-1]["step"]
    assert 100 <= killed < 400 and not (parts / "result.json").exists()
    out, err = tiny.launch(*words, f"--workdir={parts}").communicate(timeout=250)
    assert "continuing from step" in out, err
    assert lines(parts) == lines(whole) and len(lines(whole)) == 20
    assert json.loads((parts / "result.json").read_text())["best"] == result["best"]
    assert load(parts, step="best").step == load(whole, step="best").step == result["best"]["step"]
    tiny.assert_trees_equal(load(parts, step="best").state, load(whole, step="best").state)


def lines(workdir) -> list[dict]:
    """What was evaluated, step by step; of a run under way its whole lines."""
    path = workdir / "metrics.jsonl"
    written = path.read_text().split("\n")[:-1] if path.exists() else []
    found = [json.loads(line) for line in written]
    return [{k: v for k, v in line.items() if k == "step" or k.startswith("eval/")} for line in found]
