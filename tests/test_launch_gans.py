"""What a user may get wrong with a GAN: one line with status 2, which names the field, its value and what is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from diffjax import config as configs
from diffjax.adversarial import R2, PenaltyInputs
from diffjax.errors import UserError
from tests import tiny

WRONG = [
    # The five of the specification: R2 without generated images no config can ask for.
    ("gan_ring.py", ["method.conditional=true"], "method.conditional: true, but the data have neither labels"),
    ("gan_ring.py:pac3", ["train.batch_size=100"], "train.batch_size: 100 is not a positive multiple of 8 devices times"
     " groups of 3 (method.packing, method.discriminator.minibatch_std); 96 and 120 are"),
    ("gan_digits.py", ["method.augment.name=adda"], "augment.name: 'adda' is unknown; must be one of none, diff_"),
    ("gan_stacked_mnist.py:digits_gan_r1", ["data.size=30"], "method.discriminator.name: R3GANDiscriminator cannot have"
     " the 30x30x3 of data.name and data.size; both sides must be 4, 5, 6 or 7 times 2, 4, 8, 16"),
    # Sizes of the networks.
    ("gan_ring.py", ["method.generator.latent=0"], "method.generator.latent: 0 must be at least 1"),
    ("gan_ring.py", ["method.generator.width=0"], "method.generator.width: 0 must be at least 1"),
    ("gan_ring.py", ["method.discriminator.depth=-1"], "method.discriminator.depth: -1 must be at least 0"),
    ("gan_ring.py", ["method.discriminator.name=dcgan_discriminator"], "method.discriminator.name: DcganDiscriminator "
     "is for images, but these data have examples of shape (2,); use mlp_discriminator"),
    ("gan_digits.py", ["method.discriminator.width=-4"], "method.discriminator.width: -4 must be at least 1"),
    ("gan_cifar10_sngan.py:digits", ["method.generator.latent=-1"], "method.generator.latent: -1 must be at least 1"),
    ("gan_cifar10_sngan.py:digits", ["method.discriminator.halvings=4", "method.discriminator.multipliers=1,1,1,1"],
     "method.discriminator.halvings: 4 halves 8x8 images 4 times; their sides can be halved 3 times at most"),
    ("gan_cifar10_r3gan.py:digits", ["method.generator.embedding=0"], "method.generator.embedding: 0 must be at least"),
    ("gan_cifar10_stylegan2.py:digits", ["method.generator.channel_base=4"], "generator.channel_base: 4 must be at"),
    ("ddgan_cifar10.py:digits", ["method.discriminator.multipliers=(1,2,2,2,2)"], "method.discriminator.multipliers: "
     "(1, 2, 2, 2, 2) halves 8x8 images 4 times; their sides can be halved 3 times at most"),
    ("ddgan_cifar10.py:digits", ["method.generator.multipliers=(1,2,2,2,2)"], "method.generator.multipliers: (1, 2, "),
    ("ddgan_cifar10.py:digits", ["method.generator.latent=-1"], "method.generator.latent: -1 must be at least 0"),
    ("ddgan_cifar10.py:digits", ["method.discriminator.width=0"], "method.discriminator.width: 0 must be at least 1"),
    ("gan_ring.py", ["method.loss.name=least_squares", "method.loss.a=1"], "method.loss.a: 1.0 must be below loss.b"),
    # Things that do not go together.
    ("gan_digits.py", ["method.generator.name=denoising_generator"], "a generator must take label, train, z and have a "
     "field latent; use biggan_generator, dcgan_generator, mlp_generator, r3gan_generator, res_generator, stylegan2_"),
    ("ddgan_cifar10.py:digits", ["method.discriminator.name=dcgan_discriminator"], "a discriminator must take label, t,"
     " train, x, x_t; use denoising_discriminator, mlp_discriminator"),
    ("gan_shapes.py", ["method.discriminator.name=res_discriminator"], "method.discriminator.name: ResDiscriminator "
     "reads no captions; use dcgan_discriminator, or method.conditional=false"),
    ("ddgan_cifar10.py:digits", ["method.augment.name=ada"], "method.augment: ada would transform x_s, but not"),
    ("gan_cifar10_dcgan.py:digits", ["method.penalty.name=r1"], "method.discriminator.norm: 'batch' makes an image's"),
    ("gan_digits.py", ["method.augment.name=edm"], "method.augment: edm returns labels, which no discriminator"),
    ("gan_ring.py", ["method.augment.name=ada"], "method.augment: ada needs images, and these data are points"),
    ("ddgan_cifar10.py:digits", ["optim.generator.b1=1"], "optim.generator.b1: 1.0 must be at least 0 and less than 1"),
    ("gan_ring.py", ["optim.name=rmsprop", "optim.b2=1"], "optim.b2: 1.0 must be at least 0 and less than 1"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "changes", "said"), WRONG, ids=[f"{config}-{c[-1]}" for config, c, _ in WRONG])
def test_what_a_user_gets_wrong_is_one_line(config, changes, said, capsys):
    words = [f"--config=configs/{config}", *(f"--config.{change}" for change in changes), "--dry-run"]
    assert launch.main(["train", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith("launch.py: ") and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    ["dcgan:digits", "sngan:digits", "sngan:digits_conditional", "wgan_gp:digits", "biggan:digits", "r3gan:digits",
     "stylegan2:digits", "stylegan2:digits_conditional"],
)  # fmt: skip
def test_every_papers_game_takes_steps_on_digits_and_draws(variant, tmp_path):
    config, _, variant = variant.partition(":")
    changes = ["train.steps=3", "train.log_every=1", "train.sample_every=0", "eval.metrics=()", "parallel.devices=1"]
    words = [f"--config=configs/gan_cifar10_{config}.py:{variant}", *(f"--config.{change}" for change in changes)]
    assert launch.main(["train", *words, f"--workdir={tmp_path}"]) == 0
    lines = [line for line in tiny.losses(tmp_path) if "d_loss" in line]
    assert len(lines) == 3 and all(np.isfinite(value) for line in lines for value in line.values())
    assert launch.main(["sample", f"--workdir={tmp_path}", "--num=4", f"--out={tmp_path}/x.npz"]) == 0
    x = np.load(tmp_path / "x.npz")["x"]
    assert (x.shape, x.dtype) == ((4, 8, 8, 1), np.uint8) and np.ptp(x) > 0


@pytest.mark.parametrize("paper", ["dcgan", "sngan", "wgan_gp", "biggan", "r3gan", "stylegan2"])
def test_the_papers_sizes_are_measured_as_the_papers_measure(paper):
    whole, small = (configs.load(f"configs/gan_cifar10_{paper}.py:{size}").eval for size in ("cifar10", "digits"))
    assert (whole.metrics, whole.num, whole.reference, whole.features) == (("fid",), 50_000, "train", "inception")
    assert (small.metrics, small.reference) == (("frechet_pixels",), "heldout")


def test_r2_without_generated_images_is_one_line():
    with pytest.raises(UserError, match="penalty: r2 needs generated images and was given none"):
        R2()(PenaltyInputs(lambda x: x.sum(1), jnp.ones((2, 3)), jax.random.split(jax.random.key(0), 2)))
