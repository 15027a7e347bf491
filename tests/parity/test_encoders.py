"""Frozen encoders against PyTorch: the same embeddings, computed once; and from the front door, without a download."""

import shutil
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import diffjax
import launch
from diffjax.encoders import Encoder, towers
from diffjax.errors import UserError
from tests.commands import one_line

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
transformers = pytest.importorskip("transformers", reason="needs the extra `parity`")
pytestmark = pytest.mark.parity

from tests.parity import towers as tiny  # noqa: E402  (after what it needs)

TEXTS = ("a large red circle on white", "", "a small blue square above a large red circle on black", "zebra")
MAKERS = {"t5": tiny.t5, "clip": tiny.clip}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own, and no encoder in memory."""
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    towers.forget()
    yield tmp_path / "cache" / "embeddings"
    towers.forget()


def without_pytorch(monkeypatch):
    """As where neither of them is installed."""
    towers.forget()
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)


def directly(kind, place, text):
    """Tokens and the whole by PyTorch called directly: one text, nothing padded, nothing cut."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    model = {"t5": transformers.T5EncoderModel, "clip": transformers.CLIPTextModel}[kind].from_pretrained(place).eval()
    with torch.no_grad():
        out = model(**tokenizer([text], return_tensors="pt"))
    tokens = out.last_hidden_state[0]
    return tokens.numpy(), (out.pooler_output[0] if kind == "clip" else tokens.mean(dim=0)).numpy()


@pytest.mark.parametrize("kind", MAKERS)
def test_embeddings_are_pytorchs_and_padding_does_not_matter(kind, tmp_path):
    place = MAKERS[kind](tmp_path / kind)
    said = Encoder.open(kind, str(place), 20)(TEXTS)
    assert said[:].shape == (4, 21, tiny.WIDTH + 1)
    for text, packed in zip(TEXTS, said[:], strict=True):
        tokens, pooled = directly(kind, place, text)
        n = len(tokens)
        np.testing.assert_allclose(packed[1 : 1 + n, :-1], tokens, atol=1e-5)
        np.testing.assert_allclose(packed[0, :-1], pooled, atol=1e-5)
        assert packed[: 1 + n, -1].all() and not packed[1 + n :].any()
    np.testing.assert_array_equal(said.empty, said[1])
    assert np.abs(said[0] - said[2]).max() > 0.1 and not said.cut.any()
    assert said.spans(0)[1 if kind == "clip" else 0].tolist() == [0, 1]  # "a", after what begins every text of CLIP


@pytest.mark.parametrize("kind", MAKERS)
def test_a_text_of_too_many_tokens_is_cut_and_still_ends(kind, tmp_path):
    place = MAKERS[kind](tmp_path / kind)
    special = {"t5": 1, "clip": 2}[kind]
    said = Encoder.open(kind, str(place), 4 + special)(TEXTS)
    assert said.cut.tolist() == [True, False, True, True] and said.read(0) == "a large red circle"
    np.testing.assert_allclose(
        said[0], Encoder.open(kind, str(place), 4 + special)(["a large red circle"])[0], atol=1e-5
    )


def test_a_clip_with_both_towers_is_its_text_tower(tmp_path):
    both = tiny.clip(tmp_path / "both", both=True)
    said = Encoder.open("clip", str(both), 20)(TEXTS)
    whole = transformers.CLIPModel.from_pretrained(both).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(both)
    with torch.no_grad():
        out = whole.text_model(**tokenizer([TEXTS[0]], return_tensors="pt"))
    np.testing.assert_allclose(said[0][0, :-1], out.pooler_output[0].numpy(), atol=1e-5)


def test_the_second_use_reads_the_cache_and_other_weights_do_not(tmp_path, monkeypatch, cache):
    place, changed = str(tiny.t5(tmp_path / "t5")), tiny.t5(tmp_path / "changed", seed=1)
    first = Encoder.open("t5", place, 8)(TEXTS)
    with monkeypatch.context() as patched:
        without_pytorch(patched)
        again = Encoder.open("t5", place, 8)
        np.testing.assert_array_equal(again(TEXTS)[:], first[:])
        missing = r'a frozen encoder is computed by PyTorch and transformers: pip install "diffjax\[encoders\]"'
        with pytest.raises(UserError, match=missing):
            again(["another text"])
        shutil.copytree(changed, place, dirs_exist_ok=True)
        with pytest.raises(UserError, match=missing):
            Encoder.open("t5", place, 8)(TEXTS)
    other = Encoder.open("t5", place, 8)(TEXTS)
    assert np.abs(other[:] - first[:]).max() > 0.1 and len(list(cache.iterdir())) == 2


def test_weights_that_are_not_all_there_or_broken_are_one_line(tmp_path):
    from safetensors.numpy import load_file, save_file

    place = tiny.t5(tmp_path / "t5")
    weights = load_file(place / "model.safetensors")
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    save_file(
        {key: value for key, value in weights.items() if key != name}, place / "model.safetensors", {"format": "pt"}
    )
    for said in (f"text.encoder: the weights of .* lack 1 arrays, such as {name}", "cannot be opened as a t5"):
        with pytest.raises(UserError, match=said) as error:
            Encoder.open("t5", str(place), 8)(TEXTS)
        assert "\n" not in str(error.value)
        (place / "model.safetensors").write_bytes(b"no weights")


def test_a_name_on_the_hub_is_looked_for_where_their_library_keeps_it(tmp_path, monkeypatch):
    import huggingface_hub

    place = tmp_path / "hub" / "models--someone--t5-tiny"
    tiny.t5(place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    download = huggingface_hub.snapshot_download

    def offline(name, **options):  # their constants are read from the environment at import
        return download(name, **options | {"cache_dir": tmp_path / "hub", "local_files_only": True})

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert Encoder.open("t5", "someone/t5-tiny", 8).width == tiny.WIDTH
    with pytest.raises(UserError, match="no directory someone/else, and it could not be fetched"):
        Encoder.open("t5", "someone/else", 8)


RED, BLUE = "a large red circle above a small blue square on white", "a small blue square"
SMALL = {
    "data.num_train": "32", "data.num_heldout": "8", "method.network.width": "8", "method.network.depth": "1",
    "method.network.heads": "2", "method.network.embedding": "8", "method.network.text.name": "frozen",
    "method.network.text.width": "8", "optim.warmup": "0.0", "train.batch_size": "8", "train.sample_every": "0",
    "train.steps": "2", "eval.num": "8", "eval.batch_size": "8", "eval.metrics": "()", "parallel.devices": "1",
    "sampler.name": "ddim", "sampler.steps": "2",
}  # fmt: skip


@pytest.mark.slow
def test_from_the_front_door(tmp_path, capsys, monkeypatch):
    """Two steps, a picture by prompts, a negative one, what is too long, a film; and then only from the cache."""
    place, run = tiny.t5(tmp_path / "t5"), tmp_path / "run"
    words = {"encoder": str(place), "tokens": "16"}
    settings = SMALL | {f"method.network.text.{key}": value for key, value in words.items()}
    train = ["train", "--config=configs/shapes.py:16_two_dit", f"--workdir={run}"]
    train += [f"--config.{key}={value}" for key, value in settings.items()]
    assert launch.main(train) == 0
    assert "texts by the t5 at" in capsys.readouterr().err

    def sample(out, *options):
        command = ["sample", f"--workdir={run}", "--num=2", f"--out={tmp_path}/{out}", *options]
        assert launch.main([str(word) for word in command]) == 0
        return np.load(tmp_path / out) if out.endswith("npz") else Image.open(tmp_path / out)

    long = f"{BLUE} above {RED} and no more"
    red = sample("red.npz", f"--prompt={RED}", f"--prompt={long}")
    assert red["caption"].tolist() == [RED, long]
    too_long = f"prompt: {long!r} is longer than the 16 tokens that this model reads: '{BLUE} above"
    assert too_long in capsys.readouterr().out
    away = sample("away.npz", f"--prompt={RED}", "--guidance=3", "--negative=blue")
    assert away["x"].shape == red["x"].shape and away["caption"].tolist() == [RED] * 2
    with sample("x.gif", f"--prompt={RED}", "--attention") as film:
        assert film.n_frames == 3  # two steps, and the samples themselves

    opened = diffjax.load(run)
    learned = {"/".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(opened.params)}
    frozen = {name.split("/text/")[1] for name in learned if "/text/" in name}
    layers = ("norm_pooled/scale", "norm_pooled/bias", "norm_tokens/scale", "norm_tokens/bias", "pooled/kernel",
              "pooled/bias", "tokens/kernel", "tokens/bias")  # fmt: skip
    assert frozen == set(layers)  # nothing of the encoder

    with monkeypatch.context() as patched:
        without_pytorch(patched)
        np.testing.assert_array_equal(sample("again.npz", f"--prompt={RED}", f"--prompt={long}")["x"], red["x"])
        assert launch.main([*train, "--config.train.steps=3"]) == 0
        said = one_line(capsys, "sample", f"--workdir={run}", f"--out={tmp_path}/new.png", "--prompt=something new")
        assert 'pip install "diffjax[encoders]"' in said

    moved = place.rename(tmp_path / "moved")
    sample("x.npz", f"--config.method.network.text.encoder={moved}", f"--prompt={RED}", f"--prompt={long}")
    assert "there is no directory" in one_line(capsys, "sample", f"--workdir={run}", f"--out={tmp_path}/x.png")
    tiny.t5(place, seed=1)
    for command in (["sample", f"--workdir={run}", f"--out={tmp_path}/x.png"], ["evaluate", f"--workdir={run}"]):
        assert "is another encoder" in one_line(capsys, *command)
    assert launch.main([*train, "--config.train.steps=4"]) == 2
    assert "method.network.text.identity: " in capsys.readouterr().err.splitlines()[-1]
