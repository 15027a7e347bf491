"""The judge: a small CNN trained on real labelled images. Variants: "digits" (seconds), "mnist" (minutes)."""

from configs import base
from diffjax.config import component


def get_config(variant="digits"):
    c = base.get_config()
    c.data = component("data", {"digits": "digits", "mnist": "tfds:mnist"}[variant])
    c.method = component("method", "classifier")
    c.sampler = component("sampler", "none")
    c.train.update(steps=1_000, batch_size=128, log_every=200, sample_every=0, checkpoint_every=1_000)
    c.eval.update(metrics=("accuracy",))
    return c
