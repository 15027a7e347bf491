"""Networks by name. Each takes (shape, num_classes, precision, axis) from the method, and its other fields from the config."""

from diffjax.models.classifier import CNNClassifier
from diffjax.models.mlp import MLP
from diffjax.models.unet import UNet

NETWORKS = {
    "cnn_classifier": CNNClassifier,
    "mlp": MLP,
    "unet": UNet,
}
