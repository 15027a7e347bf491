"""Frozen encoders without PyTorch: what they say is kept, reaches every example, and is all that networks are shown."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.config import differences, flatten, override
from diffjax.data import Shapes, Space, Stream
from diffjax.data.text import decode, encode
from diffjax.diffusion import DDIM
from diffjax.drawing.attention import words_of
from diffjax.encoders import Encoder, towers
from diffjax.encoders.cache import path_of
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.inference.conditioning import conditioned
from diffjax.methods import Diffusion
from diffjax.models import DiT, FrozenText, TextTransformer, UNet
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis, layout
from diffjax.precision import Precision
from tests import tiny
from tests.encoders import stub
from tests.methods import games
from tests.models.trained import trained

SAID, TOKENS = ("red", "blue on white", "", "blue on white"), 5


@pytest.fixture
def tower(monkeypatch, tmp_path):
    """The stub in PyTorch's place, a cache of its own, and the directory of an encoder."""
    monkeypatch.setenv("DIFFJAX_CACHE", str(tmp_path / "cache"))
    made = stub.Stub()
    monkeypatch.setattr(towers, "opened", lambda kind, directory, identity: None)
    monkeypatch.setattr(towers, "forget", lambda: None)
    monkeypatch.setattr(towers, "embed", made)
    stub.directory(tmp_path / "t5")
    return made


@pytest.fixture
def encoder(tower, tmp_path):
    return Encoder.open("t5", str(tmp_path / "t5"), TOKENS)


def of(text):
    """What the stub says of a text, packed."""
    numbers, _, _ = stub.said(text, TOKENS)
    packed = np.zeros((1 + TOKENS, stub.WIDTH + 1))
    packed[0], packed[1 : 1 + len(numbers)] = [*numbers.mean(axis=0), 1], np.c_[numbers, np.ones(len(numbers))]
    return packed


def test_each_distinct_text_is_asked_once_and_found_again(encoder, tower, tmp_path):
    said = encoder(SAID)
    assert tower.asked == [["", "blue on white", "red"]]
    for i, text in enumerate(SAID):
        np.testing.assert_allclose(said[i], of(text), atol=1e-6)
    np.testing.assert_array_equal(said.empty, said[2])
    again = Encoder.open("t5", str(tmp_path / "t5"), TOKENS)
    assert again == encoder
    np.testing.assert_array_equal(again(SAID)[:], said[:])
    assert len(tower.asked) == 1  # from the file


def test_other_weights_words_or_tokens_are_another_encoder(encoder, tower, tmp_path):
    encoder(SAID)
    place = tmp_path / "t5"
    others = [Encoder.open("t5", str(place), TOKENS + 1)]
    for change in ({"weights": b"others"}, {"d_ff": 3}):
        others.append(Encoder.open("t5", str(stub.directory(place, **change)), TOKENS))
    stub.directory(place)
    (place / "tokenizer.json").write_text("{ }")
    others.append(Encoder.open("t5", str(place), TOKENS))
    assert len({encoder.identity, *(other.identity for other in others)}) == 5
    others[-1](SAID)
    assert len(tower.asked) == 2
    moved = Encoder.open("t5", str(stub.directory(tmp_path / "elsewhere")), TOKENS)
    assert moved == encoder and moved.directory != encoder.directory


def test_a_damaged_file_of_the_cache_is_named(encoder, tmp_path):
    said = encoder(SAID)
    path = path_of(encoder.identity, sorted(set(SAID)))
    content = bytearray(path.read_bytes())
    for damaged in (content[: len(content) // 2], content.replace(said[0].tobytes()[:40], b"x" * 40), b"", b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"cache: {path} is damaged .* remove it"):
            Encoder.open("t5", str(tmp_path / "t5"), TOKENS)(SAID)
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("resident_bytes", [2**31, 0], ids=["resident", "streamed"])
def test_a_batch_has_what_is_said_of_its_captions(resident_bytes, encoder, tower, capsys):
    source = Shapes(num_train=24, num_heldout=2)
    stream = Stream(source, 0, 8, 2, layout(), resident_bytes=resident_bytes, encoder=encoder)
    batch = jax.device_get(next(stream))
    assert batch["embedding"].shape == (2, 8, 1 + TOKENS, stub.WIDTH + 1) and batch["embedding"].dtype == np.float32
    for captions, said in zip(batch["caption"], batch["embedding"], strict=True):
        np.testing.assert_allclose(said, [of(text) for text in decode(captions)], atol=1e-6)
    assert len(tower.asked) == 1 and "captions have more than 5 tokens: cut, as 'a " in capsys.readouterr().err


def method(encoder, **fields):
    space = Space("images", (4, 4, 1), caption=8, prompts=("red", "blue"), encoder=encoder)
    text = partial(FrozenText, width=8)
    network = partial(UNet, channels=4, multipliers=(1,), blocks=1, attention=(4,), text=text)
    given = {
        "space": space, "precision": Precision(), "optimizers": {"denoiser": optax.sgd(0.1)}, "ema": HalfLife(),
        "batch_size": 64, "accumulate": 1, "network": network, "conditional": True,
    }  # fmt: skip
    return Diffusion(**given | fields)


def test_no_caption_is_the_empty_one_in_training_in_guidance_and_for_a_negative_prompt(encoder):
    made = method(encoder, label_dropout=0.5)
    np.testing.assert_allclose(made.null, of(""), atol=1e-6)
    shown = np.asarray(made._hidden(jnp.asarray(encoder(["red"] * 40)[:]), jax.random.split(jax.random.key(0), 40)))
    hidden = np.abs(shown - made.null).max(axis=(1, 2)) == 0
    assert 0 < hidden.sum() < 40
    np.testing.assert_allclose(shown[~hidden], [of("red")] * (~hidden).sum(), atol=1e-6)
    away = made.with_negative(made.with_guidance(DDIM(), 3.0), "a longer text than captions are")
    np.testing.assert_allclose(away.guidance.keywords["instead"], of("a longer text than captions are"), atol=1e-6)


def test_prompts_stay_texts_and_only_tokens_are_counted(encoder, capsys):
    made, long = method(encoder), "one two three four five six"
    asked = made.requested(DDIM(), None, ("red", long))
    assert decode(asked) == ["red", long]  # 8 bytes is what the data's captions have
    np.testing.assert_allclose(made.cond_for(asked)[:], [of("red"), of(long)], atol=1e-6)
    conditioned(made, DDIM(), prompts=("red", long))
    said = f"prompt: {long!r} is longer than the 5 tokens that this model reads: 'one two three four'\n"
    assert capsys.readouterr().out == said
    (caption,), spans = encode(["one three"], 12), encoder(["one three"]).spans(0)
    assert [(word, places.tolist()) for word, places in words_of(caption, spans)] == [("one", [1]), ("three", [2])]


NETWORKS = {
    "unet": UNet((4, 4, 1), 0, Precision(), Axis(), channels=4, multipliers=(1,), blocks=1, attention=(4,),
                 text=partial(FrozenText, width=8)),
    "dit": DiT((4, 4, 1), 0, Precision(), Axis(), width=8, depth=1, heads=2, embedding=8,
               text=partial(FrozenText, width=8)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_hears_the_words_and_not_what_follows_them(name, encoder, tmp_path):
    texts = ["red above blue", "blue above red", "", "red"]  # order is for a tower to tell; this stub does not
    said = jnp.asarray(encoder(texts)[:])
    inputs = jax.random.normal(jax.random.key(0), (4, 4, 4, 1)), jnp.linspace(-1, 1, 4)
    variables, apply = trained(NETWORKS[name], *inputs, said), jax.jit(NETWORKS[name].apply)
    heard = apply(variables, *inputs, said)
    longer = jnp.concatenate([said, jnp.zeros((4, 3, stub.WIDTH + 1))], axis=1)
    np.testing.assert_allclose(apply(variables, *inputs, longer), heard, atol=1e-5)
    other = apply(variables, *inputs, said[jnp.array([2, 3, 0, 1])])
    assert np.abs(other - heard).reshape(4, -1).max(axis=1).min() > 1e-4
    assert set(variables["params"]["text"]) == {"norm_pooled", "pooled", "norm_tokens", "tokens"}  # nothing of a tower


def test_both_players_of_a_game_read(encoder):
    text = partial(FrozenText, width=8)
    space = Space("images", (8, 8, 1), caption=8, prompts=("red", "blue"), encoder=encoder)
    players = {
        "generator": partial(DcganGenerator, width=4, latent=4, text=text),
        "discriminator": partial(DcganDiscriminator, width=4, text=text),
    }
    game = games.gan(space, conditional=True, **players)
    batch = games.batches(game)
    batch |= {"embedding": jnp.asarray(encoder(["red"] * 16)[:]).reshape(2, 8, *encoder.shape)}
    before = jax.eval_shape(game.init, jax.random.key(0), batch)
    after, _ = jax.eval_shape(partial(game.step, axis=games.Axis()), before, batch, games.KEY)
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, before.params)
    assert "text" in after.params["discriminator"]["params"]["logit"]
    mixed = players | {"discriminator": partial(DcganDiscriminator, width=4, text=TextTransformer)}
    with pytest.raises(UserError, match=r"method.discriminator.text: must be frozen for all networks or for none"):
        games.gan(space, conditional=True, **mixed)


FROZEN = "method.network.text"


def frozen(place, **fields):
    """The config of a tiny model of shapes that reads what the encoder at `place` says."""
    fields = {"name": "frozen", "encoder": place, "tokens": TOKENS, "width": 8} | fields
    return override(tiny.shapes(eval__metrics="()"), [(f"{FROZEN}.{key}", str(v)) for key, v in fields.items()])


def test_a_run_writes_down_which_encoder_it_reads_and_takes_no_other(encoder, tmp_path):
    place = tmp_path / "t5"
    made = Experiment.of(frozen(place))
    assert made.config.method.network.text.identity == encoder.identity and made.method.space.encoder == encoder
    assert Experiment.of(made.config).config == made.config
    moved = frozen(stub.directory(tmp_path / "elsewhere"))
    assert differences(made.config, Experiment.of(moved).config) == []  # where it lies is not what it is
    stub.directory(place, weights=b"others")
    with pytest.raises(UserError, match=f"{FROZEN}.encoder: {place} is another encoder .* than that of this run"):
        Experiment.of(made.config)
    (changed,) = differences(made.config, Experiment.of(frozen(place)).config)
    assert changed.startswith(f"{FROZEN}.identity: {encoder.identity!r} -> ")


def test_without_a_frozen_encoder_a_config_is_the_one_it_was(tower):
    plain = tiny.shapes(eval__metrics="()")
    made = Experiment.of(plain)
    assert made.config is plain and made.method.space.encoder is None
    assert not [path for path in flatten(plain) if path.endswith(("identity", "encoder", "tokens"))
                and path != "method.network.encoder"]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"encoder": ""}, "text.encoder: is empty; must be a directory in Hugging Face's format"),
        (
            {"encoder": "/no/such/place"},
            "text.encoder: there is no directory /no/such/place; must be one, or OWNER/NAME on",
        ),
        (
            {"encoder": "{}/empty"},
            "text.encoder: .*/empty has no config.json; must be an encoder in Hugging Face's format",
        ),
        ({"encoder": "{}/broken"}, "text.encoder: .*/broken/config.json cannot be read"),
        ({"encoder": "{}/bare"}, "text.encoder: .*/bare has no weights; must have"),
        ({"kind": "clip"}, "text.encoder: .* is no clip .config.json says 't5', not 'clip' or 'clip_text_model'"),
        ({"kind": "bert"}, "text.kind: 'bert' is unknown; must be one of t5, clip"),
        ({"tokens": 1}, "text.tokens: 1; must be at least 2"),
        ({"kind": "clip", "encoder": "{}/clip", "tokens": 78}, "text.tokens: 78 is more than the 77 tokens that"),
    ],
)
def test_what_is_no_encoder_is_one_line(fields, said, tower, tmp_path):
    (tmp_path / "empty").mkdir()
    (stub.directory(tmp_path / "broken") / "config.json").write_text("{")
    (stub.directory(tmp_path / "bare") / "model.safetensors").unlink()
    stub.directory(tmp_path / "clip", model_type="clip")
    fields = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in fields.items()}
    with pytest.raises(UserError, match=rf"method.network.{said}") as error:
        Experiment.of(frozen(tmp_path / "t5", **fields))
    assert "\n" not in str(error.value)


def test_a_reader_without_width_is_refused():
    with pytest.raises(UserError, match="text.width: 0 must be at least 1"):
        FrozenText(Precision(), width=0)
