"""What is fetched of an encoder on a hub, and that its identity is one whatever was cached before."""

import fnmatch
import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from diffjax.encoders import files
from diffjax.errors import UserError

WORDS = {"config.json": json.dumps({"model_type": "t5", "d_model": 6}), "tokenizer.json": "{}"}
WHOLE = {"model.safetensors": "a"}
PARTS = {f"model-0000{i}-of-00002.safetensors": str(i) for i in (1, 2)}
INDEX = {"model.safetensors.index.json": "{}"}
TORCH = {"pytorch_model.bin": "b"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository on a hub, and the cache of its library: `of` writes both anew; `calls` counts what goes online."""
    remote, cached = tmp_path / "remote", tmp_path / "cached"
    made = SimpleNamespace(calls=0, online=True)

    def of(there, already=()):
        for place, contents in ((remote, there), (cached, {name: there[name] for name in already})):
            shutil.rmtree(place, ignore_errors=True)
            if contents:
                place.mkdir()
            for name, text in contents.items():
                (place / name).write_text(text)
        made.calls = 0

    def snapshot_download(name, allow_patterns, local_files_only=False):
        if not local_files_only:
            made.calls += 1
            if not made.online:
                raise OSError("no network")
            cached.mkdir(exist_ok=True)
            for file in remote.iterdir():
                if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                    shutil.copy(file, cached / file.name)
        if not cached.is_dir():
            raise FileNotFoundError(cached)
        return str(cached)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    made.of, made.cached = of, cached
    return made


def found():
    return files.find("t5", "someone/t5", 8)


def names(hub):
    return {file.name for file in hub.cached.iterdir()}


@pytest.mark.parametrize("weights", [WHOLE, PARTS | INDEX, TORCH, WHOLE | TORCH], ids=lambda of: min(of))
@pytest.mark.parametrize("already", [(), tuple(WORDS)], ids=["clean", "tokenizer"])
def test_a_repository_is_fetched_whole_and_once_whatever_was_cached(weights, already, hub):
    hub.of(WORDS | weights, already)
    found()
    assert names(hub) == {*WORDS, *(weights if weights == TORCH else weights.keys() - TORCH)}
    hub.online = False
    hub.calls = 0
    found()
    assert hub.calls == 0


@pytest.mark.parametrize("already", [(*WORDS, *PARTS), (*WORDS, min(PARTS), *INDEX)], ids=["no index", "a part"])
def test_parts_that_are_not_all_there_are_fetched_anew(already, hub):
    hub.of(WORDS | PARTS | INDEX)
    clean = found().identity
    hub.of(WORDS | PARTS | INDEX, already)
    assert found().identity == clean and names(hub) == {*WORDS, *PARTS, *INDEX}
    hub.of(WORDS | PARTS)
    with pytest.raises(UserError, match="text.encoder: someone/t5 has no weights; .* parts all, and their index"):
        found()


def test_a_hub_that_cannot_be_reached_is_one_line(hub):
    hub.of(WORDS | WHOLE, WORDS)
    hub.online = False
    with pytest.raises(UserError, match=r"someone/t5, and it could not be fetched from a hub \(no network"):
        found()
