"""How the tasks' processes are correlated: B in Cov(g_τ(x), g_τ'(x')) = Σ_c B_c[τ, τ'] ψ_c(x, x').

    Exchangeable   B = s [ρ 11' + (1-ρ) I]        a common mean process and one process per task
    Coregional     B = A A' + diag(v)             intrinsic coregionalisation of rank q

Each maps its parameters to B and its derivatives; solvers that exploit B = common·11' + own·I read the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixing:
    """B and its derivatives at one point.  C kernels, T tasks, k parameters.

    given, given_jacobian : B (C, T, T) and its derivatives (k, C, T, T); or, if the pair says it all, the number of
        tasks and None: thousands of tasks have large matrices, which are made when somebody asks for them
    pair : (C, 2) with B_c = pair[c, 0] 11' + pair[c, 1] I, and its derivatives (k, C, 2); None if B isn't of that form
    """

    given: Floats | int
    given_jacobian: Floats | None = None
    pair: Floats | None = None
    pair_jacobian: Floats | None = None

    @cached_property
    def matrix(self) -> Floats:
        """B (C, T, T)."""
        if not isinstance(self.given, int):
            return self.given
        assert self.pair is not None
        return _expand(self.pair, self.given)

    @cached_property
    def jacobian(self) -> Floats:
        """Derivatives of B (k, C, T, T)."""
        if self.given_jacobian is not None:
            return self.given_jacobian
        assert isinstance(self.given, int)
        assert self.pair_jacobian is not None
        return _expand(self.pair_jacobian, self.given)

    @property
    def components(self) -> int:
        """C"""
        return len(self.matrix) if self.pair is None else len(self.pair)

    @property
    def variances(self) -> Floats:
        """(T,) diagonal of the kernels' sum; of exchangeable tasks (1,), as all have the same."""
        if self.pair is None:
            return np.asarray(np.einsum("ctt->t", self.matrix))
        return np.array([self.pair.sum()])


class Sharing(Protocol):
    """A parametrised family of task covariances."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def bounds(self) -> list[tuple[float, float]]: ...
    @property
    def prior(self) -> tuple[Floats, Floats]: ...  # mean, standard deviation
    @property
    def components(self) -> int: ...
    @property
    def component_names(self) -> tuple[str, ...]: ...  # "" where there is one
    def mixing(self, parameters: Floats) -> Mixing: ...
    def start(self, correlation: float) -> Floats: ...


#: normal prior of log s: the target is scaled to unit residual variance, which smooth processes, hidden by the trend, exceed
AMPLITUDE_PRIOR = (1.5, 2.0)
#: normal prior of the logit of the correlation between tasks, and its bounds
CORRELATION_PRIOR, CORRELATION_BOUNDS = (0.5, 1.75), (-6.0, 9.0)


@dataclass(frozen=True)
class Exchangeable:
    """s [ρ ψ0 + (1-ρ) 1{τ=τ'} ψ1]; parameters log s and, with more than one task, logit ρ.

    two_kernels : ψ0 and ψ1 have length-scales of their own
    amplitude : mean and deviation of log s's normal prior
    """

    tasks: int
    two_kernels: bool = False
    amplitude: tuple[float, float] = AMPLITUDE_PRIOR

    @property
    def components(self) -> int:
        return 2 if self.two_kernels else 1

    @property
    def component_names(self) -> tuple[str, ...]:
        return ("common", "own") if self.two_kernels else ("",)

    @property
    def names(self) -> tuple[str, ...]:
        return ("log s", "logit ρ") if self.tasks > 1 else ("log s",)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        mean, deviation = self.amplitude
        return [(min(-8.0, mean - 5 * deviation), 8.0), CORRELATION_BOUNDS][: len(self.names)]

    @property
    def prior(self) -> tuple[Floats, Floats]:
        mean, deviation = np.transpose([self.amplitude, CORRELATION_PRIOR][: len(self.names)])
        return mean, deviation

    def start(self, correlation: float) -> Floats:
        return np.array([0.0, np.log(correlation / (1 - correlation))])[: len(self.names)]

    def mixing(self, parameters: Floats) -> Mixing:
        s = np.exp(parameters[0])
        single = self.tasks == 1
        ρ = 1.0 if single else 1.0 / (1.0 + np.exp(-parameters[1]))
        one, other = (1.0, 0.0), (0.0, 1.0)
        # rows: kernels; columns: common, own
        common = np.array([one, (0.0, 0.0)] if self.two_kernels else [one])
        own = np.array([(0.0, 0.0), other] if self.two_kernels else [other])
        pair = s * (ρ * common + (1 - ρ) * own)
        jacobian = [pair]
        if not single:
            jacobian.append(s * ρ * (1 - ρ) * (common - own))
        slopes = np.stack(jacobian)
        return Mixing(self.tasks, None, pair, slopes)


@dataclass(frozen=True)
class Coregional:
    """B = A A' + diag(v), A (T, q); parameters A row by row, then log v.  (Álvarez, Rosasco & Lawrence 2012, sec. 4.2.)"""

    tasks: int
    rank: int

    @property
    def components(self) -> int:
        return 1

    @property
    def component_names(self) -> tuple[str, ...]:
        return ("",)

    @property
    def names(self) -> tuple[str, ...]:
        factors = [f"A[{t},{r}]" for t in range(self.tasks) for r in range(self.rank)]
        return (*factors, *(f"log v[{t}]" for t in range(self.tasks)))

    @property
    def bounds(self) -> list[tuple[float, float]]:
        return [(-30.0, 30.0)] * (self.tasks * self.rank) + [(-9.0, 7.0)] * self.tasks

    @property
    def prior(self) -> tuple[Floats, Floats]:
        factors = self.tasks * self.rank
        mean = np.concatenate([np.zeros(factors), np.full(self.tasks, -1.0)])
        return mean, np.concatenate([np.full(factors, 1.5), np.full(self.tasks, 2.0)])

    def start(self, correlation: float) -> Floats:
        factors = np.zeros((self.tasks, self.rank))
        factors[:, 0] = np.sqrt(correlation)
        # further columns need some asymmetry, or their gradient vanishes for ever
        for r in range(1, self.rank):
            factors[:, r] = 0.2 * np.cos(np.pi * r * (np.arange(self.tasks) + 0.5) / self.tasks)
        return np.concatenate([factors.ravel(), np.full(self.tasks, np.log(1 - correlation))])

    def mixing(self, parameters: Floats) -> Mixing:
        T, q = self.tasks, self.rank
        A, v = parameters[: T * q].reshape(T, q), np.exp(parameters[T * q :])
        jacobian = np.zeros((T * q + T, 1, T, T))
        for t in range(T):
            for r in range(q):
                jacobian[t * q + r, 0, t, :] += A[:, r]
                jacobian[t * q + r, 0, :, t] += A[:, r]
            jacobian[T * q + t, 0, t, t] = v[t]
        return Mixing((A @ A.T + np.diag(v))[None], jacobian)


def _expand(pair: Floats, tasks: int) -> Floats:
    """(..., 2) -> (..., T, T)."""
    flat = np.repeat(pair[..., :1], tasks * tasks, axis=-1)
    flat[..., :: tasks + 1] += pair[..., 1:]
    return flat.reshape(*pair.shape[:-1], tasks, tasks)
