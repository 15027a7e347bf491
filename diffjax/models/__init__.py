"""Networks by name. The method supplies shape, num_classes, precision and axis; the config sets the other fields."""

from diffjax.models.classifier import CNNClassifier
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator
from diffjax.models.dit import DiT
from diffjax.models.mlp import MLP
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.models.presets import ADM, DDPMpp, NCSNpp
from diffjax.models.r3gan import R3GANDiscriminator, R3GANGenerator
from diffjax.models.resgan import BigGANDiscriminator, BigGANGenerator, ResDiscriminator, ResGenerator
from diffjax.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.models.text import FrozenText, NoText, TextTransformer
from diffjax.models.unet import UNet

NETWORKS = {
    "adm": ADM,
    "biggan_discriminator": BigGANDiscriminator,
    "biggan_generator": BigGANGenerator,
    "cnn_classifier": CNNClassifier,
    "dcgan_discriminator": DcganDiscriminator,
    "dcgan_generator": DcganGenerator,
    "ddpmpp": DDPMpp,
    "denoising_discriminator": DenoisingDiscriminator,
    "denoising_generator": DenoisingGenerator,
    "dit": DiT,
    "mlp": MLP,
    "mlp_discriminator": MlpDiscriminator,
    "mlp_generator": MlpGenerator,
    "ncsnpp": NCSNpp,
    "r3gan_discriminator": R3GANDiscriminator,
    "r3gan_generator": R3GANGenerator,
    "res_discriminator": ResDiscriminator,
    "res_generator": ResGenerator,
    "stylegan2_discriminator": StyleGAN2Discriminator,
    "stylegan2_generator": StyleGAN2Generator,
    "unet": UNet,
}
TEXTS = {  # caption encoders, for a network's field `text`
    "none": NoText,
    "transformer": TextTransformer,
    "frozen": FrozenText,
}
