"""A GAN on a grid of 25 Gaussians, with the variants of configs/gan_ring.py."""

from configs import gan_ring


def get_config(variant="r1"):
    return gan_ring.game("grid", variant)
