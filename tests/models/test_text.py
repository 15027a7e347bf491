"""Networks that read captions: zeros after a caption say nothing, its words and their order do, and so does none."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.data.text import encode
from diffjax.encoders.packed import pack
from diffjax.errors import UserError
from diffjax.models import DiT, NoText, TextTransformer, UNet
from diffjax.models.text import CONDITIONING, FrozenText
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

PROMPTS = ["red above blue", "blue above red", "", "é"]
SHAPE = (4, 4, 1)


reader = partial(TextTransformer, width=8, heads=2, depth=1, window=3)


def unet(text):
    return UNet(SHAPE, 0, Precision(), Axis(), channels=4, multipliers=(1,), blocks=1, attention=(4,), text=text)


NETWORKS = {
    "unet": unet(reader),
    "unet, pooled": unet(partial(reader, conditioning="pooled")),
    "unet, attending": unet(partial(reader, conditioning="cross_attention")),
    "dit": DiT(SHAPE, 0, Precision(), Axis(), width=8, depth=1, heads=2, embedding=8, text=reader),
}


def inputs(prompts=PROMPTS, length=16):
    x = jax.random.normal(jax.random.key(0), (len(prompts), *SHAPE))
    return x, jnp.linspace(-1, 1, len(prompts)), jnp.asarray(encode(prompts, length))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """What a network says of prompts, with weights as training might leave them."""
    module = NETWORKS[request.param]
    variables, apply = trained(module, *inputs()), jax.jit(module.apply, static_argnames="mutable")
    return lambda x, t, captions, **kwargs: apply(variables, x, t, captions, **kwargs)


def test_how_many_zeros_follow_a_caption_does_not_matter(network):
    """Nor whether any do: the second has as many bytes as are read, and its last letters then have no neighbours."""
    prompts = ["red above blue", "red left of blue", "", "é"]
    x, t, captions = inputs(prompts)
    assert captions[1].all()
    _, _, longer = inputs(prompts, length=24)
    np.testing.assert_allclose(network(x, t, longer), network(x, t, captions), atol=1e-5)


def test_prompts_do_not_see_each_other(network):
    x, t, captions = inputs()
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(
        network(x[order], t[order], captions[order]), network(x, t, captions)[order], atol=1e-5
    )  # fmt: skip


def test_words_their_order_and_their_absence_reach_every_image(network):
    x, t, captions = inputs()
    said = network(x, t, captions)
    assert np.isfinite(said).all()
    for other in (["red above green"] * 4, ["above red blue"] * 4, ["é", "", "red above blue", "blue above red"]):
        changed = network(x, t, jnp.asarray(encode(other, 16)))
        assert np.abs(changed - said).reshape(4, -1).max(axis=1).min() > 1e-4


def test_pixels_attend_to_what_is_there_and_to_nothing_else():
    x, t, captions = inputs()
    module = NETWORKS["unet"]
    _, kept = jax.jit(module.apply, static_argnames="mutable")(
        trained(module, x, t, captions), x, t, captions, mutable="intermediates"
    )
    weights = kept["intermediates"]["middle_attention_text"]["attention"][0]
    assert weights.shape == (4, 1, 16, 17)  # of 16 pixels to 16 bytes, after the token that begins every caption
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    there = np.concatenate([np.ones((4, 1), bool), np.asarray(captions) > 0], axis=1)
    assert (np.asarray(weights)[:, 0].min(axis=1) > 0).tolist() == there.tolist()


def test_a_network_is_told_in_the_ways_that_are_asked_for_and_in_no_other():
    def parts(name):
        shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), *inputs())
        return {part for part in shapes["params"] if "text" in part} - {"text"}

    attends = {"down_0_0_attention_text", "middle_attention_text", "up_0_0_attention_text", "up_0_1_attention_text"}
    assert parts("unet, pooled") == {"text_pooled"}
    assert parts("unet, attending") == attends
    assert parts("unet") == attends | {"text_pooled"}


def test_a_network_without_a_reader_is_the_one_it_was():
    plain = UNet(SHAPE, 3, Precision(), Axis(), channels=4, multipliers=(1,), blocks=1, attention=(4,))
    assert plain.text == NoText()
    shapes = jax.eval_shape(plain.init, jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros(1))
    assert not [name for name in shapes["params"] if "text" in name]


@pytest.mark.parametrize(
    "fields", [{"width": 3}, {"heads": 3}, {"window": 0}, {"depth": -1}, {"mlp_ratio": 0.0}, {"conditioning": "words"}]
)
def test_a_reader_that_makes_no_sense_is_refused(fields):
    with pytest.raises(UserError, match=f"text.{next(iter(fields))}"):
        TextTransformer(Precision(), **{"width": 8, "heads": 2} | fields)


@pytest.mark.parametrize("conditioning", CONDITIONING)
def test_a_frozen_reader_tells_as_much_as_the_other(conditioning):
    said = pack(np.ones((2, 3, 4)), np.ones((2, 4)), np.ones((2, 3), bool))
    text, _ = FrozenText(Precision(), width=5, conditioning=conditioning).init_with_output(jax.random.key(0), said)
    assert (text.pooled is None) == (conditioning == "cross_attention")
    assert (text.tokens is None) == (text.mask is None) == (conditioning == "pooled")
    with pytest.raises(UserError, match="text.conditioning: 'words' is not one of pooled, cross_attention, both"):
        FrozenText(Precision(), conditioning="words")
