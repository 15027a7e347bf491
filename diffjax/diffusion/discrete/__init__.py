"""Diffusion of categories: values are replaced, with growing probability, by draws from a fixed noise distribution.

Sohl-Dickstein et al. 2015 (binomial) and Austin et al. 2021 (D3PM: uniform, absorbing) are one family. In step n of T,
t = n/T, every entry is kept with probability 1 - beta_n and otherwise redrawn from `noise`:

    q(x_n | x_{n-1}) = (1 - beta_n) [x_n = x_{n-1}] + beta_n noise(x_n)

These kernels are closed under composition, as the factors 1 - beta_n multiply. Marginals, transitions and posteriors
between any two times therefore have the same closed form. Two values with uniform noise give the binomial kernel
B(x_n; x_{n-1} (1 - beta_n) + beta_n / 2) of 2015, K values D3PM's uniform kernel, and noise that is always one extra
value, the mask, D3PM's absorbing kernel.

A model predicts p(x0 | x_t) for each entry, and the reverse step is the posterior averaged over it. If the predictions
are the true marginals, so are those of the reverse step. (Austin et al. 2021, eq. 4 average the joint q(x_s, x_t | x0)
instead, which parametrises the same reverse steps by a quantity whose optimum is not p(x0 | x_t). The network of 2015
predicts the reverse step's probabilities directly, which are valid for steps of one length only.)
"""

from diffjax.diffusion.discrete.bound import Bound, bound, divergence, edge_entropy, step_divergence
from diffjax.diffusion.discrete.kernels import KERNELS, SCHEDULES, absorbing, binomial, uniform
from diffjax.diffusion.discrete.process import DiscreteProcess, draw
from diffjax.diffusion.discrete.sampler import DiscreteAncestral

__all__ = [
    "KERNELS", "SCHEDULES", "Bound", "DiscreteAncestral", "DiscreteProcess", "absorbing", "binomial", "bound",
    "divergence", "draw", "edge_entropy", "step_divergence", "uniform",
]  # fmt: skip
