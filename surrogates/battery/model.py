"""The public configuration, and what a population teaches."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError, FitWarning
from surrogates.persistence import Archive, write
from surrogates.physics.virtual_battery import Fleet
from surrogates.progress import Progress, progress_bar

from .adaptation import adapt
from .calibration import Calibration, rehearse
from .continuing import remembered
from .encoder_training import EncoderRecipe, train_encoder
from .fingerprints import Fingerprints, most_load_of
from .intake import Data, read
from .intake.sources import has_unit_dim
from .misfit import Recipe, own_errors, windows_of
from .population import Population, fit_population
from .prior import Prior
from .records import Floats, Records
from .report import BatteryReport
from .settings import Settings, check_comfort, check_recipe
from .units import AdaptedUnits, SetPoint, Stamp

#: the least population that says something of the next unit
FEWEST_UNITS, FEWEST_DAYS = 4, 10.0
#: days after which a unit's own largest load is believed to be the most it can draw
SEEN_ENOUGH = 14.0


@dataclass(frozen=True, kw_only=True)
class VirtualBatteryNet:
    """Air-conditioned rooms as virtual batteries: one physical network, a private fingerprint for each unit.

    A room is three passive thermal stores (air, inner mass, deep mass) and a disturbance in innovation form,

        dT_a/dt = ko (T_o - T_a) + km (M - T_a) + Σ g_j G_j + q - b η(T_o, w, p) p + d
        dM/dt   = kr (T_a - M) + kmo (T_o - M) + k2 (M2 - M) + Σ h_j G_j,      dM2/dt = kr2 (M - M2),      dd/dt = -kd d

    stepped exactly, observed while readings come, and replaying innovations that are usual at the hour and the kind of
    day. q holds the calendar, what the last day left, and the features of a shared encoder of weather and calendar, which
    each unit scales for itself (our reading of a "terminal sensitivity modulation"). Some fifty numbers a unit are found by
    Gauss-Newton on 24-h open-loop forecasts, under a prior that the population gives (empirical Bayes); so a new unit needs
    a day or two. More power never warms a room, whatever the numbers. Forecast intervals come from rehearsals: each unit of
    the population is met as if it were new.

    After the abstract of VB-NET (arXiv 2603.07601); equations and network are ours.

    Parameters
    ----------
    comfort : lowest and highest comfortable temperature [degC], between which the state of charge runs from 1 to 0
    prior_weight : of the population's prior for new units; below 1, since tens of units are too sure of themselves
    recipe : how a record is weighed
    encoder : how features of weather and calendar that all units share are learnt (`encoder`), or None for none; the
        population is then fitted twice
    has_residual : whether forecasts get a linear residual besides: a share of the error of yesterday's forecast at the same
        hour, the share that would have served best in rehearsals. It leaves plans, promises and batteries alone

    Examples
    --------
    >>> from surrogates.datasets import air_conditioned_rooms
    >>> rooms = air_conditioned_rooms()
    >>> some = rooms.population.isel(unit=slice(0, 4), time=slice(0, 960))  # four rooms, ten days
    >>> net = VirtualBatteryNet(encoder=None).fit(some)
    >>> unit = net.adapt(rooms.newcomers.isel(unit=0, time=slice(0, 240)))  # a new room, two days and a half
    >>> tomorrow = rooms.newcomers.isel(unit=0, time=slice(240, 336)).drop_vars("indoor_temperature")
    >>> forecast = unit.predict(tomorrow)
    >>> forecast["temperature"].sizes["time"], forecast["temperature"].attrs["units"]
    (96, 'degC')
    >>> battery = unit.battery(tomorrow)
    >>> battery.capacity.attrs["units"], bool(battery.capacity > 0)
    ('kWh', True)
    """

    comfort: tuple[float, float] = (22.5, 27.5)
    prior_weight: float = 0.3
    recipe: Recipe = field(default_factory=Recipe)
    encoder: EncoderRecipe | None = field(default_factory=EncoderRecipe)
    has_residual: bool = False

    def __post_init__(self) -> None:
        check_comfort(self.comfort)
        check_recipe(self.recipe)
        if not 0 < self.prior_weight < np.inf:
            raise DataError(f"prior_weight is {self.prior_weight}; it must be a number > 0")

    def fit(self, data: Data, *, seed: int = 0, progress: Progress = None) -> FittedVirtualBattery:
        """Learn from a population of units with much data.

        Parameters
        ----------
        data : readings of several units over one period: a Dataset over (unit, time), a DataFrame with columns ``unit``
            and ``time``, or the path of such a CSV file. Variables, units and what is done about gaps: see
            `surrogates.battery.read`.
        seed : of all that is drawn
        progress : None, True for a bar, or a function of (steps done, mean negative log density of
            the fit that runs)

        Raises
        ------
        DataError
            If there are fewer than 4 units or less than 10 days, or data can't be used as given.
        UnitsError
            If units are wrong or missing where numbers look like others.

        Warns
        -----
        FitWarning
            If units' fits didn't converge.
        """
        began = time.perf_counter()
        records = read(data)
        _check_population(records)
        settings = Settings(records.step_hours, self.comfort, self.recipe)
        with progress_bar(progress, "population") as step:
            settings, population, learnt = _taught(records, settings, self.encoder, seed, step)
        features = settings.features_of(records)
        calibration = rehearse(
            records,
            population.θ,
            settings.layout,
            self.recipe,
            self.prior_weight,
            features,
            has_residual=self.has_residual,
        )
        prior = population.prior.tempered(self.prior_weight)
        units = _adapted(records, settings, prior, calibration, has_unit_dim=True, start=population.θ)
        longest, most_days = self.recipe.horizon, float(calibration.days[-1])
        figures = {
            "units": records.units,
            "days": float(records.days.mean()),
            "evaluations": population.steps,
            **learnt,
            f"own forecasts over {longest:g} h, RMSE [K]": float(np.nanmean(units.prints.own_error)),
            "std after 1 h, 2.5 days of data [K]": _std(calibration, 2.5, 1 / records.step_hours),
            f"std after {longest:g} h, 2.5 days of data [K]": _std(calibration, 2.5, longest / records.step_hours),
            f"std after {longest:g} h, {most_days:g} days of data [K]": _std(
                calibration, most_days, longest / records.step_hours
            ),
        }
        converged = population.is_converged & units.prints.is_converged
        report = _report("VirtualBatteryNet, population", records, converged, began, figures)
        _warn(report)
        return FittedVirtualBattery(settings, prior, calibration, units, report)


@dataclass(frozen=True, eq=False)
class FittedVirtualBattery:
    """What a population taught; made by `VirtualBatteryNet.fit`.

    settings : what the model was told; prior : over a new unit's numbers, tempered
    calibration : errors of rehearsed cold starts; population : its units; report : how the fit went
    """

    settings: Settings
    prior: Prior
    calibration: Calibration
    population: AdaptedUnits
    report: BatteryReport

    def adapt(self, data: Data) -> AdaptedUnits:
        """Meet new units: find their numbers from what readings there are, a day or more.

        Parameters
        ----------
        data : readings of one or more units, as `VirtualBatteryNet.fit` takes them; no dim ``unit`` is needed for one

        Raises
        ------
        DataError, UnitsError
            As `fit`; 12 h of usable readings are the least.
        """
        settings = self.settings
        records = read(data, step=settings.step)
        units = _adapted(
            records,
            settings,
            self.prior,
            self.calibration,
            has_unit_dim=isinstance(data, Records) or has_unit_dim(data),
            usual_most_load=float(np.median(self.population.prints.most_load)),
        )
        _warn(units.report)
        return units

    def predict(self, data: Data, *, start: Stamp | None = None) -> xr.Dataset:
        """Forecast of the population's units; see `AdaptedUnits.predict`."""
        return self.population.predict(data, start=start)

    def aggregate(
        self,
        data: Data,
        set_point: SetPoint | None = None,
        *,
        start: Stamp | None = None,
        draws: int = 64,
        seed: int = 0,
    ) -> Fleet:
        """The population's units as one resource; see `AdaptedUnits.aggregate`."""
        return self.population.aggregate(data, set_point, start=start, draws=draws, seed=seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file; `surrogates.load` reads it."""
        from .storage import fitted_archive

        write(path, "virtual-battery", *fitted_archive(self))

    @classmethod
    def from_archive(cls, archive: Archive) -> Self:
        """The inverse of `save`, for `surrogates.load`."""
        from .storage import fitted_of

        return cls(**fitted_of(archive))


def _taught(
    records: Records, settings: Settings, how: EncoderRecipe | None, seed: int, follow: Callable[[float], None]
) -> tuple[Settings, Population, dict[str, float]]:
    """Settings with the encoder, if one is wanted; fingerprints and prior of the population; figures of the encoder."""
    recipe, hours = settings.recipe, records.step_hours
    plain = fit_population(windows_of(records, recipe), settings.layout, recipe, hours, follow=follow)
    if how is None:
        return settings, plain, {}
    encoder, θ, account = train_encoder(records, plain.θ, settings.layout, recipe, seed=seed, how=how)
    settings = replace(settings, encoder=encoder)
    windows = windows_of(records, recipe, settings.features_of(records))
    again = fit_population(windows, settings.layout, recipe, hours, start=θ, follow=follow)
    figures = {
        "features of the encoder": float(encoder.count),
        "evaluations of the encoder": float(account.evaluations),
    }
    return settings, again._replace(steps=plain.steps + again.steps), figures


def _adapted(
    records: Records,
    settings: Settings,
    prior: Prior,
    calibration: Calibration,
    *,
    has_unit_dim: bool,
    start: Floats | None = None,
    usual_most_load: float = 0.0,
) -> AdaptedUnits:
    """Fingerprints of units under the prior; those seen for a short time can draw at least what others can."""
    began = time.perf_counter()
    layout, recipe, step_hours = settings.layout, settings.recipe, settings.step_hours
    windows = windows_of(records, recipe, settings.features_of(records))
    fit = adapt(windows, prior, layout, recipe, step_hours, start=start)
    own, days = own_errors(fit.θ, layout, windows, step_hours), records.days
    most = most_load_of(records)
    prints = Fingerprints(
        fit.θ,
        fit.precision,
        calibration.spread_of(days),
        calibration.deviation_of(days, own),
        days,
        own,
        np.where(days < SEEN_ENOUGH, np.fmax(most, usual_most_load), most),
        calibration.residual_of(days),
        calibration.shared_of(days),
        fit.is_converged,
    )
    figures = {"units": float(records.units), "days": float(days.mean()), "evaluations": float(fit.steps)}
    if np.isfinite(own).any():
        figures[f"own forecasts over {recipe.horizon:g} h, RMSE [K]"] = float(np.nanmean(own))
    report = _report("VirtualBatteryNet, adapted units", records, fit.is_converged, began, figures)
    return AdaptedUnits(settings, prints, remembered(records), report, has_unit_dim)


def _check_population(records: Records) -> None:
    if records.units < FEWEST_UNITS:
        raise DataError(
            f"the population has {records.units} units; {FEWEST_UNITS} or more are needed to tell how units differ; give "
            f"more, or adapt() single units to a net that was fitted on others, such as "
            f"surrogates.datasets.air_conditioned_rooms().population"
        )
    short = records.days < FEWEST_DAYS
    if short.any():
        u = int(np.argmin(records.days))
        raise DataError(
            f"{int(short.sum())} of {records.units} units of the population have less than {FEWEST_DAYS:g} days of readings "
            f"(unit {records.unit[u]!r}: {records.days[u]:.3g}); give longer records, or leave these out and adapt() them"
        )


def _report(
    model: str, records: Records, converged: NDArray[np.bool_], began: float, figures: Mapping[str, float]
) -> BatteryReport:
    lost = [label for label, fine in zip(records.unit, converged, strict=True) if not fine]
    told: tuple[str, ...] = ()
    if lost:
        message = (
            f"the fits of {len(lost)} of {records.units} units didn't converge ({', '.join(lost[:5])}"
            f"{' ...' if len(lost) > 5 else ''}); compare their own_error with the others'"
        )
        told = (message,)
    outcome = "all fits converged" if not lost else f"{records.units - len(lost)} of {records.units} fits converged"
    return BatteryReport(model, outcome, not lost, time.perf_counter() - began, figures, records.notes, told)


def _warn(report: BatteryReport) -> None:
    """Tell the caller of `fit` or `adapt` what the report warns of."""
    for message in report.warnings:
        warnings.warn(message, FitWarning, stacklevel=3)


def _std(calibration: Calibration, days: float, steps: float) -> float:
    """Standard deviation of a forecast of a usual unit [K]."""
    every = calibration.deviation_of(np.array([days]), np.array([np.nan]))
    return float(every[0, round(steps) - 1])
