"""Diffusion of categories: values are replaced, with growing probability, by draws from a fixed noise distribution.

Sohl-Dickstein et al. 2015 (binomial) and Austin et al. 2021 (D3PM: uniform, absorbing) are one family. In a step of a
chain of T steps, t = n/T, every entry is kept with probability 1 - beta_n, and otherwise drawn anew from `noise`:

    q(x_n | x_{n-1}) = (1 - beta_n) [x_n = x_{n-1}] + beta_n noise(x_n)

Such kernels are closed under composition, with 1 - beta for the product of the factors: so that marginals, transitions
and posteriors between any two times have the same closed form. With two values and even noise this is the binomial
kernel B(x_n; x_{n-1} (1 - beta_n) + beta_n / 2) of 2015; with K values D3PM's uniform one; with all noise on a further
value, the mask, its absorbing one.

A model says p(x0 | x_t), entry by entry; the reverse step is the posterior averaged over it. If these are the true
marginals, so are the reverse step's. (Austin et al. 2021, eq. 4 average the joint q(x_s, x_t | x0) instead: the same
reverse steps in other coordinates, in which the right answer is not p(x0 | x_t). In 2015 the network gave the
probabilities of the reverse step themselves, which hold for steps of one length only.)
"""

from diffjax.diffusion.discrete.bound import Bound, bound, divergence, edge_entropy, step_divergence
from diffjax.diffusion.discrete.kernels import KERNELS, SCHEDULES, absorbing, binomial, uniform
from diffjax.diffusion.discrete.process import DiscreteProcess, draw
from diffjax.diffusion.discrete.sampler import DiscreteAncestral

__all__ = [
    "KERNELS", "SCHEDULES", "Bound", "DiscreteAncestral", "DiscreteProcess", "absorbing", "binomial", "bound",
    "divergence", "draw", "edge_entropy", "step_divergence", "uniform",
]  # fmt: skip
