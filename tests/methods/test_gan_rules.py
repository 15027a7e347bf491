"""What a game cannot be: each mistake by its name."""

from functools import partial

import pytest

from diffjax.adversarial import R1, R1R2, NoPenalty, Relativistic, Wasserstein, Watchman
from diffjax.augment import Ada, EdmAugment
from diffjax.data.space import Space
from diffjax.errors import UserError
from diffjax.methods.game import Latent
from diffjax.models.dcgan import DcganDiscriminator
from diffjax.models.mlp_gan import MlpDiscriminator
from diffjax.parallel import check_batch, layout
from tests.methods.games import (
    LABELLED,
    POINTS,
    gan,
    styled,
)


def test_impossible_settings_are_the_users_mistake():
    with pytest.raises(
        UserError, match="method.conditional: true, but the data have neither labels nor captions; it must be false"
    ):
        gan(POINTS, conditional=True)
    with pytest.raises(UserError, match="method.name: a GAN needs images or points, and these data are categories; "):
        gan(Space("categories", (20,), values=2))
    with pytest.raises(UserError, match="method.d_steps: 0"):
        gan(d_steps=0)
    with pytest.raises(UserError, match="method.lazy: 0 must be at least 1"):
        gan(lazy=0)
    with pytest.raises(UserError, match="method.auxiliary: 1.0 needs labels; method.conditional must be true"):
        gan(LABELLED, auxiliary=1.0)
    with pytest.raises(UserError, match="method.discriminator.conditioning: 'concat' shows the discriminator the"):
        gan(LABELLED, conditional=True, auxiliary=1.0, discriminator=partial(MlpDiscriminator, conditioning="concat"))
    with pytest.raises(UserError, match="method.packing: 2 packed examples would differ in label"):
        gan(LABELLED, conditional=True, packing=2)
    with pytest.raises(UserError, match="method.augment: ada needs images, and these data are points; use none"):
        gan(augment=Ada())
    with pytest.raises(UserError, match="method.augment: edm returns labels, which no discriminator takes"):
        gan(Space("images", (8, 8, 1)), augment=EdmAugment())
    for penalty, name in ((R1(), "r1"), (R1R2(), "r1_r2")):
        with pytest.raises(UserError, match=f"method.discriminator.norm: 'batch' .* method.penalty {name} needs the"):
            gan(Space("images", (8, 8, 1)), penalty=penalty, discriminator=partial(DcganDiscriminator, norm="batch"))
    for loss in (Wasserstein(), Relativistic()):
        with pytest.raises(UserError, match="method.augment.target: 0.6 follows the signs of logits"):
            gan(Space("images", (8, 8, 1)), loss=loss, augment=Ada())
    with pytest.raises(UserError, match="method.lazy: 16 must be 1, as method.penalty is none"):
        gan(lazy=16, penalty=NoPenalty())
    with pytest.raises(
        UserError,
        match="method.generator.name: MlpDiscriminator takes .*; a generator must take label, train, z and have",
    ):
        gan(generator=partial(MlpDiscriminator, width=8))
    with pytest.raises(UserError, match="watchman.most_diversity: 0.001 must exceed least_diversity 0.01"):
        Watchman(most_diversity=0.001)
    with pytest.raises(UserError, match="size: 6 is .* groups of 4 .method.packing, .*minibatch_std.; 4 and 8 are"):
        check_batch(6, layout("jit", 1), group=gan(packing=4).group)
    with pytest.raises(UserError, match="sampler.steps: 2 must be 1"):
        Latent(steps=2)
    with pytest.raises(UserError, match="sampler.truncation: -1"):
        Latent(truncation=-1.0)
    with pytest.raises(UserError, match="sampler.psi: -1.0 must not be negative"):
        Latent(psi=-1.0)
    with pytest.raises(UserError, match="sampler.psi: 0.5 goes .* MlpGenerator has no styles; use 1"):
        gan().check_sampler(Latent(psi=0.5))
    styled().check_sampler(Latent(psi=0.5))
    with pytest.raises(UserError, match="method.path_length: 2.0 needs .* MlpGenerator has none; use 0"):
        gan(path_length=2.0)
    with pytest.raises(UserError, match="method.path_length: -1.0 must not be negative"):
        gan(path_length=-1.0)
    with pytest.raises(UserError, match="method.path_length_every: 0 must be at least 1"):
        gan(path_length_every=0)
