"""Networks by name. The method gives each its (shape, num_classes, precision, axis), the config its other fields."""

from diffjax.models.classifier import CNNClassifier
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.dit import DiT
from diffjax.models.mlp import MLP
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.models.presets import ADM, DDPMpp, NCSNpp
from diffjax.models.unet import UNet

NETWORKS = {
    "adm": ADM,
    "cnn_classifier": CNNClassifier,
    "dcgan_discriminator": DcganDiscriminator,
    "dcgan_generator": DcganGenerator,
    "ddpmpp": DDPMpp,
    "dit": DiT,
    "mlp": MLP,
    "mlp_discriminator": MlpDiscriminator,
    "mlp_generator": MlpGenerator,
    "ncsnpp": NCSNpp,
    "unet": UNet,
}
