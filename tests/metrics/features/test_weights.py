"""Files of weights: where they are looked for, what is refused, and that numbers count, not their container."""

import hashlib
import os

import jax
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.host.progress import Waiting
from diffjax.metrics.features import weights

SHAPES = {
    "params": {"fc": {name: jax.ShapeDtypeStruct(s, np.float32) for name, s in (("kernel", (3, 2)), ("bias", (2,)))}}
}
STATE = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2, np.float32)}
NAMES = {"fc.weight": "params/fc/kernel", "fc.bias": "params/fc/bias", "unused": None}


def convert(state_dict):
    return weights.place(state_dict, SHAPES, lambda key: NAMES.get(key, key))


@pytest.fixture
def web(tmp_path):
    """A folder that stands for the web."""
    (tmp_path / "web").mkdir()
    return tmp_path / "web"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def published(web):
    np.savez(web / "net-1234.npz", **STATE)
    sha256 = hashlib.sha256((web / "net-1234.npz").read_bytes()).hexdigest()
    return weights.Published("net-1234.npz", (web / "net-1234.npz").as_uri(), sha256, 1, also=("other-1234.npz",))


def test_weights_are_fetched_once_then_taken_from_the_cache(published, web, cache, capsys):
    tree, digest = weights.load(published, "", convert)
    np.testing.assert_array_equal(tree["params"]["fc"]["kernel"], STATE["fc.weight"].T)
    assert f"fetching {published.url} (1 MB) into {cache}" in capsys.readouterr().err
    assert os.listdir(cache) == ["net-1234.npz"]
    (web / "net-1234.npz").unlink()
    again, same = weights.load(published, "", convert)
    assert same == digest and capsys.readouterr().err == ""


def test_a_download_that_takes_long_says_how_far_it_is(published, monkeypatch, capsys):
    monkeypatch.setattr(Waiting, "EVERY", 0.0)
    monkeypatch.setattr(weights, "CHUNK", 100)
    weights.locate(published)
    said = capsys.readouterr().err.splitlines()[1:]
    assert len(said) > 3 and said[-1].startswith("net-1234.npz, MB: ") and said[-1].endswith(", 0:00 left")


def test_the_cache_knows_all_published_names_and_lies_at_home_by_default(published, cache, web, monkeypatch):
    cache.mkdir()
    (web / "net-1234.npz").rename(cache / "other-1234.npz")
    assert weights.locate(published) == cache / "other-1234.npz"
    monkeypatch.delenv("DIFFJAX_CACHE")
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(weights.cache_directory()) == "/somewhere/.cache/diffjax"


def test_an_explicit_path_comes_first(published, tmp_path):
    np.savez(tmp_path / "mine.npz", **STATE | {"unused": np.zeros(1)})
    assert weights.locate(published, str(tmp_path / "mine.npz")) == tmp_path / "mine.npz"
    with pytest.raises(UserError, match=f"there is no file {tmp_path}/none.npz; fetch file:.* \\(1 MB\\)"):
        weights.locate(published, str(tmp_path / "none.npz"))


def test_absent_weights_are_named_with_their_address_and_their_place(published, web, cache):
    (web / "net-1234.npz").unlink()
    with pytest.raises(UserError) as error:
        weights.load(published, "", convert)
    assert published.url in str(error.value) and str(cache / "net-1234.npz") in str(error.value)
    assert "\n" not in str(error.value) and os.listdir(cache) == []


def test_a_truncated_download_is_not_kept(published, web, cache):
    whole = (web / "net-1234.npz").read_bytes()
    (web / "net-1234.npz").write_bytes(whole[:-40])
    with pytest.raises(
        UserError, match=f"could not be fetched .what came has the SHA-256 .*, not {published.sha256[:16]}"
    ):
        weights.load(published, "", convert)
    assert os.listdir(cache) == []


def test_a_cache_that_cannot_be_written_is_the_users_error(published, cache):
    cache.write_text("a file where the directory should be")
    with pytest.raises(UserError, match="could not be fetched .*File exists"):
        weights.load(published, "", convert)


@pytest.mark.parametrize("explicit", [True, False])
def test_a_damaged_file_with_a_published_name_is_refused(published, web, cache, explicit):
    cache.mkdir()
    (cache / "net-1234.npz").write_bytes((web / "net-1234.npz").read_bytes()[:-40])
    with pytest.raises(UserError, match=f"is damaged: its SHA-256 is .*, must be {published.sha256[:16]}.*; remove it"):
        weights.load(published, str(cache / "net-1234.npz") if explicit else "", convert)
    assert (cache / "net-1234.npz").exists()


@pytest.mark.parametrize("name", ["mine.npz", "mine.safetensors", pytest.param("mine.pth", marks=pytest.mark.parity)])
def test_a_damaged_file_of_another_name_cannot_be_read(published, tmp_path, name):
    if name.endswith(".pth"):
        pytest.importorskip("torch", reason="needs the extra `parity`")
    (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UserError, match=f"weights: {tmp_path}/{name} cannot be read: ") as error:
        weights.load(published, str(tmp_path / name), convert)
    assert "\n" not in str(error.value)


def test_a_file_that_is_another_networks_is_named_beside_what_is_published(published, tmp_path):
    np.savez(tmp_path / "another.npz", **{"fc.weight": STATE["fc.weight"]})
    with pytest.raises(UserError, match=f"weights: {tmp_path}/another.npz: 1 of 2 are missing.*; what is published is"):
        weights.load(published, str(tmp_path / "another.npz"), convert)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(UserError, match="objects.npz cannot be read: it is no whole .npz of arrays; what is published"):
        weights.load(published, str(tmp_path / "objects.npz"), convert)


def test_the_hash_is_of_the_numbers_and_where_they_are(published, tmp_path):
    tree, digest = weights.load(published, "", convert)
    np.savez_compressed(tmp_path / "other.npz", **dict(reversed(STATE.items())), unused=np.zeros(3))
    assert weights.load(published, str(tmp_path / "other.npz"), convert)[1] == digest
    changed = {"params": {"fc": {"kernel": tree["params"]["fc"]["kernel"].at[0, 0].add(1e-6), "bias": np.ones(2)}}}
    assert weights.content_hash(changed) != digest and len(digest) == 16


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="weights: 1 of 2 are missing, such as that of our params/fc/bias"):
        convert({"fc.weight": STATE["fc.weight"]})
    with pytest.raises(UserError, match="weights: head.bias has no place in this network"):
        convert(STATE | {"head.bias": np.zeros(1)})
    with pytest.raises(UserError, match=r"weights: fc.weight has shape \(2, 2\) in our layout; must be \(3, 2\)"):
        convert(STATE | {"fc.weight": np.zeros((2, 2))})
