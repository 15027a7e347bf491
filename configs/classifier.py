"""A small CNN trained on real labelled images.

Variants: "digits" (seconds), "mnist" and "mnist14", 14x14 (minutes), are classifiers that measure samples;
"digits_noisy" classifies noisy digits, for the classifier guidance of an EDM run.
"""

from configs import base
from diffjax.config import component

VARIANTS = {
    "digits": ("digits", 0, 600),
    "digits_noisy": ("digits", 0, 600),
    "mnist": ("tfds:mnist", 0, 3_000),
    "mnist14": ("tfds:mnist", 14, 3_000),
}


def get_config(variant="digits"):
    base.check_variant(variant, VARIANTS)
    source, size, steps = VARIANTS[variant]
    noisy = variant == "digits_noisy"
    c = base.get_config()
    c.data = component("data", source)
    if size:
        c.data.size = size
    c.method = component("method", "noisy_classifier" if noisy else "classifier")
    c.sampler = component("sampler", "none")
    c.train.update(steps=steps, batch_size=128, log_every=200, sample_every=0, checkpoint_every=steps)
    c.optim.update(learning_rate=2e-3, weight_decay=0.01, warmup=6_400.0, decay="cosine")
    c.ema.update(images=5_000.0)
    c.eval.update(metrics=() if noisy else ("accuracy",))
    return c
