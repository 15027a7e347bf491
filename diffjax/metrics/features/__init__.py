"""Networks whose features stand for images: a table of factories, each called with the shape of one image.

    extractor = FEATURES["inception"]((32, 32, 3), resize="clean")
    features = extractor(images)  # uint8 [n, 32, 32, 3] -> float32 [n, 2048]

inception  FID's Inception-v3 of 2015-12-05, images resized as TensorFlow 1 did; also the Inception Score's logits
inception_clean   the same, images resized with antialias (clean-fid); inception_torch as pytorch-fid resizes them
dinov2     DINOv2's ViT-L/14, as FD-DINOv2 takes it
pixels     the pixels themselves in 0..1: nothing to fetch
resize     the resizes of published protocols
weights    where weights come from, and how they are checked
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
