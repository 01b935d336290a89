"""The public configuration: which road leads from a problem, or a family of problems, to a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, overload

import xarray as xr

from surrogates.errors import ProblemError
from surrogates.physics.optimal_control import Family, Problem
from surrogates.progress import Progress
from surrogates.training import Checkpoint

from .family import FamilyRoad, fit_family
from .fitted_family import FittedFamily
from .fitted_single import FittedControl
from .inverse import fit_measurements
from .paper import PaperRoad, by_paper
from .single import FeatureRoad, LevenbergMarquardtRoad, by_features, by_levenberg_marquardt
from .tasks import FittedTasks, TasksRoad, fit_tasks

METHODS = ("features", "levenberg-marquardt", "paper")


@dataclass(frozen=True, kw_only=True)
class OptimalControlNet:
    """Networks for optimal control through the Euler-Lagrange system: of one problem, or of a whole family.

    One problem, by `method`:

    - ``"features"``: scaled variables, end conditions exact by construction, controls eliminated by argmin H, one hidden
      layer of random features, outer weights by Gauss-Newton. The default: it meets smooth problems to 1e-10 in a second
    - ``"levenberg-marquardt"``: the same with all weights trained. Narrower networks, 10-100 times slower
    - ``"paper"``: the baseline after AW-EL-PINNs (arXiv 2509.25262): three networks x(t), u(t), p(t), five mean-square
      losses, adaptive weights, Adam. The paper's hyper-parameters aren't public to us; ours are in `PaperRoad`

    Several families by name: one network whose trunk they share, each with low-rank adapters of its own; `FittedTasks.adapt`
    adds a task from few cases.

    A family (`Problem.over`): cases are solved by Newton's method on the Euler-Lagrange system; a trunk of features of
    the inputs and a linear last layer give the modes of their trajectories. More cases are added until those held out
    are met.

    Parameters
    ----------
    method : road for one problem
    features, levenberg_marquardt, paper, family, tasks : what the roads can be told

    Examples
    --------
    >>> import torch
    >>> from surrogates.physics.optimal_control import Problem
    >>> decay = Problem(
    ...     dynamics=lambda t, x, u, θ: -x + u,
    ...     running_cost=lambda t, x, u, θ: 0.5 * (x[..., 0] ** 2 + u[..., 0] ** 2),
    ...     horizon=(0.0, 1.0), initial_state=(1.0,), control_size=1)
    >>> answer = OptimalControlNet().fit(decay).predict()
    >>> round(float(answer.J), 10), bool(answer.error < 1e-10)
    (0.1929092981, True)
    >>> family = OptimalControlNet().fit(decay.over(initial_state=[(-2, 2)]))
    >>> family.predict([[0.5], [1.0]]).sizes["case"]
    2
    """

    method: Literal["features", "levenberg-marquardt", "paper"] = "features"
    features: FeatureRoad = field(default_factory=FeatureRoad)
    levenberg_marquardt: LevenbergMarquardtRoad = field(default_factory=LevenbergMarquardtRoad)
    paper: PaperRoad = field(default_factory=PaperRoad)
    family: FamilyRoad = field(default_factory=FamilyRoad)
    tasks: TasksRoad = field(default_factory=TasksRoad)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ProblemError(f"method is {self.method!r}; it must be one of {METHODS}")

    @overload
    def fit(
        self,
        problem: Problem,
        *,
        measurements: None = ...,
        seed: int = ...,
        progress: Progress = ...,
        checkpoint: Checkpoint | None = ...,
    ) -> FittedControl: ...

    @overload
    def fit(
        self,
        problem: Mapping[str, Family],
        *,
        measurements: None = ...,
        seed: int = ...,
        progress: Progress = ...,
        checkpoint: Checkpoint | None = ...,
    ) -> FittedTasks: ...

    @overload
    def fit(
        self,
        problem: Family,
        *,
        measurements: None = ...,
        seed: int = ...,
        progress: Progress = ...,
        checkpoint: None = ...,
    ) -> FittedFamily: ...

    @overload
    def fit(
        self,
        problem: Family,
        *,
        measurements: xr.Dataset,
        seed: int = ...,
        progress: Progress = ...,
        checkpoint: None = ...,
    ) -> FittedControl: ...

    def fit(
        self,
        problem: Problem | Family | Mapping[str, Family],
        *,
        measurements: xr.Dataset | None = None,
        seed: int = 0,
        progress: Progress = None,
        checkpoint: Checkpoint | None = None,
    ) -> FittedControl | FittedFamily | FittedTasks:
        """Fit a network.

        Parameters
        ----------
        problem : one problem, a family, or several families by name, as tasks that share a trunk
        measurements : noisy readings of states and controls over `time`, to estimate what varies in a family of
            parameters and initial states: variables named after states and controls, NaN where nothing was read, noise
            (standard deviation) in attrs["noise"]
        seed : of all that is drawn
        progress : None, True for a bar, or a function of (steps done, value)
        checkpoint : where the roads "levenberg-marquardt" and "paper", and sets of families, keep their state; they go on
            from it if it exists

        Raises
        ------
        ProblemError
            If the problem can't be posed or the road can't take it.
        NumericalError
            If no solution was found.
        DataError
            If measurements don't fit the problem.
        """
        if not isinstance(problem, Problem | Family | Mapping):
            raise ProblemError(
                f"problem is a {type(problem).__name__}; a Problem, a family from Problem.over(), or a mapping of names to "
                f"families is expected"
            )
        is_short = isinstance(problem, Family) or (isinstance(problem, Problem) and self.method == "features")
        if checkpoint is not None and is_short:
            raise ProblemError(
                "checkpoint goes with sets of families, and with 'levenberg-marquardt' and 'paper' for one problem; "
                "random features and single families keep no state between their rounds"
            )
        if isinstance(problem, Mapping):
            if measurements is not None:
                raise ProblemError("measurements go with one family; fit each task's own")
            return fit_tasks(problem, self.tasks, seed=seed, progress=progress, checkpoint=checkpoint)
        if measurements is not None:
            return fit_measurements(problem, measurements)
        if isinstance(problem, Family):
            operator, report = fit_family(problem, self.family, seed=seed, progress=progress)
            return FittedFamily(operator, report)
        if self.method == "paper":
            return by_paper(problem, self.paper, seed=seed, progress=progress, checkpoint=checkpoint)
        if self.method == "features":
            solution, report = by_features(problem, self.features, seed=seed, progress=progress)
        else:
            solution, report = by_levenberg_marquardt(
                problem, self.levenberg_marquardt, seed=seed, progress=progress, checkpoint=checkpoint
            )
        return FittedControl(problem, report, solution.trajectory)
