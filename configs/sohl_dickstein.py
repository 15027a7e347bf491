"""The swiss roll of Sohl-Dickstein et al. 2015: 40 Gaussian steps, their betas and the reverse covariance learned.

Trained on the bound itself, in nats. Its K is reported in bits, in the paper's unit-variance units.
"""

from configs import base
from diffjax.config import component


def get_config(variant="swiss_roll"):
    if variant != "swiss_roll":
        raise ValueError(f"no variant {variant!r}; swiss_roll")
    c = base.get_config()
    c.data = component("data", "toy2d:swiss_roll")
    c.method = component(
        "method", "diffusion", process="learned_table", target="F", reverse_variance="learned", weighting="vlb",
        times="uniform", low_discrepancy=True, clock="index", network="mlp",
    )  # fmt: skip
    c.method.process.update(timesteps=40, beta_first=1e-6, log_snr_min=-4.5)
    c.method.target.sigma_data = 1.0  # points are standardised
    c.method.network.update(width=128, depth=4)
    c.train.update(steps=10_000, batch_size=512, log_every=500, sample_every=5_000, checkpoint_every=5_000)
    c.optim.update(learning_rate=2e-3, warmup=51_200.0, decay="cosine", clip_norm=1.0)
    c.ema.update(images=100_000.0)
    c.sampler = component("sampler", "ancestral", steps=40, variance="learned")
    c.eval.update(metrics=("K", "vlb"), num=10_000, batch_size=2_500)
    return c
