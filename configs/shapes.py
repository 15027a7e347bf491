"""Text to image from scratch: rendered scenes of shapes with captions, and a diffusion model that draws captions.

Variants: SIZE_OBJECTS with SIZE 16, 32 or 64 pixels and OBJECTS "one", "two" or "three" per scene; "16_two" is the
default. "three" has scenes of one to three objects; a quarter of those with several have a counting caption ("three
small red circles"). The suffix "_dit" replaces the UNet by a transformer. "16_two" has 0.9M parameters and takes about
two hours on one core. docs/words.md shows the effect of the pixels' positions, the text encoder's window and noisier
times.
"""

from configs import base
from diffjax.config import component

OBJECTS = {"one": ((1,), 0.0), "two": ((2,), 0.0), "three": ((1, 2, 3), 0.25)}
MULTIPLIERS = {16: (1, 2), 32: (1, 2, 2), 64: (1, 1, 2, 2)}
SCENES = tuple(f"{size}_{objects}" for size in MULTIPLIERS for objects in OBJECTS)


def get_config(variant="16_two"):
    base.check_variant(variant, (*SCENES, *(f"{scene}_dit" for scene in SCENES)))
    size, _, rest = variant.partition("_")
    words, _, network = rest.partition("_")
    size, (objects, counted) = int(size), OBJECTS[words]
    c = base.get_config()
    c.data = component("data", "shapes", size=size, objects=objects, counted=counted)
    c.method = component(
        "method", "diffusion", process="flow", target="velocity", weighting="plain", times="logit_normal",
        clock="scaled", conditional=True, network=network or "unet",
    )  # fmt: skip
    if network == "dit":
        c.method.network.update(patch=size // 8, width=96, depth=4)
    else:
        c.method.network.update(
            channels=32, multipliers=MULTIPLIERS[size], blocks=1, attention=(8,), head_dim=32, positions=True,
            modulation="scale_shift",
        )  # fmt: skip
    c.method.network.text = component("text", "transformer", depth=1, window=17)
    c.method.times.mean = 1.0  # positions of objects are decided at noisy times
    c.train.update(steps=6_000, batch_size=64, sample_every=1_000, checkpoint_every=500)
    c.optim.update(learning_rate=1e-3 if network == "dit" else 2e-3, warmup=12_800.0, decay="cosine")
    c.ema.update(images=50_000.0)
    c.sampler = component("sampler", "heun", steps=12, grid="linear", clip=True, guidance="classifier_free")
    c.sampler.guidance.scale = 2.0
    c.eval.update(metrics=("alignment",), num=512)
    return c
