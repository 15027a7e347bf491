"""What the fields of networks may be; that each network asks is its own test's."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from diffjax.errors import UserError
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator
from diffjax.models.fields import (
    check_choice,
    check_counts,
    check_dropout,
    check_halvings,
    check_images,
    check_positive,
    stages_for,
)
from diffjax.models.resgan import ResDiscriminator
from diffjax.parallel import Axis
from diffjax.precision import Precision


def network(**fields):
    return SimpleNamespace(**fields)


@pytest.mark.parametrize(
    ("side", "stages", "smallest"), [(8, 1, 4), (10, 1, 5), (14, 1, 7), (16, 2, 4), (28, 2, 7), (32, 3, 4), (64, 4, 4)]
)
def test_sides_halve_down_to_four_to_seven_pixels(side, stages, smallest):
    assert stages_for("generator", network(shape=(side, side, 3))) == (stages, (smallest, smallest))


def test_oblong_images_halve_together():
    assert stages_for("generator", network(shape=(16, 28, 1))) == (2, (4, 7))


@pytest.mark.parametrize("shape", [(30, 30, 3), (9, 9, 1), (4, 4, 1), (7, 7, 1), (1, 1, 1), (8, 64, 1)])
@pytest.mark.parametrize(("make", "player"), [(DcganGenerator, "generator"), (DcganDiscriminator, "discriminator")])
def test_other_sides_are_the_users_mistake(make, player, shape):
    size = "x".join(map(str, shape))
    said = f"method.{player}.name: Dcgan.* cannot have the {size} of data.name and data.size; both sides must be 4, 5"
    with pytest.raises(UserError, match=said):
        make(shape, 0, Precision(), Axis())


def test_points_are_no_images():
    with pytest.raises(
        UserError, match=r"method.generator.name: Simple.* have examples of shape \(2,\); use mlp_generator"
    ):
        check_images("generator", network(shape=(2,)))


def test_counts_and_every_number_of_a_tuple_are_at_least_so_much():
    some = network(width=4, blocks=(2, 0), attention=())
    check_counts("generator", some, width=4, blocks=0, attention=1)
    with pytest.raises(UserError, match="method.generator.width: 4 must be at least 5"):
        check_counts("generator", some, width=5)
    with pytest.raises(UserError, match=r"method.discriminator.blocks: \(2, 0\) must be at least 1"):
        check_counts("discriminator", some, blocks=1)


def test_an_unknown_choice_what_is_not_positive_and_dropping_everything_are_the_users_mistakes():
    some = network(conditioning="x", eps=0.0, dropout=1.0)
    with pytest.raises(UserError, match="method.discriminator.conditioning: 'x' is not one of projection, concat"):
        check_choice("discriminator", some, "conditioning", ("projection", "concat"))
    with pytest.raises(UserError, match="method.network.eps: 0.0 must be positive"):
        check_positive("network", some, "eps")
    with pytest.raises(UserError, match="method.network.dropout: 1.0 must be at least 0 and less than 1"):
        check_dropout("network", some)


@pytest.mark.parametrize(("shape", "most"), [((8, 8, 1), 3), ((12, 8, 1), 2), ((14, 14, 1), 1), ((7, 8, 3), 0)])
def test_images_are_halved_as_often_as_both_sides_can_be(shape, most):
    some = network(shape=shape, halvings=most + 1)
    check_halvings("discriminator", some, "halvings", most)
    said = f"method.discriminator.halvings: {most + 1} halves {shape[0]}x{shape[1]} images {most + 1} times; "
    with pytest.raises(UserError, match=f"{said}their sides can be halved {most} times at most"):
        check_halvings("discriminator", some, "halvings", most + 1)


@pytest.mark.parametrize(
    ("make", "fields", "said"),
    [
        (DenoisingDiscriminator, {"multipliers": (1, 2, 2, 2, 2)}, r"multipliers: \(1, 2, 2, 2, 2\) halves 8x8 images"),
        (
            DenoisingDiscriminator,
            {"multipliers": ()},
            r"multipliers: \(\) must have at least one number, one for each block",
        ),
        (ResDiscriminator, {"multipliers": ()}, r"multipliers: \(\) must have at least one number, one for each block"),
        (DenoisingDiscriminator, {"multipliers": (1, 0)}, r"multipliers: \(1, 0\) must be at least 1"),
        (DenoisingDiscriminator, {"width": -4}, "width: -4 must be at least 1"),
        (DenoisingGenerator, {"multipliers": (1, 2, 2, 2, 2)}, r"multipliers: \(1, 2, 2, 2, 2\) halves 8x8 images"),
        (DenoisingGenerator, {"latent": -1}, "latent: -1 must be at least 0"),
        (DenoisingGenerator, {"shape": (2,)}, "name: DenoisingGenerator is for images"),
    ],
)
def test_the_networks_of_denoising_gans_are_blamed_by_their_own_names(make, fields, said):
    player = "generator" if make is DenoisingGenerator else "discriminator"
    fields = {"shape": (8, 8, 1), "num_classes": 0, "precision": Precision(), "axis": Axis()} | fields
    with pytest.raises(UserError, match=f"method.{player}.{said}"):
        make(**fields)


def test_sides_that_can_be_halved_are_halved_and_others_are_not_floored():
    critic = DenoisingDiscriminator((28, 28, 1), 0, Precision(), Axis(), width=4, multipliers=(1, 1, 1))
    x, t = jnp.zeros((4, 28, 28, 1)), jnp.zeros(4)
    assert jax.eval_shape(critic.init_with_output, jax.random.key(0), x, x, t)[0].shape == (4,)
    with pytest.raises(UserError, match="can be halved 2 times at most"):  # the next would make 3 pixels of 7
        critic.clone(multipliers=(1, 1, 1, 1))
