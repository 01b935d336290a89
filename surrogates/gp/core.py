"""A fitted model's inner half, in scaled units: hyper-parameter draws, and the posterior at each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.health import Smoothing
from surrogates.posterior import Moments, mix
from surrogates.schema import Points

from .collapse import Readings, trend_prior
from .crossed import crossed_moments
from .fitting import Posterior, Problem, conditioner, make_problem, usable_solvers
from .health import Draw, smoothing
from .kernels import Kernel
from .laplace import Draws
from .leave_one_out import Solved, indispensable, leave_one_out
from .library import Library
from .niw import Hyper, NiwProcess, niw_alpha, niw_process
from .objective import Layout
from .outputs import Output
from .preparing import Scaled, Settings, rescale
from .process import Conditioned, Process, StationaryCorrelations
from .solvers.inducing import Inducing
from .solvers.rotation import Rotation
from .student_t import reweighted
from .tanimoto import TanimotoCorrelations

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: so many rows may be put into one matrix for influences, where the fit didn't need one
SMOOTHED = 3000


class Question(NamedTuple):
    """Scaled places x (m, d) and tasks (m,), and the posteriors to ask, one per draw."""

    x: Floats
    task: Integers
    processes: tuple[Process, ...]

    def parts(self, rows: slice) -> list[Moments]:
        """Mean and variance of scaled f at some of the places, of each posterior."""
        x, task = self.x[rows], self.task[rows]
        return [_moments(process, x, task) for process in self.processes]


@dataclass(frozen=True, eq=False)
class Core:
    """Scaled data, settings and weighted hyper-parameters; posteriors are made from them on first use.

    niw : what expectation-maximisation arrived at, for paper mode
    """

    scaled: Scaled
    settings: Settings
    draws: Draws
    mode: Floats  # (p,)
    niw: Hyper | None = None

    @staticmethod
    def of_fit(scaled: Scaled, settings: Settings, posterior: Posterior, problem: Problem) -> Core:
        """The core of a fit, whose problem need not be made again."""
        core = Core(scaled, settings, posterior.draws, posterior.mode)
        core.__dict__["problem"] = problem  # a cached property, whose value is known already
        return core

    @cached_property
    def problem(self) -> Problem:
        """The collapsed data and their objective."""
        return make_problem(self.scaled, self.settings)

    @property
    def width(self) -> int:
        """Numbers that a prediction holds per place; `is_by_task` if it is quick for places of one task side by side."""
        solver, design = self.problem.objective.solver, self.problem.objective.design
        if isinstance(solver, Rotation):
            return 2 * len(design.x) // design.tasks
        if isinstance(solver, Inducing):
            return len(solver.Z) + int(np.diff(design.bounds).max())
        return len(design.x) + design.prior_mean.size

    @property
    def is_by_task(self) -> bool:
        """Whether each task's readings are factored anew for every block of places."""
        return isinstance(self.problem.objective.solver, Inducing)

    @property
    def layout(self) -> Layout:
        """How the hyper-parameters are laid out."""
        return self.problem.objective.layout

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """One posterior per draw."""
        if self.niw is not None:
            return (self._niw_process(self.niw),)
        at = conditioner(self.problem, self.settings, self.scaled.trend, self.scaled.library)
        return tuple(at(θ) for θ in self.draws.parameters)

    def asked(self, points: Points) -> Question:
        """The points in scaled units, with posteriors that know them."""
        x, library = rescale(points, self.scaled, self.settings)
        if library is None:
            return Question(x, points.task, self.processes)
        return Question(x, points.task, tuple(_knowing(process, library) for process in self.processes))

    @property
    def weights(self) -> Floats:
        """(k,) of the posteriors."""
        return np.ones(1) if self.niw is not None else self.draws.weights

    def log_noise(self) -> Floats:
        """(k, F) logarithms of the noise groups' variances (of known noise: of the nugget), for each posterior."""
        if self.niw is not None:
            return self.niw.log_noise[None]
        return np.stack([self.layout.split(θ).log_noise for θ in self.draws.parameters])

    def noise_variances(self) -> Floats:
        """(F,) variances of the noise groups, where they are learnt: the mean over the draws; at the box's centre."""
        return np.asarray(self.weights @ self.noise_by_draw())

    def noise_by_draw(self) -> Floats:
        """(k, F) the same of each draw."""
        levels = len(self.scaled.readings.groups)
        return np.asarray(self.tails * np.exp(self.log_noise()[:, :levels]))

    def noise_variances_at(self, x: Floats) -> Floats:
        """(F, m) the same at scaled places x (m, d), where noise varies with the place."""
        return np.asarray(np.einsum("k,kfm->fm", self.weights, self.noise_by_draw_at(x)))

    def noise_by_draw_at(self, x: Floats) -> Floats:
        """(k, F, m) the same of each draw."""
        basis, levels, φ = self.scaled.readings.basis, len(self.scaled.readings.groups), self.log_noise()
        assert basis is not None
        return np.asarray(self.tails * np.exp(φ[:, :levels, None] + (φ[:, levels:] @ basis(x).T)[:, None]))

    @property
    def tails(self) -> float:
        """Variance of a reading's noise over its squared scale: ν/(ν-2) of Student's t."""
        ν = self.scaled.degrees
        return 1.0 if ν is None else ν / (ν - 2)

    @property
    def output(self) -> Output:
        """The way back to the target's units."""
        return Output(self.scaled.target, self.scaled.warp)

    def leave_one_out(self) -> Moments:
        """Mean and variance of every scaled, warped reading given the others, hyper-parameters kept."""
        return mix(self._left_out_parts(), self.weights)

    def left_out_outputs(self) -> Moments:
        """The same in the target's own units."""
        return self.output.mixed(self._left_out_parts(), self.weights)

    def leave_one_out_at_mode(self) -> Moments:
        """The same at the hyper-parameters' mode alone, which costs one evaluation; in scaled, warped units."""
        return self._leave_one_out(self.mode)

    def smoothing(self) -> Smoothing | None:
        """Leverage and influence of every reading, in the target's units.

        None in paper mode, whose plug-in has none, and where a solver for many tasks has more rows than one matrix holds.
        """
        core = self
        if not all(isinstance(process, Conditioned) for process in self.processes):
            if self.niw is not None or len(self.problem.objective.design.x) > SMOOTHED:
                return None
            core = replace(self, settings=replace(self.settings, solver="dense"))
        noise = self.problem.objective.design.noise
        parts = zip(core.processes, core.weights, core.log_noise(), strict=True)
        draws = [
            Draw(process, w, noise.reading_variance(φ)) for process, w, φ in parts if isinstance(process, Conditioned)
        ]
        return smoothing(draws, self.problem.collapsed, self.scaled.readings.y, unit=self.scaled.target.spread)

    def with_readings(self, readings: Readings, library: Library | None) -> Core:
        """The same hyper-parameters and scaling, on other readings; `library` holds all their places, where vectors are."""
        prior = trend_prior(readings, self.scaled.trend)
        scaled = replace(self.scaled, prior=prior, readings=readings, library=library)
        if scaled.degrees is not None:
            scaled = reweighted(scaled, replace(self.settings, solver="auto"), self.mode)
        settings = self.settings
        # new readings may break the pattern that the solver asked for needs
        if settings.solver not in ("auto", Inducing.name) and settings.solver not in usable_solvers(scaled, settings):
            settings = replace(settings, solver="auto")
        return Core(scaled, settings, self.draws, self.mode)

    def _left_out_parts(self) -> list[Moments]:
        draws = [self.mode] if self.niw is not None else list(self.draws.parameters)
        return [self._leave_one_out(θ) for θ in draws]

    def _leave_one_out(self, θ: Floats) -> Moments:
        solved, weight = self._solved(θ), self.scaled.readings.weight
        moments = leave_one_out(self.problem.collapsed, self.scaled.readings.y, solved)
        if weight is None:
            return moments
        # its own weight says what a reading was; left out, it's one of Student's t
        return Moments(moments.mean, moments.variance + solved.reading_variance * (self.tails * weight - 1.0))

    def _solved(self, θ: Floats) -> Solved:
        design = self.problem.objective.design
        if self.niw is not None:
            rows = design.noise.rows(self.niw.log_noise)
            α, diagonal = niw_alpha(design, self.niw_precision, self.niw)
            return Solved(α, diagonal, rows.y, rows.D, design.noise.reading_variance(self.niw.log_noise))
        _, rows = self.problem.objective.state(θ)
        gradient = self.problem.objective.gradient(θ)
        variance = design.noise.reading_variance(self.layout.split(θ).log_noise)
        # zero but for rounding, which a division would blow up
        p_diagonal = np.where(indispensable(design), 0.0, gradient.p_diagonal)
        return Solved(gradient.alpha, p_diagonal, rows.y, rows.D, variance)

    @property
    def niw_precision(self) -> float:
        """π = (1-ρ)/ρ of the restricted-likelihood fit; 1 where there is a single task."""
        common, own = self._pair()
        return own / common if own > 0 else 1.0

    def niw_base(self) -> tuple[StationaryCorrelations, float]:
        """Correlations and amplitude of κ = (1-ρ)sψ; with a single task, of half of sψ, since μ takes the other."""
        assert isinstance(self.settings.kernel, Kernel)
        shapes = np.exp(self.layout.split(self.mode).log_shapes)
        common, own = self._pair()
        return StationaryCorrelations((self.settings.kernel,), shapes), own if own > 0 else 0.5 * common

    def _pair(self) -> tuple[float, float]:
        """Common and own amplitude at the mode."""
        pair = self.layout.sharing.mixing(self.layout.split(self.mode).sharing).pair
        assert pair is not None
        return float(pair[:, 0].sum()), float(pair[:, 1].sum())

    def _niw_process(self, hyper: Hyper) -> NiwProcess:
        correlations, amplitude = self.niw_base()
        design = self.problem.objective.design
        return niw_process(design, self.scaled.trend, correlations, amplitude, self.niw_precision, hyper)


def _moments(process: Process, x: Floats, task: Integers) -> Moments:
    if isinstance(process, Conditioned) and isinstance(process.correlations, TanimotoCorrelations):
        return crossed_moments(process, x, task)
    return process.moments(x, task)


def _knowing(process: Process, library: Library) -> Conditioned:
    """The same posterior, which can be asked at the places of `library` too."""
    assert isinstance(process, Conditioned)
    assert isinstance(process.correlations, TanimotoCorrelations)
    return replace(process, correlations=process.correlations.knowing(library))
