"""What metrics say of themselves before anything is drawn: the names of their scores, and what they cannot do."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from diffjax import evaluation
from diffjax.data import Digits, Space
from diffjax.errors import UserError
from diffjax.evaluation import choice
from diffjax.evaluation.evaluate import evaluate
from diffjax.evaluation.table import BY_FEATURES
from diffjax.experiment import Experiment
from diffjax.inference.embedding import Embedder
from diffjax.metrics.protocol import differences
from diffjax.parallel import layout
from diffjax.run import load
from diffjax.training.loop import train
from tests import tiny
from tests.commands import one_line
from tests.evaluation.test_evaluation import evidence, scores

OF_DIGITS = ("classifier", "parzen", "inception_score:classifier", *(f"{name}:pixels" for name in BY_FEATURES))


def test_a_classifier_sees_in_the_precision_that_is_asked_for_whatever_that_of_the_run(classifier):
    run, protocols = load(classifier), []
    with jax.default_matmul_precision("default"):
        for asked, wanted in (("tensorfloat32", jax.lax.Precision.HIGH), ("highest", jax.lax.Precision.HIGHEST)):
            network = evaluation.extractors(["kid:classifier"], (8, 8, 1), "", run, asked)["classifier"]
            jaxpr = jax.make_jaxpr(network.apply)(network.variables, np.zeros((1, 8, 8, 1), np.uint8))
            products = [e for e in jaxpr.eqns if e.primitive.name in ("conv_general_dilated", "dot_general")]
            found = {e.params["precision"] for e in products}
            assert found == {(wanted, wanted)}
            protocols.append(network.protocol)
    assert differences(*protocols) == ["precision (tensorfloat32 against highest)"]


def test_a_judge_sees_images_on_all_devices_as_on_one(classifier):
    run, x = load(classifier), Digits().split("heldout").arrays()["x"][:70]
    for devices in (1, 8):
        experiment = dataclasses.replace(run.experiment, layout=layout(devices=devices))
        found, whole = experiment.logits(run.ema, x, batch_size=32), experiment.method.logits(run.ema, x)
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_logits_are_of_an_inception_score_and_nobody_else_pays_for_them(classifier):
    run, x = load(classifier), np.zeros((2, 8, 8, 1), np.uint8)
    for names, logits in ((["kid:classifier"], None), (["kid:classifier", "inception_score:classifier"], (2, 10))):
        network = evaluation.extractors(names, (8, 8, 1), "", run, "highest")["classifier"]
        found = jax.eval_shape(network.apply, network.variables, x)
        assert found.features.shape == (2, 128) and (found.logits and found.logits.shape) == logits


def test_a_judge_of_classes_knows_those_of_the_data(tmp_path, monkeypatch):
    """As a feature network it may know any."""
    (tmp_path / "config.json").write_text("{}")
    judge = SimpleNamespace(experiment=Experiment.of(tiny.changed("configs/classifier.py:digits", {}, {})))
    monkeypatch.setattr(choice, "load", lambda path: judge)
    ours = Experiment.of(tiny.gan(eval__classifier=str(tmp_path)))
    assert choice.judge_of(ours, ["classifier"]) is judge
    method = dataclasses.replace(ours.method, space=dataclasses.replace(ours.method.space, num_classes=3))
    others = dataclasses.replace(ours, method=method)
    assert choice.judge_of(others, ["kid:classifier"]) is judge
    with pytest.raises(UserError, match=f"eval.classifier: {tmp_path} knows 10 classes; must know the data's 3"):
        choice.judge_of(others, ["kid:classifier", "classifier"])


def check_names(names, num, model, **changes):
    e = evidence(names, num, model, **changes)
    assert set(scores(e)) == set(e.choice.names)


def test_every_metric_of_images_gives_the_scores_that_it_names(classifier):
    names = [name for name in OF_DIGITS if name != "inception_score:pixels"]
    check_names(names, 200, tiny.gan, eval__classifier=classifier)


@pytest.mark.parametrize(
    ("names", "model", "changes"),
    [
        (("energy", "nfe", "vlb", "likelihood_ode", "denoising_error"), tiny.points, {}),
        (("modes",), tiny.points, {"data__name": "toy2d:ring"}),
        (("K", "vlb"), tiny.chain, {}),
        (("K",), tiny.chain, {"data__name": "toy2d:swiss_roll"}),
    ],
)
def test_every_metric_of_points_gives_the_scores_that_it_names(names, model, changes):
    check_names(names, 20, model, **changes)


def test_a_bound_names_its_scores():
    def heartbeat(**changes):
        small = {"data.num_train": "256", "data.num_heldout": "64", "train.batch_size": "64", "parallel.devices": "1"}
        return tiny.changed("configs/heartbeat.py", small, changes)

    check_names(["bound"], 20, heartbeat)


def test_a_classifier_s_own_accuracy_is_named(classifier):
    def model(**changes):
        return tiny.changed("configs/classifier.py:digits", {"parallel.devices": "1"}, changes)

    check_names(["accuracy"], 20, model)


@pytest.mark.parametrize(
    ("names", "num", "said"),
    [
        (["kid:pixels", "prdc:pixels"], 4, "samples: 4 images; must be at least 6 for prdc:pixels"),
        (
            ["inception_score:pixels"],
            64,
            "inception_score:pixels: 'pixels' has no class logits; must be inception or class",
        ),
        (
            ["frechet_infinity:pixels"],
            100,
            "samples: 100 images; must be at least 130 for frechet_infinity:pixels, as its",
        ),
        (["frechet_pixels"], 1, "samples: 1 images; must be at least 2 for frechet:pixels"),
    ],
)
def test_what_so_few_samples_cannot_say_is_refused_before_any_is_drawn(names, num, said, monkeypatch):
    monkeypatch.setattr(Embedder, "batch", lambda *_: pytest.fail("embedded"))
    with pytest.raises(UserError, match=said):
        evidence(names, num)


def test_large_images_have_no_frechet_distance_of_their_pixels():
    experiment = Experiment.of(tiny.gan())
    method = dataclasses.replace(experiment.method, space=Space("images", (256, 256, 3)))
    experiment = dataclasses.replace(experiment, method=method)
    with pytest.raises(UserError, match="features: 196,608 dimensions, whose covariance takes 309 GB; at most 16,384"):
        evaluation.choose(["frechet_pixels"], experiment)


def test_the_front_door_refuses_what_a_run_cannot_measure_and_writes_where_it_is_told(tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "new" / "numbers.json"
    train(tiny.gan(train__steps=2, eval__metrics="()"), run)
    words = ["evaluate", f"--workdir={run}"]
    assert "'pixels' has no class logits" in one_line(capsys, *words, "--metrics=inception_score:pixels")
    assert "samples: 5 images; must be at least 6 for prdc:pixels" in one_line(
        capsys, *words, "--metrics=prdc:pixels", "--num=5"
    )
    (tmp_path / "file").write_text("")
    assert "--out: " in one_line(capsys, *words, "--metrics=frechet_pixels", f"--out={tmp_path}/file/x.json")
    assert not (run / "evals").exists()
    assert launch.main([*words, "--metrics=frechet_pixels,memorisation:pixels", "--num=20", f"--out={out}"]) == 0
    assert {path.name for path in out.parent.iterdir()} >= {"numbers.json", "numbers-nearest_pixels.png"}
    assert not (run / "evals").exists()


def diverged(of):
    """The state of a run, or of what is known of one, with weights that are NaN."""
    return jax.tree.map(lambda leaf: leaf * jnp.nan if leaf.dtype == jnp.float32 else leaf, of.state)


def broken(e) -> evaluation.Evidence:
    return evaluation.Evidence(e.experiment, diverged(e), e.num, e.seed, e.choice)


def test_samples_that_are_no_numbers_have_no_score_and_do_not_end_a_run(tmp_path, classifier):
    e = evidence(["frechet_pixels", "kid:pixels", "classifier"], 40, eval__classifier=classifier)
    found = {score.name: score for score in evaluate(broken(e), tmp_path, step=0)}
    assert found.pop("not_finite").value == 40
    assert set(found) == set(e.choice.names)
    for score in found.values():
        assert np.isnan(score.value) and "40 of 40 are not finite; stored as uint8 they would pass" in score.meaning


def test_a_run_whose_samples_are_no_numbers_ends_the_command_with_status_3_and_says_why(tmp_path, capsys, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "numbers.json"
    train(tiny.gan(train__steps=2, eval__metrics="()"), run)
    opened = launch.opened
    monkeypatch.setattr(
        launch, "opened", lambda *words: dataclasses.replace(opened(*words), state=diverged(opened(*words)))
    )
    words = ["evaluate", f"--workdir={run}", "--metrics=frechet:pixels,nfe", "--num=20", f"--out={out}"]
    assert launch.main(words) == 3
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(
        "launch.py: evaluate: frechet_pixels, frechet_pixels_ratio could not be measured: samples: 20 of 20 are not fin"
    )
    assert "nan" in said.out and "Traceback" not in said.err
    values = {score["name"]: score["value"] for score in json.loads(out.read_text())["metrics"]}
    assert not np.isfinite(float(values["frechet_pixels"])) and values["nfe"] == 1 and values["not_finite"] == 20


def test_a_mistake_that_shows_only_when_samples_are_there_ends_the_command_with_status_2(tmp_path, capsys, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "numbers.json"
    train(tiny.gan(train__steps=2, eval__metrics="()"), run)

    def mistaken(e):
        raise UserError("data: image 7 cannot be read")

    monkeypatch.setitem(evaluation.METRICS, "nfe", evaluation.METRICS["nfe"]._replace(function=mistaken))
    assert launch.main(["evaluate", f"--workdir={run}", "--metrics=frechet:pixels,nfe", f"--out={out}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "launch.py: evaluate: nfe could not be measured: data: image 7 cannot be read"
    values = {score["name"]: score["value"] for score in json.loads(out.read_text())["metrics"]}
    assert np.isfinite(values["frechet_pixels"]) and values["nfe"] == "nan", "what was measured is kept"


def test_too_few_samples_to_compare_two_of_a_prompt_are_refused_before_any_is_drawn(tmp_path, capsys):
    run = tmp_path / "run"
    train(tiny.shapes(train__steps=1, eval__metrics="()"), run)
    said = "eval.num: of 2 samples, of 32 prompts in turn, 0 prompts have two, and 'variety' needs two that have; "
    assert f"{said}take 34 or more" in one_line(capsys, "evaluate", f"--workdir={run}", "--metrics=variety", "--num=2")
    assert not (run / "evals").exists()
    assert launch.main(["evaluate", f"--workdir={run}", "--metrics=variety", "--num=64"]) == 0
    with pytest.raises(UserError, match="of 8 samples, of 32 prompts in turn, 0 prompts have two"):
        train(tiny.shapes(train__steps=1, eval__metrics="variety", eval__num=8), tmp_path / "other")


def test_points_that_are_no_numbers_are_near_no_mode_and_it_is_said():
    e = evidence(["modes"], 40, tiny.points, data__name="toy2d:ring")
    found = scores(broken(e))
    assert found["modes"].value == found["high_quality"].value == 0
    assert all("40 of 40 samples are not finite" in score.warning for score in found.values())


def test_protocols_of_samples_say_their_labels_and_those_of_data_no_samples(tmp_path):
    """Conditional models are asked for i modulo the number of classes, so few samples are of few classes."""
    e = evidence(["frechet_pixels", "denoising_error"], 7, tiny.digits)
    found = {score.name: score for score in evaluate(e, tmp_path, step=0)}
    drawn, data = found["frechet_pixels"], found["denoising_error_1"]
    assert drawn.protocol["labels"] == "i modulo 10" and drawn.protocol["generated"] == 7
    assert "only the first 7 of 10 classes are drawn; take at least 10 samples" in drawn.warning
    assert data.protocol["labels"] == "given" and "generated" not in data.protocol and not data.warning
    assert data.protocol["data.name"] == "digits" and "data.name" not in drawn.protocol  # its reference is its images
    unlabelled = scores(evidence(["frechet_pixels"], 7, tiny.gan, method__conditional="false"))["frechet_pixels"]
    assert "labels" not in unlabelled.protocol and "classes" not in unlabelled.warning


def test_only_the_others_that_are_compared_are_embedded_and_no_reference_for_the_inception_score(
    classifier, monkeypatch
):
    seen = []
    whole = Embedder.__call__
    monkeypatch.setattr(
        Embedder, "__call__", lambda self, images, *rest: (seen.append(len(images)), whole(self, images, *rest))[1]
    )
    scores(evidence(["frechet_pixels", "kid:pixels"], 20))
    assert sorted(seen) == [20, 359]
    seen.clear()
    scores(evidence(["inception_score:classifier"], 20, eval__classifier=classifier))
    assert seen == [20]
    seen.clear()
    scores(evidence(["memorisation:pixels", "frechet_pixels"], 20))  # all of the training split is there already
    assert sorted(seen) == [359, 1438]


def test_a_run_is_refused_at_its_start_if_it_could_never_be_measured(tmp_path):
    config = tiny.gan(train__steps=2, eval__metrics="prdc:pixels", eval__num=5)
    with pytest.raises(UserError, match="samples: 5 images; must be at least 6 for prdc:pixels"):
        train(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
