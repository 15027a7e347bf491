"""Every sampler on Gaussian data, where the exact denoiser is affine: the walk, done again in NumPy as published.

The formulas below are in the notation of their papers (log-SNR and exponentials, betas, a Vandermonde system, tabulated
weights), not in that of the samplers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, Denoiser, Prediction, VPLinear, ddpm_linear, fold_in, grid, normal
from diffjax.diffusion.samplers import (
    DDIM,
    AdamsBashforth,
    Adaptive,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ReverseDiffusion,
    UniPC,
)

pytestmark = pytest.mark.usefixtures("x64")
MEAN, STD = 0.3, 0.5
KEY = jax.random.key(3)


def exact(process):
    """E[x0 | x_t] for x0 ~ N(MEAN, STD^2), every dimension by itself."""

    def predict(x_t, t, label=None):
        alpha, sigma = (jnp.broadcast_to(f(t), len(x_t))[:, None] for f in (process.alpha, process.sigma))
        return Prediction(MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * MEAN))

    return Denoiser(predict)


class Walk:
    """alpha, sigma, lambda at the times of a grid, the denoiser at any time, and the sampler's own noise."""

    def __init__(self, process, times):
        self.process, self.times = process, np.asarray(times)
        self.alpha, self.sigma = np.asarray(process.alpha(times)), np.asarray(process.sigma(times))
        with np.errstate(divide="ignore"):
            self.lam = np.log(self.alpha) - np.log(self.sigma)
        self.steps = len(times) - 1

    def x0(self, x, alpha, sigma):
        return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)

    def eps(self, x, alpha, sigma):
        return (x - alpha * self.x0(x, alpha, sigma)) / sigma

    def noise(self, x, i, *more):
        key = fold_in(KEY, i)
        for j in more:
            key = fold_in(key, j)
        return np.asarray(normal(key, jnp.asarray(x)))


def ancestral(w, x, large=False):
    """Ho et al. 2020, eq. 6-7 and algorithm 2, with beta = 1 - alpha_bar_t / alpha_bar_s."""
    for i in range(w.steps):
        beta = w.sigma[i] ** 2 - (w.alpha[i] / w.alpha[i + 1]) ** 2 * w.sigma[i + 1] ** 2
        tilde = w.sigma[i + 1] ** 2 / w.sigma[i] ** 2 * beta
        mean = w.alpha[i + 1] * beta / w.sigma[i] ** 2 * w.x0(x, w.alpha[i], w.sigma[i])
        mean = mean + w.alpha[i] / w.alpha[i + 1] * w.sigma[i + 1] ** 2 / w.sigma[i] ** 2 * x
        x = mean + np.sqrt(beta if large else tilde) * w.noise(x, i) * (w.sigma[i + 1] > 0)
    return x


def ddim(w, x, eta=0.0):
    """Song et al. 2020, eq. 12 and 16."""
    for i in range(w.steps):
        bar_t, bar_s = w.alpha[i] ** 2, w.alpha[i + 1] ** 2
        tilde = eta * np.sqrt((1 - bar_s) / (1 - bar_t)) * np.sqrt(1 - bar_t / bar_s)
        eps = w.eps(x, w.alpha[i], w.sigma[i])
        x0 = (x - np.sqrt(1 - bar_t) * eps) / np.sqrt(bar_t)
        x = np.sqrt(bar_s) * x0 + np.sqrt(1 - bar_s - tilde**2) * eps + tilde * w.noise(x, i)
    return x


def euler(w, x, noise=0.0):
    """dx = (-beta x / 2 - k beta score) dt, k = 1/2 the ODE and 1 the SDE (Song et al. 2021, eq. 11 and 32)."""
    for i in range(w.steps):
        beta = w.process.beta_min + w.times[i] * (w.process.beta_max - w.process.beta_min)
        dt = w.times[i + 1] - w.times[i]
        score = -w.eps(x, w.alpha[i], w.sigma[i]) / w.sigma[i]
        step = x + dt * (-beta * x / 2 - (1 + noise) / 2 * beta * score)
        step = step + noise * np.sqrt(-beta * dt) * w.noise(x, i)
        x = step if w.sigma[i + 1] > 0 else w.x0(x, w.alpha[i], w.sigma[i])
    return x


def reverse_flow(w, x):
    """Song et al. 2021, eq. 48 (VP); the last step is x0."""
    for i in range(w.steps):
        beta = 1 - (w.alpha[i] / w.alpha[i + 1]) ** 2
        score = -w.eps(x, w.alpha[i], w.sigma[i]) / w.sigma[i]
        step = (2 - np.sqrt(1 - beta)) * x + beta * score / 2
        x = step if w.sigma[i + 1] > 0 else w.x0(x, w.alpha[i], w.sigma[i])
    return x


def reverse_diffusion(w, x, corrector=0, snr=0.0, norms=True):
    """Song et al. 2021, algorithms 3 and 5 (VP)."""
    for i in range(w.steps):
        beta = 1 - (w.alpha[i] / w.alpha[i + 1]) ** 2
        score = -w.eps(x, w.alpha[i], w.sigma[i]) / w.sigma[i]
        z = w.noise(x, i, 0) if corrector else w.noise(x, i)
        mean = (2 - np.sqrt(1 - beta)) * x + beta * score
        x = mean + np.sqrt(beta) * z * (i < w.steps - 1)
        for j in range(corrector if i < w.steps - 1 else 0):
            z = w.noise(x, i, j + 1)
            g = -w.eps(x, w.alpha[i + 1], w.sigma[i + 1]) / w.sigma[i + 1]
            size = [np.linalg.norm(a, axis=1, keepdims=True) for a in (z, g)]
            epsilon = 2 * (1 - beta) * (snr * (size[0] / size[1] if norms else w.sigma[i + 1])) ** 2
            x = x + epsilon * g + np.sqrt(2 * epsilon) * z
    return x


def heun(w, x, churn=0.0, low=0.0, high=np.inf, s_noise=1.0):
    """Karras et al. 2022, algorithm 2, in y = x / alpha and l = sigma / alpha: dy/dl = l (y - m) / (l^2 + s^2)."""
    level = w.sigma / w.alpha
    slope = lambda y, l: l * (y - MEAN) / (l**2 + STD**2)  # noqa: E731, E741
    y = x / w.alpha[0]
    for i in range(w.steps):
        gamma = min(churn / w.steps, np.sqrt(2) - 1) if low <= level[i] <= high else 0
        hat = level[i] * (1 + gamma)
        y = y + np.sqrt(hat**2 - level[i] ** 2) * s_noise * w.noise(x, i)
        step = y + (level[i + 1] - hat) * slope(y, hat)
        if level[i + 1] > 0:
            step = y + (level[i + 1] - hat) * (slope(y, hat) + slope(step, level[i + 1])) / 2
        y = step
    return y


def dpm_2m(w, x):
    """Lu et al. 2022b, algorithm 2."""
    before = None
    for i in range(w.steps):
        now = w.x0(x, w.alpha[i], w.sigma[i])
        h = w.lam[i + 1] - w.lam[i]
        d = now
        if before is not None and np.isfinite(h):
            r = (w.lam[i] - w.lam[i - 1]) / h
            d = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
        x, before = w.sigma[i + 1] / w.sigma[i] * x - w.alpha[i + 1] * np.expm1(-h) * d, now
    return x


def dpm_2s(w, x):
    """Lu et al. 2022b, algorithm 1, r = 1/2: the middle's alpha and sigma from its log-SNR (variance preserved)."""
    for i in range(w.steps):
        h = w.lam[i + 1] - w.lam[i]
        d = w.x0(x, w.alpha[i], w.sigma[i])
        if np.isfinite(h):
            middle = (w.lam[i] + w.lam[i + 1]) / 2
            alpha, sigma = (1 / np.sqrt(1 + np.exp(sign * 2 * middle)) for sign in (-1, 1))
            u = sigma / w.sigma[i] * x - alpha * np.expm1(-h / 2) * d
            d = w.x0(u, alpha, sigma)
        x = w.sigma[i + 1] / w.sigma[i] * x - w.alpha[i + 1] * np.expm1(-h) * d
    return x


def dpm_sde(w, x, order, eta=1.0, correction="midpoint"):
    """SDE-DPM-Solver++ (Lu et al. 2022b, eq. 18 and algorithm 4), and 3M as in k-diffusion."""
    seen = []
    for i in range(w.steps):
        seen = [w.x0(x, w.alpha[i], w.sigma[i]), *seen]
        if w.sigma[i + 1] == 0:
            return w.alpha[i + 1] * seen[0]
        h = w.lam[i + 1] - w.lam[i]
        hh = (1 + eta) * h
        step = w.sigma[i + 1] / w.sigma[i] * np.exp(-eta * h) * x
        step = step + w.alpha[i + 1] * -np.expm1(-hh) * seen[0]
        phi_2 = np.expm1(-hh) / hh + 1
        phi_3 = phi_2 / hh - 0.5
        weight = -np.expm1(-hh) / 2 if correction == "midpoint" else phi_2
        if order > 1 and len(seen) > 1:
            r0 = (w.lam[i] - w.lam[i - 1]) / h
            d0 = (seen[0] - seen[1]) / r0
            if order > 2 and len(seen) > 2:
                r1 = (w.lam[i - 1] - w.lam[i - 2]) / h
                d1 = (seen[1] - seen[2]) / r1
                curve = (d0 - d1) / (r0 + r1)
                step = step + w.alpha[i + 1] * (phi_2 * (d0 + r0 * curve) - phi_3 * curve)
            else:
                step = step + w.alpha[i + 1] * weight * d0
        x = step + w.sigma[i + 1] * np.sqrt(-np.expm1(-2 * eta * h)) * w.noise(x, i)
    return x


def unipc(w, x, p, variant="bh2", lower_order_final=True):
    """Zhao et al. 2023, algorithms 1 and 2, with the linear systems solved as such."""

    def move(x, i, order, seen, end=None):
        h = w.lam[i + 1] - w.lam[i]
        ratios = [(w.lam[i - k] - w.lam[i]) / h for k in range(1, order)] + ([1.0] if end is not None else [])
        others = [seen[k] for k in range(1, order)] + ([end] if end is not None else [])
        plain = w.sigma[i + 1] / w.sigma[i] * x - w.alpha[i + 1] * np.expm1(-h) * seen[0]
        if not ratios:
            return plain
        big = -h if variant == "bh1" else np.expm1(-h)
        phi, factorial, right = np.expm1(-h) / -h - 1, 1, []
        for k in range(1, len(ratios) + 1):
            right.append(phi * factorial / big)
            factorial *= k + 1
            phi = phi / -h - 1 / factorial
        matrix = np.stack([np.asarray(ratios) ** k for k in range(len(ratios))])
        rho = [0.5] if len(ratios) == 1 else np.linalg.solve(matrix, right)
        total = sum(a * (d - seen[0]) / r for a, d, r in zip(rho, others, ratios, strict=True))
        return plain - w.alpha[i + 1] * big * total

    seen, start, order = [], None, 0
    for i in range(w.steps):
        now = w.x0(x, w.alpha[i], w.sigma[i])
        if i:
            x = move(start, i - 1, order, seen, now)
        seen, start = [now, *seen], x
        order = min(p, i + 1, w.steps - i if lower_order_final else p)
        x = now * w.alpha[i + 1] if w.sigma[i + 1] == 0 else move(x, i, order, seen)
    return x


def pndm(w, x, start):
    """Liu et al. 2022, eq. 9-12 and algorithm 2; with "heun" Stable Diffusion's PLMS, which calls once more."""

    def phi(x, eps, i, bar_s):
        bar_t = w.alpha[i] ** 2
        down = np.sqrt(bar_t) * (np.sqrt((1 - bar_s) * bar_t) + np.sqrt((1 - bar_t) * bar_s))
        return np.sqrt(bar_s / bar_t) * x - (bar_s - bar_t) * eps / down

    def eps_at(x, t):
        return w.eps(x, *(float(f(jnp.asarray(t))) for f in (w.process.alpha, w.process.sigma)))

    seen = []
    for i in range(w.steps):
        t, s, bar_s = w.times[i], w.times[i + 1], w.alpha[i + 1] ** 2
        seen = [eps_at(x, t), *seen]
        if start == "runge_kutta" and i < 3:
            half = (t + s) / 2
            bar_half = float(w.process.alpha(jnp.asarray(half))) ** 2
            e2 = eps_at(phi(x, seen[0], i, bar_half), half)
            e3 = eps_at(phi(x, e2, i, bar_half), half)
            e4 = eps_at(phi(x, e3, i, bar_s), s)
            slope = (seen[0] + 2 * e2 + 2 * e3 + e4) / 6
        elif start == "heun" and i == 0:
            slope = (seen[0] + eps_at(phi(x, seen[0], i, bar_s), s)) / 2
        else:
            weights = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12)}.get(
                len(seen), (55 / 24, -59 / 24, 37 / 24, -9 / 24)
            )
            slope = sum(a * e for a, e in zip(weights, seen, strict=False))
        x = phi(x, slope, i, bar_s)
    return x


def lms(w, x, order=4):
    """k-diffusion's linear multistep: the polynomial through the last slopes, integrated over sigma / alpha."""
    level = w.sigma / w.alpha
    y, seen = x / w.alpha[0], []
    for i in range(w.steps):
        seen = [w.eps(w.alpha[i] * y, w.alpha[i], w.sigma[i]), *seen][:order]
        places = level[i - np.arange(len(seen))]
        for j, slope in enumerate(seen):
            others = np.delete(places, j)
            integral = np.poly1d(others, r=True).integ() if len(others) else np.poly1d([1, 0])
            y = y + (integral(level[i + 1]) - integral(level[i])) / np.prod(places[j] - others) * slope
    return y * w.alpha[-1]


VP, TABLE, EDM_ = VPLinear(), ddpm_linear(), EDM(sigma_max=10.0)
CASES = {
    "ancestral": (Ancestral(), ancestral, VP),
    "ancestral, table": (Ancestral(), ancestral, TABLE),
    "ancestral, edm": (Ancestral(), ancestral, EDM_),
    "ancestral, large": (Ancestral(variance="large"), lambda w, x: ancestral(w, x, large=True), VP),
    "ddim": (DDIM(), ddim, VP),
    "ddim, table": (DDIM(), ddim, TABLE),
    "ddim, eta": (DDIM(eta=0.5), lambda w, x: ddim(w, x, 0.5), VP),
    "euler": (Euler(), euler, VP),
    "euler_maruyama": (EulerMaruyama(), lambda w, x: euler(w, x, 1.0), VP),
    "reverse_diffusion": (ReverseDiffusion(), reverse_diffusion, TABLE),
    "probability_flow": (PredictorCorrector(predictor="probability_flow", corrector_steps=0), reverse_flow, TABLE),
    "predictor_corrector": (
        PredictorCorrector(corrector_steps=2),
        lambda w, x: reverse_diffusion(w, x, 2, 0.16),
        VP,
    ),
    "predictor_corrector, level": (
        PredictorCorrector(snr=0.1, step_size="level"),
        lambda w, x: reverse_diffusion(w, x, 1, 0.1, norms=False),
        TABLE,
    ),
    "heun": (Heun(), heun, VP),
    "heun, table": (Heun(), heun, TABLE),
    "heun, churn": (
        Heun(churn=3.0, churn_min=0.5, churn_max=7.0, churn_noise=1.003),
        lambda w, x: heun(w, x, 3.0, 0.5, 7.0, 1.003),
        EDM_,
    ),
    "2m": (DPMSolverPP(), dpm_2m, VP),
    "2m, table": (DPMSolverPP(), dpm_2m, TABLE),
    "2s": (DPMSolverPP(form="singlestep"), dpm_2s, VP),
    "3m": (DPMSolverPP(order=3), lambda w, x: dpm_sde(w, x, 3, eta=0.0), TABLE),
    "sde": (DPMSolverPP(order=1, eta=1.0), lambda w, x: dpm_sde(w, x, 1), VP),
    "sde 2m": (DPMSolverPP(eta=1.0), lambda w, x: dpm_sde(w, x, 2), VP),
    "sde 3m": (
        DPMSolverPP(order=3, eta=1.0, correction="heun"),
        lambda w, x: dpm_sde(w, x, 3, correction="heun"),
        VP,
    ),
    "unipc 1": (UniPC(order=1, variant="bh1"), lambda w, x: unipc(w, x, 1, "bh1"), VP),
    "unipc 2": (UniPC(variant="bh1", lower_order_final=False), lambda w, x: unipc(w, x, 2, "bh1", False), VP),
    "unipc 3": (UniPC(order=3), lambda w, x: unipc(w, x, 3), TABLE),
    "plms": (AdamsBashforth(), lambda w, x: pndm(w, x, "heun"), TABLE),
    "pndm": (AdamsBashforth(start="runge_kutta"), lambda w, x: pndm(w, x, "runge_kutta"), VP),
    "lms": (AdamsBashforth(variable="level", start="euler"), lms, EDM_),
}


@pytest.mark.parametrize("case", CASES)
def test_a_walk_is_the_samplers_own_linear_gaussian_recursion(case):
    sampler, by_hand, process = CASES[case]
    times = grid.linear(process, 10)
    x = process.sigma(times[0]) * jax.random.normal(jax.random.key(0), (3, 2))
    mine = sampler(process, exact(process), x, times, KEY).x0
    np.testing.assert_allclose(mine, by_hand(Walk(process, times), np.asarray(x)), rtol=1e-9, atol=1e-10)


def test_the_adaptive_solver_is_the_gaussians_exact_solution_to_its_tolerance():
    """x(s) = m alpha_s + (x(t) - m alpha_t) std_s / std_t, along the probability-flow ODE."""
    process, times = VPLinear(), jnp.asarray([1.0, 0.3])
    alpha, std = process.alpha(times), jnp.sqrt(process.alpha(times) ** 2 * STD**2 + process.sigma(times) ** 2)
    x = jax.random.normal(jax.random.key(0), (3, 2))
    solution = MEAN * alpha[1] + (x - MEAN * alpha[0]) * std[1] / std[0]
    out = Adaptive(rtol=1e-9, atol=1e-9)(process, exact(process), x, times, KEY).x0
    np.testing.assert_allclose(out, solution, atol=1e-8)
