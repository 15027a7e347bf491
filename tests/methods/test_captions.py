"""Models by captions: hidden at their rate, guided towards them and away from others; both players of a GAN read."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax.data.space import Space
from diffjax.data.text import encode
from diffjax.diffusion import DDIM, guidance, nested
from diffjax.errors import UserError
from diffjax.methods import Diffusion
from diffjax.models import MLP, TextTransformer, UNet
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.methods import games

SPACE = Space("points", (2,), shift=0.0, scale=1.0, caption=8, prompts=("red", "blue"))
PROMPTS = ("red", "", "blue")


class Counting(nn.Module):
    """A network that answers with what the bytes of a caption add up to, and nothing else."""

    shape: tuple
    num_classes: int
    precision: Precision
    axis: object
    text: object = None

    @nn.compact
    def __call__(self, x, t, label=None, keys=None):
        assert self.num_classes == 0
        scale = self.param("scale", nn.initializers.ones_init(), ())
        return jnp.zeros_like(x) + scale * label.sum(axis=1, keepdims=True) / 1000


def method(space=SPACE, **fields):
    given = {
        "space": space, "precision": Precision(), "optimizers": {"denoiser": optax.sgd(0.1)}, "ema": HalfLife(),
        "batch_size": 64, "accumulate": 1, "network": partial(Counting, text=TextTransformer), "conditional": True,
    }  # fmt: skip
    return Diffusion(**given | fields)


def denoised(made, spec, prompts=PROMPTS):
    captions = jnp.asarray(encode(prompts, 8))
    variables = {"denoiser": {"params": {"scale": jnp.ones(())}}}
    return made.denoiser(variables, spec)(jnp.ones((len(prompts), 2)), jnp.float32(0.5), captions).x0


def test_captions_are_hidden_at_the_stated_rate_and_otherwise_left_alone():
    captions = jnp.asarray(encode(["red"] * 4000, 8))
    shown = np.asarray(method(label_dropout=0.2)._hidden(captions, jax.random.split(jax.random.key(0), 4000)))
    hidden = (shown == 0).all(axis=1)
    np.testing.assert_allclose(hidden.mean(), 0.2, atol=4 * np.sqrt(0.16 / 4000))
    np.testing.assert_array_equal(shown[~hidden], captions[: (~hidden).sum()])


class Spelling(Counting):
    """A network that answers with the sum of a weight for each byte value of a caption, zeros too."""

    @nn.compact
    def __call__(self, x, t, label=None, keys=None):
        bytes_ = self.param("bytes", nn.initializers.ones_init(), (256,))
        return jnp.zeros_like(x) + bytes_[label].sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("dropout", "trained"), [(0.0, {0, *b"red"}), (1.0, {0})])
def test_hidden_captions_train_what_is_said_to_the_empty_one_and_shown_ones_their_own_bytes(dropout, trained):
    made = method(label_dropout=dropout, network=partial(Spelling, text=TextTransformer))
    captions = jnp.asarray(encode(["red"] * 64, 8))[None]
    batch = {"x": jnp.zeros((1, 64, 2)), "caption": captions, "position": jnp.arange(64)[None]}
    state = made.init(jax.random.key(0), batch)
    after, _ = jax.jit(partial(made.step, axis=Axis()))(state, batch, jax.random.key(1))
    before, now = (np.asarray(s.params["denoiser"]["params"]["bytes"]) for s in (state, after))
    assert set(np.flatnonzero(now != before)) == trained


def test_at_guidance_scale_one_the_model_is_the_conditional_one_and_at_zero_the_empty_prompts():
    made = method()
    plain = denoised(made, DDIM())
    np.testing.assert_array_equal(denoised(made, made.with_guidance(DDIM(), 1.0)), plain)
    np.testing.assert_array_equal(denoised(made, made.with_guidance(DDIM(), 0.0)), denoised(made, DDIM(), [""] * 3))


def test_a_negative_prompt_takes_the_place_of_the_empty_one():
    """D_n + s (D_c - D_n)."""
    made = method()
    guided = made.with_guidance(DDIM(), 3.0)
    wanted, unwanted = denoised(made, DDIM()), denoised(made, DDIM(), ["green"] * 3)
    negative = denoised(made, made.with_negative(guided, "green"))
    np.testing.assert_allclose(negative, unwanted + 3 * (wanted - unwanted), rtol=1e-5)
    np.testing.assert_array_equal(denoised(made, made.with_negative(guided, "")), denoised(made, guided))
    # It stays beside the denoiser, whatever wraps the guidance.
    wrapped = made.with_negative(DDIM(guidance=partial(guidance.interval, guidance=guided.guidance)), "green")
    levels = [guidance.interval, guidance.negative, guidance.classifier_free]
    assert nested.levels(wrapped.guidance) == levels


def test_samples_are_asked_for_by_prompts_or_the_datas_own():
    made = method()
    np.testing.assert_array_equal(made.requested(DDIM()), encode(["red", "blue"], 8))
    np.testing.assert_array_equal(made.requested(DDIM(), None, PROMPTS), encode(PROMPTS, 8))
    assert not made.draws_by_label(DDIM()) and method(conditional=False, network=MLP).requested(DDIM()) is None


def test_what_cannot_be_read_or_guided_is_one_line():
    images = Space("images", (8, 8, 1), caption=8)
    for fields, said in (
        (
            {"network": MLP},
            "method.network.name: MLP reads no captions; use adm, ddpmpp, dit, ncsnpp, unet, or method.cond",
        ),
        ({"space": images, "network": UNet}, "method.network.text: must not be none, as the network receives captions"),
        ({"conditional": False}, "method.network.text: must be none, as method.conditional is false"),
        ({"space": Space("points", (2,), num_classes=2)}, "must be none, as these data have no captions"),
    ):
        with pytest.raises(UserError, match=said):
            method(**fields)
    made = method()
    for spec in (DDIM(), made.with_guidance(DDIM(), 1.0)):
        with pytest.raises(
            UserError, match="`negative`: needs classifier-free guidance above 1; give `guidance` above 1"
        ):
            made.with_negative(spec, "green")
    for scale in (0.0, 0.5):  # at 0 it would be drawn itself
        wrapped = partial(guidance.interval, guidance=partial(guidance.classifier_free, scale=scale))
        for spec in (made.with_guidance(DDIM(), scale), DDIM(guidance=wrapped)):
            with pytest.raises(UserError, match=f"`negative`: guidance {scale:g} leads towards the prompt; it must be"):
                made.with_negative(spec, "green")
    with pytest.raises(UserError, match="classifier guidance needs labels, and this model is conditioned on captions"):
        labelled = Space("points", (2,), num_classes=2, caption=8)
        method(labelled).check_sampler(DDIM(guidance=partial(guidance.classifier, other=None)))


WORDED = Space("images", (8, 8, 1), caption=8, prompts=("red", "blue"))


def reading_game(**fields):
    text = partial(TextTransformer, width=8, heads=1, depth=1, window=3)
    players = {
        "generator": partial(DcganGenerator, width=4, latent=4, text=text),
        "discriminator": partial(DcganDiscriminator, width=4, text=text),
    }
    return games.gan(WORDED, **{"conditional": True} | players | fields)


def test_both_players_read_and_learn_to_read():
    game = reading_game()
    captions = jnp.asarray(encode(["red", "blue", "", "é"] * 4, 8)).reshape(2, 8, 8)
    batch = games.batches(game) | {"caption": captions}
    before = jax.jit(game.init)(jax.random.key(0), batch)
    after, _ = jax.jit(partial(game.step, axis=games.Axis()))(before, batch, games.KEY)
    for player, where in (("generator", "labelled"), ("discriminator", "logit")):
        readers = (state.params[player]["params"][where]["text"] for state in (before, after))
        assert games.moved(*readers)
    keys = jax.random.split(jax.random.key(1), 2)
    one, other = (
        game.sample(after.params, game.samplers["generator"](), keys, jnp.asarray(encode(texts, 8))).x0
        for texts in (["red", "red"], ["red", "blue"])
    )
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"generator": MlpGenerator},
            "method.generator.name: MlpGenerator reads no captions; use dcgan_generator, or method.conditional=false",
        ),
        (
            {"discriminator": MlpDiscriminator},
            "method.discriminator.name: MlpDiscriminator reads no captions; use dcgan_discriminator, or method.cond",
        ),
        (
            {"discriminator": DcganDiscriminator},
            "method.discriminator.text: must not be none, as the network receives captions",
        ),
        ({"auxiliary": 1.0}, "method.auxiliary: 1.0 needs labels, but these data have captions"),
        ({"conditional": False}, "method.generator.text: must be none, as method.conditional is false"),
    ],
)
def test_a_game_that_cannot_read_is_one_line(fields, said):
    with pytest.raises(UserError, match=said):
        reading_game(**fields)


def test_captions_shown_where_only_labels_can_be_is_one_line():
    for player, network, way in (
        ("generator", DcganGenerator, "batch_norm"),
        ("discriminator", DcganDiscriminator, "concat"),
    ):
        with pytest.raises(UserError, match=f"method.{player}.conditioning: '{way}' is for labels"):
            network((8, 8, 1), 0, Precision(), None, conditioning=way, text=TextTransformer)
