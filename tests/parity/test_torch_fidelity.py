"""The metrics of arrays against torch-fidelity, pytorch-fid, SciPy, the package prdc and dgm-eval's AuthPct.

The same features go to both, in float64: torch-fidelity computes in whatever it is given, and in float32 its KID is a
difference of numbers a thousand times larger. No features with ties: torch.cdist and scikit-learn measure by a matrix
product, which rounds equal distances apart.
"""

import numpy as np
import pytest
import scipy.linalg

from diffjax import metrics as m

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
fid_score = pytest.importorskip("pytorch_fid.fid_score", reason="needs the extra `parity`")
their_prdc = pytest.importorskip("prdc", reason="needs the extra `parity`")
metric_fid = pytest.importorskip("torch_fidelity.metric_fid", reason="needs the extra `parity`")
metric_isc = pytest.importorskip("torch_fidelity.metric_isc", reason="needs the extra `parity`")
metric_kid = pytest.importorskip("torch_fidelity.metric_kid", reason="needs the extra `parity`")
metric_prc = pytest.importorskip("torch_fidelity.metric_prc", reason="needs the extra `parity`")
pytestmark = pytest.mark.parity


def features(n, d, seed, shift=0.0, scale=1.0):
    """Skewed, correlated and non-negative, as pooled activations are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return np.maximum(0, 0.4 + shift + scale * rng.normal(size=(n, d)) @ mixing)


def pair(n=400, d=48):
    return features(n, d, 0), features(n + 70, d, 1, shift=0.1, scale=1.2)


@pytest.mark.parametrize("n, d", [(400, 48), (40, 96)])  # the second with singular covariances
def test_frechet_distance(n, d):
    x, y = pair(n, d)
    ours = m.frechet_distance(m.Moments.of(x), m.Moments.of(y))
    statistics = [metric_fid.fid_features_to_statistics(torch.tensor(z)) for z in (x, y)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-6)
    if n > d:  # SciPy's root of a singular product is what its rounding makes of it
        means, covariances = [z.mean(axis=0) for z in (x, y)], [np.cov(z, rowvar=False) for z in (x, y)]
        root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
        scipys = np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
        assert ours == pytest.approx(scipys, rel=1e-9)
        theirs = fid_score.calculate_frechet_distance(means[0], covariances[0], means[1], covariances[1])
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("subsets, subset_size", [(100, 50), (7, 400)])
def test_kid_of_subsets(subsets, subset_size):
    x, y = pair()
    ours = m.kid_of_subsets(x, y, subsets, subset_size)
    settings = {"kid_subsets": subsets, "kid_subset_size": subset_size, "verbose": False}
    theirs = metric_kid.kid_features_to_metric(torch.tensor(x), torch.tensor(y), **settings)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-6)


def test_kid_of_all_pairs_is_theirs_of_the_one_subset_that_is_everything():
    x, y = pair()
    settings = {"kid_subsets": 1, "kid_subset_size": 400, "verbose": False}
    theirs = metric_kid.kid_features_to_metric(torch.tensor(x), torch.tensor(y[:400]), **settings)
    value = m.kid_of_all_pairs(x, y[:400]).value
    assert value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


@pytest.mark.parametrize("splits", [1, 10, 7])
def test_inception_score(splits):
    logits = 3 * np.random.default_rng(0).normal(size=(503, 20))
    plain = metric_isc.isc_features_to_metric(torch.tensor(logits), splits, shuffle=False)
    shuffled = metric_isc.isc_features_to_metric(torch.tensor(logits), splits)  # as it is by default
    order = np.random.RandomState(2020).permutation(len(logits))
    for ours, theirs in (
        (m.inception_score(logits, splits), plain),
        (m.inception_score(logits[order], splits), shuffled),
    ):
        assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
        assert ours.std == pytest.approx(theirs["inception_score_std"], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("save_cpu_ram", [False, True])
def test_precision_and_recall_of_closed_balls(k, save_cpu_ram):
    x, y = pair(d=6)
    ours = m.prdc(x, y, {"": m.Convention(k, closed=True)})[""]
    settings = {"prc_neighborhood": k, "prc_batch_size": 64, "save_cpu_ram": save_cpu_ram, "verbose": False}
    theirs = metric_prc.prc_features_to_metric(torch.tensor(x), torch.tensor(y), **settings)  # samples first, from 0.4
    assert 0.1 < ours.precision != ours.recall < 1
    assert ours.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], rel=1e-6)


@pytest.mark.parametrize("k", [3, 5])
def test_all_four_of_open_balls(k):
    x, y = pair(d=6)
    ours = m.prdc(x, y, {"": m.Convention(k, closed=False)})[""]
    theirs = their_prdc.compute_prdc(real_features=y, fake_features=x, nearest_k=k)
    for name, value in theirs.items():
        assert getattr(ours, name) == pytest.approx(value, rel=1e-12), name


def test_auth_pct_is_dgm_evals():
    """It has no package to install: what it computes, in PyTorch."""
    train, samples = pair(d=6)
    samples[:100] = train[:100] + 0.01
    within = torch.cdist(torch.tensor(train), torch.tensor(train)).fill_diagonal_(torch.inf).amin(dim=1)
    distance, index = torch.cdist(torch.tensor(samples), torch.tensor(train)).min(dim=1)
    ours = m.memorisation(samples, train)
    assert ours.auth_pct == pytest.approx(100 * (distance > within[index]).double().mean().item(), rel=1e-12)
    assert 10 < ours.auth_pct < 90
    np.testing.assert_array_equal(ours.index, index.numpy())
