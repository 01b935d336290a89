"""Draws from a posterior of a few numbers by an ensemble of walkers, started so that several modes are found.

The numbers u are standard normal a priori: an input x is the value whose probability under its law is that of u. The start
is annealed (Neal 2001; as in sequential Monte Carlo, Del Moral, Doucet & Jasra 2006): points of a Sobol sequence are weighed
by the likelihood to a power β, as large as leaves half of the walkers' number effective; walkers are drawn from them, move,
and are weighed again, until β = 1. So each mode begins with about its share of walkers. They then move by emcee
(Foreman-Mackey et al. 2013), one half given the other: to draws from density estimates of the other half, a smooth one and a
narrow one, which lead from mode to mode (as in kombine, Farr & Farr), and along differences of walkers (Nelson, Ford & Payne
2014). In one to four inputs that takes a quarter or less of the steps that stretches (Goodman & Weare 2010) take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from surrogates.errors import NumericalError, missing_extra

Floats = NDArray[np.float64]
#: (m, p) standard normal numbers -> log-likelihoods (m,)
LogLikelihood = Callable[[Floats], Floats]
#: points of the first set; steps between two powers of the likelihood; powers at the most
POINTS, STEPS, POWERS = 2048, 8, 60
#: width of the narrow density estimate, of the walkers' own spread
NARROW = 0.15
#: steps between two looks at the autocorrelation time, of which so many make a chain long enough
LOOK, TIMES = 100, 30
#: r_hat from which on walkers disagree
DISAGREE = 1.1


@dataclass(frozen=True, eq=False)
class Chain:
    """Positions of walkers after warm-up.

    u : (steps, walkers, p); log_density : (steps, walkers), of u
    time : (p,) autocorrelation times in steps; r_hat : (p,) how walkers differ from each other: 1 where they don't
    acceptance : share of moves that were taken; evaluations : of the likelihood
    """

    u: Floats
    log_density: Floats
    time: Floats
    r_hat: Floats
    acceptance: float
    evaluations: int

    @property
    def is_long(self) -> bool:
        """Whether the chain has many autocorrelation times."""
        return bool((len(self.u) >= TIMES * self.time).all())


def run_chain(log_likelihood: LogLikelihood, p: int, *, walkers: int, most_steps: int, seed: int) -> Chain:
    """Walk until the chain, without a fifth for warm-up, has 30 autocorrelation times and walkers agree, or `most_steps`.

    Raises
    ------
    MissingExtraError
        If emcee isn't installed.
    NumericalError
        If the likelihood is zero everywhere.
    """
    emcee, evaluations = _emcee(), 0
    generator = np.random.default_rng(seed)

    def counted(u: Floats) -> Floats:
        nonlocal evaluations
        evaluations += len(u)
        found = log_likelihood(u)
        return np.asarray(np.where(np.isnan(found), -np.inf, found))

    start = _annealed(counted, p, walkers, generator)
    sampler = _sampler(emcee, counted, walkers, p, 1.0, generator)
    state, steps = sampler.run_mcmc(start, min(LOOK, most_steps), skip_initial_state_check=True), min(LOOK, most_steps)
    while steps < most_steps:
        kept = sampler.get_chain(discard=steps // 5)
        if len(kept) >= TIMES * _time(emcee, kept).max() and (_r_hat(kept) < DISAGREE).all():
            break
        more = min(LOOK, most_steps - steps)
        state, steps = sampler.run_mcmc(state, more, skip_initial_state_check=True), steps + more
    u, log_density = sampler.get_chain(discard=steps // 5), sampler.get_log_prob(discard=steps // 5)
    return Chain(u, log_density, _time(emcee, u), _r_hat(u), float(sampler.acceptance_fraction.mean()), evaluations)


def _emcee() -> Any:
    try:
        import emcee
    except ImportError as error:
        raise missing_extra("emcee", "design") from error
    return emcee


def _sampler(emcee: Any, log_likelihood: LogLikelihood, walkers: int, p: int, β: float, generator: Any) -> Any:
    def log_density(u: Floats) -> Floats:
        return np.asarray(β * log_likelihood(u) - 0.5 * (u**2).sum(axis=1))

    wide, narrow, along = emcee.moves.KDEMove(), emcee.moves.KDEMove(NARROW), emcee.moves.DEMove()
    moves = [(wide, 0.4), (narrow, 0.4), (along, 0.2)]
    sampler = emcee.EnsembleSampler(walkers, p, log_density, vectorize=True, moves=moves)
    sampler.random_state = np.random.RandomState(int(generator.integers(2**32))).get_state()
    return sampler


def _annealed(log_likelihood: LogLikelihood, p: int, walkers: int, generator: np.random.Generator) -> Floats:
    """Walkers (walkers, p) that are spread about as the posterior is."""
    emcee = _emcee()
    unit = qmc.Sobol(p, scramble=True, seed=generator).random(POINTS)
    u = np.asarray(norm.ppf(np.clip(unit, 1e-10, 1 - 1e-10)))
    values, β = log_likelihood(u), 0.0
    if not np.isfinite(values).any():
        raise NumericalError(
            "the likelihood is zero wherever the prior reaches: the covariance of the readings is singular"
        )
    for _ in range(POWERS):
        step = _step(values, 1.0 - β, 0.5 * walkers)
        weights = np.exp(step * (values - values.max()))
        chosen = _systematic(weights, walkers, generator)
        u, β = _apart(u[chosen], generator), β + step
        if β >= 1.0:
            break
        sampler = _sampler(emcee, log_likelihood, walkers, p, β, generator)
        u = np.asarray(sampler.run_mcmc(u, STEPS, skip_initial_state_check=True).coords)
        values = log_likelihood(u)
    return u


def _step(values: Floats, most: float, wanted: float) -> float:
    """The largest step of β, up to `most`, that leaves an effective number of points."""

    def effective(step: float) -> float:
        weights = np.exp(step * (values - values.max()))
        return float(weights.sum() ** 2 / (weights**2).sum())

    if effective(most) >= wanted:
        return most
    low, high = 0.0, most
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= wanted else (low, middle)
    return max(low, 1e-6 * most)


def _systematic(weights: Floats, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    edges = np.cumsum(weights / weights.sum())
    places = (generator.random() + np.arange(count)) / count
    return np.minimum(np.searchsorted(edges, places), len(weights) - 1).astype(np.int64)


def _apart(chosen: Floats, generator: np.random.Generator) -> Floats:
    """Walkers that aren't quite the same: emcee moves along their differences."""
    spread = np.maximum(chosen.std(axis=0), 1e-6)
    return np.asarray(chosen + 1e-3 * spread * generator.standard_normal(chosen.shape))


def _time(emcee: Any, u: Floats) -> Floats:
    """Autocorrelation times (p,) of a chain (steps, walkers, p)."""
    if len(u) < 4 or not (np.ptp(u, axis=(0, 1)) > 0).all():
        return np.full(u.shape[2], math.inf)
    with np.errstate(invalid="ignore"):  # of a walker that hasn't moved there is none, and none of the chain
        found = np.asarray(emcee.autocorr.integrated_time(u, tol=0, quiet=True))
    return np.where(np.isfinite(found), np.maximum(found, 1.0), math.inf)


def _r_hat(u: Floats) -> Floats:
    """Potential scale reduction (p,) of the walkers' halves (Gelman & Rubin 1992, split as Gelman et al. 2013)."""
    half = len(u) // 2
    if half < 2:
        return np.full(u.shape[2], math.inf)
    parts = np.concatenate([u[:half], u[half : 2 * half]], axis=1)
    within, between = parts.var(axis=0, ddof=1).mean(axis=0), parts.mean(axis=0).var(axis=0, ddof=1)
    return np.asarray(np.sqrt((half - 1) / half + between / np.maximum(within, 1e-300)))
