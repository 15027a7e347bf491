"""What is done to the images that the discriminator sees, in the loss and in the penalties."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from diffjax.adversarial import R1, R2, NoPenalty
from diffjax.augment import Ada, Augment
from diffjax.augment.ada import SHARES
from diffjax.data.space import Space
from diffjax.methods.game import Latent
from diffjax.methods.method import example_keys
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.r3gan import R3GANGenerator
from tests.methods.games import KEY, TINY_R3GAN, Judge, Least, gan, start


class Halved(Augment):
    """Images at half their contrast, so that a gradient with respect to the image before is half of that after."""

    def strength(self, history, seen):
        return jnp.ones(())

    def __call__(self, x, keys, p):
        return 0.5 * x


def test_penalties_are_taken_through_the_augmentation_to_the_image_before_it():
    images = Space("images", (8, 8, 1))
    networks = {
        "generator": partial(DcganGenerator, width=4, latent=3),
        "discriminator": partial(DcganDiscriminator, width=4),
    }
    method = gan(images, augment=Halved(), penalty=R1(gamma=1.0), optimizer=optax.sgd(0.0), **networks)
    state, batch, step = start(method)
    metrics = step(state, batch)[1]
    D, x = method.critic(), images.to_model(batch["x"][0])
    gradient = jax.grad(lambda x: D.apply(state.params["discriminator"], 0.5 * x).sum())(x)
    np.testing.assert_allclose(metrics["penalty"], 0.5 * jnp.mean(jnp.sum(gradient**2, (1, 2, 3))), rtol=1e-5)
    expected = D.apply(state.params["discriminator"], 0.5 * x).mean()
    np.testing.assert_allclose(metrics["d_real"], expected, rtol=1e-4, atol=1e-7)


class Dimmed(Augment):
    """Each image at a contrast of its own."""

    def strength(self, history, seen):
        return jnp.ones(())

    def __call__(self, x, keys, p):
        return x * jax.vmap(jax.random.uniform)(keys).reshape(-1, 1, 1, 1)


def test_r2_sees_the_generated_images_as_the_loss_does():
    """Huang et al. 2024, in their code: both are of one forward pass of the augmented images."""
    images = Space("images", (8, 8, 1))
    networks = {"generator": partial(R3GANGenerator, **TINY_R3GAN), "discriminator": Judge}
    method = gan(images, augment=Dimmed(), penalty=R2(gamma=1.0), optimizer=optax.sgd(0.0), **networks)
    state, batch, step = start(method)
    metrics = step(state, batch)[1]
    position = {"position": batch["position"][0]}
    generate, _, _, fake_keys = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(
        example_keys(jax.random.fold_in(KEY, 0), 0, position)
    )
    x = method.make(method.generator).apply(state.params["generator"], Latent()(generate, 64))
    judge = partial(method.critic().apply, state.params["discriminator"])
    np.testing.assert_allclose(metrics["d_fake"], judge(Dimmed()(x, fake_keys, 1.0)).mean(), rtol=1e-4)
    gradient = jax.grad(lambda x: judge(Dimmed()(x, fake_keys, 1.0)).sum())(x)
    np.testing.assert_allclose(metrics["penalty"], 0.5 * jnp.mean(jnp.sum(gradient**2, (1, 2, 3))), rtol=1e-4)


def test_gamma_and_p_follow_the_images_that_a_game_has_seen():
    """Huang et al. 2024: half a cosine from the first value to the last, in images, not steps."""
    images = Space("images", (8, 8, 1))
    players = {"generator": partial(R3GANGenerator, **TINY_R3GAN), "discriminator": Judge}
    ramped = gan(
        images, penalty=R1(gamma=2.0, gamma_last=1.0, ramp_images=80.0), optimizer=optax.sgd(0.0), **players,
        augment=Ada(**dict.fromkeys(SHARES, 0.0) | {"xflip": 1.0}, target=0.0, p_last=0.4, ramp_images=80.0),
    )  # fmt: skip
    plain = gan(images, penalty=R1(gamma=2.0), optimizer=optax.sgd(0.0), augment=Halved(), **players)
    state, batch, step = start(ramped)
    for steps, p in ((0, 0.0), (5, 0.2), (10, 0.4), (20, 0.4)):  # of 8 images each
        np.testing.assert_allclose(step(state.replace(step=jnp.int32(steps)), batch)[1]["augment_p"], p, atol=1e-6)

    state, batch, step = start(replace(ramped, augment=Halved()))
    steady = start(plain)[2]
    for steps, share in ((0, 1.0), (5, 0.75), (10, 0.5), (20, 0.5)):
        at = state.replace(step=jnp.int32(steps))
        np.testing.assert_allclose(step(at, batch)[1]["penalty"], share * steady(at, batch)[1]["penalty"], rtol=1e-5)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_ada_moves_by_the_images_of_a_step_however_many_updates_the_discriminator_has(d_steps):
    class Signed(Augment):
        """Adds up the images that it is told of."""

        def init(self):
            return {"images": jnp.zeros(())}

        def strength(self, history, seen):
            return jnp.ones(())

        def update(self, history, sign, images):
            return {"images": history["images"] + images}

        def __call__(self, x, keys, p):
            return x

    method = gan(
        Space("images", (8, 8, 1)), generator=partial(R3GANGenerator, **TINY_R3GAN), discriminator=Judge,
        augment=Signed(), d_steps=d_steps,
    )  # fmt: skip
    state, batch, step = start(method)
    assert step(state, batch)[0].extra["augment"]["images"] == method.batch_size


class Bright(Least):
    """A generator of images brighter than any real one."""

    latent = 1

    @nn.compact
    def __call__(self, z, label=None, train=False):
        return jnp.full((len(z), 8, 8, 1), 2.0) + self.param("none", nn.initializers.zeros_init(), ())


class Sure(Least):
    """A discriminator that says `real` of real images, and the opposite of bright ones."""

    real: float

    @nn.compact
    def __call__(self, x, label=None, train=False):
        bias = self.param("none", nn.initializers.zeros_init(), ())
        return jnp.where(x.max((1, 2, 3)) > 1.5, -self.real, self.real) + bias


@pytest.mark.parametrize("sign", [1, -1])
def test_the_probability_of_augmentation_follows_the_signs_of_real_logits_and_is_part_of_the_state(sign):
    """Up or down by 16 images of 80, every second step; the images are only flipped, so that they stay recognisable."""
    networks = {"generator": Bright, "discriminator": partial(Sure, real=float(sign))}
    flips = Ada(p=0.5, every=2, images=80.0, **dict.fromkeys(SHARES, 0.0) | {"xflip": 1.0})
    method = gan(Space("images", (8, 8, 1)), augment=flips, optimizer=optax.sgd(0.0), penalty=NoPenalty(), **networks)
    state, batch, step = start(method)
    for expected in (0.5, 0.5 + 0.2 * sign, 0.5 + 0.2 * sign, 0.5 + 0.4 * sign):
        used = float(state.extra["augment"]["p"])
        state, metrics = step(state, batch)
        assert float(metrics["augment_p"]) == used
        np.testing.assert_allclose(state.extra["augment"]["p"], expected, rtol=1e-6)
    assert metrics["d_real"] == sign
