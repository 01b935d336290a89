"""`HealthReport`: one labelled table, as text, as xarray and as a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from .findings import name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: of the central intervals whose coverage is told
LEVELS = (0.5, 0.9, 0.95)
#: most lines of a table, and most readings named
LINES, NAMED = 12, 10


@dataclass(frozen=True, eq=False, repr=False)
class HealthReport:
    """How far a fit can be trusted; made by ``fitted.health()``.

    ``str(health)`` tells it in words, ``to_dataset()`` in numbers, ``plot()`` in one figure. All three say what `data`
    holds; ``HealthReport(data)`` makes the report again, for instance of a table that was kept in a netCDF file.

    Attributes
    ----------
    data : xr.Dataset with

        - over ``reading``: observed, mean, std, residual (left-out, in the target's units), z = residual/std, pit, leverage,
          influence (the largest change of any prediction by leaving the reading out, in standard deviations), shift and
          largest (root mean square and largest change of the fitted values, in the target's units), place, and the codes
          reading_task and reading_fidelity
        - scores count, rmse, nlpd, crps, coverage (over ``level``), mean_z, mean_square, effective_parameters: of all
          readings, and with the prefixes ``task_``, ``fidelity_``, ``cell_`` over tasks, fidelities and both
        - tests: effective_readings (n²/Σρ² of the left-out residuals' correlations), coverage_p, too_large_p, too_small_p,
          pit_statistic and pit_p (Cramér-von Mises), task_too_large_p: how probable this is if the model is right
        - condition: condition number of the covariance matrix, 1-norm
    """

    data: xr.Dataset

    def __repr__(self) -> str:
        return f"<HealthReport of {self.data.attrs['target']!r}: {_counted(len(self.warnings), 'warning')}>"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know, in words, most important first."""
        return tuple(self.data.attrs["warnings"].splitlines())

    @property
    def bounds(self) -> tuple[str, ...]:
        """Hyper-parameters that ended at a bound."""
        return tuple(self.data.attrs["bounds"].splitlines())

    def to_dataset(self) -> xr.Dataset:
        """Everything, labelled, with units; a copy."""
        return self.data.copy(deep=True)

    def plot(self) -> Figure:
        """One figure of six panels; needs matplotlib.

        Left-out predictions against readings, standardised residuals against predictions, probability values, coverage,
        influence of single readings, and scores of tasks and fidelities. Grey bands hold 95 % of what a right model gives.

        Raises
        ------
        MissingExtraError
            If matplotlib isn't installed.
        """
        from .figure import figure

        return figure(
            self.data, f"health of the model of {self.data.attrs['target']}: {_counted(len(self.warnings), 'warning')}"
        )

    def __str__(self) -> str:
        d = self.data
        lines = [f"health of the model of {d.attrs['target']!r}: {_counted(len(self.warnings), 'warning')}"]
        lines += self._overall()
        for kind in ("task", "fidelity", "cell"):
            lines += _table(d, kind)
        lines += self._algebra()
        lines += [f"  warning: {warning}" for warning in self.warnings] or ["  no warnings"]
        return "\n".join(lines)

    def _overall(self) -> list[str]:
        d, unit = self.data, _unit(self.data)
        n, size = int(d["count"]), float(d["effective_readings"])
        if n == 0:
            return ["  no reading can be predicted from the others"]
        inside = "/".join(f"{100 * float(share):.3g}" for share in d["coverage"])
        p = "/".join(f"{float(value):.2g}" for value in d["coverage_p"])
        return [
            f"  left out: {n} of {d.sizes['reading']} readings, worth {size:.3g} independent ones",
            f"    RMSE {float(d['rmse']):.4g}{unit}, NLPD {float(d['nlpd']):.4g}, CRPS {float(d['crps']):.4g}{unit}",
            f"    inside 50/90/95 % intervals: {inside} % (probability of so few or fewer {p})",
            f"    standardised residuals: mean {float(d['mean_z']):+.2g}, mean square {float(d['mean_square']):.3g} "
            f"(probability of a larger one {float(d['too_large_p']):.2g}, of a smaller one {float(d['too_small_p']):.2g})",
            f"    probability values uniform: p = {float(d['pit_p']):.2g} (Cramér-von Mises, dependence allowed for)",
        ]

    def _algebra(self) -> list[str]:
        d = self.data
        lines = []
        if "condition" in d:
            lines.append(
                f"  effective number of parameters {float(d['effective_parameters']):.4g} of {d.sizes['reading']} readings; "
                f"condition number {float(d['condition']):.2g}"
            )
        lines.append(f"  at their bounds: {', '.join(self.bounds) or 'none'}")
        if "influence" in d and int(d["count"]):
            moved = np.nan_to_num(d["influence"].to_numpy(), nan=-1.0)
            shift, unit = d["shift"].to_numpy(), _unit(d)
            lines.append(
                "  most influential readings (largest move of a prediction by leaving it out, in standard deviations)"
            )
            for r in np.argsort(-moved, kind="stable")[:NAMED]:
                if moved[r] > 0:
                    lines.append(
                        f"    {moved[r]:<6.2g} {name_of(d, int(r))}: fitted values by {shift[r]:.2g}{unit} (rms)"
                    )
        return lines


def _table(d: xr.Dataset, kind: str) -> list[str]:
    """Scores by task, by fidelity, or by both; the worst, where there are many."""
    dims = ("task", "fidelity") if kind == "cell" else (kind,)
    if min(d.sizes[dim] for dim in dims) < 2:
        return []
    names = [str(name) for name in d["task" if kind == "cell" else kind].to_numpy()]
    if kind == "cell":
        names = [f"{task}, {level}" for task in names for level in d["fidelity"].to_numpy()]
    columns = {
        title: d[f"{kind}_{name}"].to_numpy().ravel()
        for title, name in (
            ("n", "count"),
            ("p_eff", "effective_parameters"),
            ("RMSE", "rmse"),
            ("NLPD", "nlpd"),
            ("CRPS", "crps"),
            ("mean z", "mean_z"),
        )
        if f"{kind}_{name}" in d
    }
    inside = d[f"{kind}_coverage"].to_numpy().reshape(-1, len(LEVELS))
    columns |= {f"in {100 * level:g} %": 100 * inside[:, k] for k, level in enumerate(LEVELS)}
    seen = np.flatnonzero(columns["n"] > 0)
    if len(seen) > LINES:
        seen = seen[np.argsort(-columns["NLPD"][seen], kind="stable")]
    title = "by task and fidelity" if kind == "cell" else f"by {kind}"
    width = max(len(title), *(2 + len(names[r]) for r in seen[:LINES]), 0)
    lines = [f"  {title:<{width}}" + "".join(f"{name:>9}" for name in columns)]
    for r in seen[:LINES]:
        lines.append(f"    {names[r]:<{width - 2}}" + "".join(f"{column[r]:>9.3g}" for column in columns.values()))
    return lines + ([f"    ... the worst of {len(seen)} by NLPD; all are in to_dataset()"] if len(seen) > LINES else [])


def _unit(d: xr.Dataset) -> str:
    return f" {d.attrs['units']}" if d.attrs["units"] else ""


def _counted(n: int, word: str) -> str:
    return f"{n or 'no'} {word}{'s' * (n != 1)}"
