"""Text to image by a GAN: a DCGAN with R1 on scenes of shapes, whose two networks read the caption.

The generator takes the pooled caption beside z; the discriminator has a projection onto it. Variants are the scenes of
configs/shapes.py: "16_two" (the default), "32_one" and so on.
"""

from configs import base, shapes
from diffjax.config import component


def get_config(variant="16_two"):
    base.check_variant(variant, shapes.SCENES)
    c = base.get_config()
    c.data = shapes.get_config(variant).data
    c.method = component("method", "gan", generator="dcgan_generator", discriminator="dcgan_discriminator")
    c.method.conditional = True
    for player in (c.method.generator, c.method.discriminator):
        player.width = 64
        player.text = component("text", "transformer", depth=1, window=17)  # as in the diffusion model
    c.method.penalty.gamma = 1.0
    c.train.update(steps=10_000, batch_size=64, log_every=200, sample_every=1_000, checkpoint_every=1_000)
    c.optim.update(learning_rate=5e-4, b1=0.0, b2=0.99, decay="cosine")  # both networks
    c.ema.update(images=20_000.0)
    c.sampler = component("sampler", "generator")
    c.eval.update(metrics=("alignment",), num=512)
    return c
