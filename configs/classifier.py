"""A small CNN trained on real labelled images. Variants: "digits" (seconds), "mnist" (minutes): judges of samples;
"digits_noisy": asked about noisy digits, for the classifier guidance of an EDM run."""

from configs import base
from diffjax.config import component


def get_config(variant="digits"):
    c = base.get_config()
    name, _, noisy = variant.partition("_")
    c.data = component("data", {"digits": "digits", "mnist": "tfds:mnist"}[name])
    c.method = component("method", "noisy_classifier" if noisy else "classifier")
    c.sampler = component("sampler", "none")
    steps = {"digits": 600, "mnist": 3_000}[name]
    c.train.update(steps=steps, batch_size=128, log_every=200, sample_every=0, checkpoint_every=steps)
    c.optim.update(learning_rate=2e-3, weight_decay=0.01, warmup=6_400.0, decay="cosine")
    c.ema.update(images=5_000.0)
    c.eval.update(metrics=() if noisy else ("accuracy",))
    return c
