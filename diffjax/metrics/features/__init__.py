"""Feature networks for metrics of images: a table of factories, each called with the shape of one image.

    extractor = FEATURES["inception"]((32, 32, 3), resize="clean")
    features = extractor(images)  # uint8 [n, 32, 32, 3] -> float32 [n, 2048]

inception  FID's Inception-v3 of 2015-12-05, images resized as in TensorFlow 1; also the logits of the Inception Score
inception_clean   the same with antialiased resizing (clean-fid); inception_torch: resized as in pytorch-fid
dinov2     DINOv2's ViT-L/14, as used for FD-DINOv2
pixels     raw pixels in [0, 1], without weights
resize     the resizing of published protocols
weights    finds, downloads and verifies published weights
"""

from functools import partial

from diffjax.metrics.features import dinov2, inception, pixels
from diffjax.metrics.features.extractor import Extractor, Outputs, check_choice

FEATURES = {
    "inception": inception.inception,
    "inception_clean": partial(inception.inception, resize="clean"),
    "inception_torch": partial(inception.inception, resize="torch"),
    "dinov2": dinov2.dinov2,
    "pixels": pixels.pixels,
}

__all__ = ["FEATURES", "Extractor", "Outputs", "check_choice"]
