"""The public model with its options: features that all units share, and a linear residual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surrogates import AdaptedUnits, FittedVirtualBattery, VirtualBatteryNet, load
from surrogates.battery import EncoderRecipe, Recipe, model

DAY = 96  # steps


@pytest.fixture(scope="module")
def pair(neighbourhood: xr.Dataset, net_with_encoder: FittedVirtualBattery) -> AdaptedUnits:
    """Both newcomers, met for two days."""
    return net_with_encoder.adapt(neighbourhood.isel(unit=slice(4, 6), time=slice(2 * DAY, 4 * DAY)))


@pytest.fixture(scope="module")
def ahead(neighbourhood: xr.Dataset) -> xr.Dataset:
    return neighbourhood.isel(unit=slice(4, 6), time=slice(4 * DAY, 5 * DAY)).drop_vars("indoor_temperature")


def test_units_have_a_gain_for_each_feature_and_forecasts_use_them(
    net_with_encoder: FittedVirtualBattery, pair: AdaptedUnits, neighbourhood: xr.Dataset, ahead: xr.Dataset
) -> None:
    settings = net_with_encoder.settings
    assert settings.encoder is not None
    assert settings.layout.features == settings.encoder.count == 2
    gains = slice(settings.layout.gains.stop - 2, settings.layout.gains.stop)
    assert (np.abs(net_with_encoder.population.prints.θ[:, gains]) > 1e-3).all()
    assert (np.ptp(net_with_encoder.population.prints.θ[:, gains], axis=0) > 0).all()  # private
    got = pair.predict(ahead)["temperature"]
    truth = neighbourhood["indoor_temperature"].isel(unit=slice(4, 6), time=slice(4 * DAY, 5 * DAY))
    last = neighbourhood["indoor_temperature"].isel(unit=slice(4, 6), time=4 * DAY - 1, drop=True)
    assert np.sqrt(np.mean((got - truth) ** 2)) < 0.5 * np.sqrt(np.mean((last - truth) ** 2))
    muted = pair.prints.θ.copy()
    muted[:, gains] = 0
    without = AdaptedUnits(
        pair.settings,
        type(pair.prints)(**{**vars(pair.prints), "θ": muted}),
        pair.memory,
        pair.report,
        has_unit_dim=True,
    )
    assert float(np.abs(without.predict(ahead)["temperature"] - got).max()) > 1e-3


def test_more_power_never_warms(pair: AdaptedUnits, ahead: xr.Dataset) -> None:
    more = ahead.copy(deep=True)
    more["power"][:, 10:14] += 0.4
    change = pair.predict(more)["temperature"] - pair.predict(ahead)["temperature"]
    assert (change[:, :10] == 0).all()
    assert (change <= 1e-12).all()
    assert (change[:, 13] < -0.3).all()


def test_what_was_saved_answers_as_before(
    net_with_encoder: FittedVirtualBattery,
    pair: AdaptedUnits,
    ahead: xr.Dataset,
    neighbourhood: xr.Dataset,
    tmp_path: Path,
) -> None:
    pair.save(tmp_path / "pair.surrogate")
    again = load(tmp_path / "pair.surrogate")
    assert isinstance(again, AdaptedUnits)
    assert again.predict(ahead).identical(pair.predict(ahead))
    assert again.aggregate(ahead).baseline.identical(pair.aggregate(ahead).baseline)
    net_with_encoder.save(tmp_path / "net.surrogate")
    fitted = load(tmp_path / "net.surrogate")
    assert isinstance(fitted, FittedVirtualBattery)
    assert str(fitted.report) == str(net_with_encoder.report)
    newcomers = neighbourhood.isel(unit=slice(4, 6), time=slice(2 * DAY, 4 * DAY))
    assert fitted.adapt(newcomers).predict(ahead).identical(pair.predict(ahead))


def test_a_seed_gives_the_same_net_again_and_another_one_another(
    net_with_encoder: FittedVirtualBattery, neighbourhood: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rehearsals draw nothing, and take half of the time
    monkeypatch.setattr(model, "rehearse", lambda *_, **__: net_with_encoder.calibration)
    some, recipe = neighbourhood.isel(unit=slice(0, 4)), EncoderRecipe(steps=5)
    same, other = (VirtualBatteryNet(encoder=recipe).fit(some, seed=seed) for seed in (0, 1))
    θ = net_with_encoder.population.prints.θ
    assert np.array_equal(same.population.prints.θ, θ)
    assert not np.allclose(other.population.prints.θ, θ)


def test_the_report_tells_of_the_encoder(net: FittedVirtualBattery, net_with_encoder: FittedVirtualBattery) -> None:
    assert net_with_encoder.report.figures["features of the encoder"] == 2
    assert net_with_encoder.report.figures["evaluations of the encoder"] >= 5
    assert "encoder" not in str(net.report)


def test_units_seen_for_a_short_time_can_draw_what_others_can(
    net: FittedVirtualBattery, neighbourhood: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = float(np.median(net.population.prints.most_load))
    past = neighbourhood.isel(unit=slice(4, 6), time=slice(2 * DAY, 4 * DAY))
    few = past.assign(power=past["power"].clip(max=0.3 * usual * past["rated_power"]).assign_attrs(units="kW"))
    many = past.assign(power=(3 * past["power"]).assign_attrs(units="kW"))
    np.testing.assert_allclose(net.adapt(few).prints.most_load, usual)
    own = np.nanquantile((many["power"] / many["rated_power"]).transpose("unit", "time"), 0.999, axis=1)
    np.testing.assert_allclose(net.adapt(many).prints.most_load, own)
    monkeypatch.setattr(model, "SEEN_ENOUGH", 1.0)
    assert (net.adapt(few).prints.most_load < 0.31 * usual).all()


def test_progress_is_told_and_forecasts_may_be_rehearsed_over_less_than_a_day(neighbourhood: xr.Dataset) -> None:
    seen: list[int] = []
    few = neighbourhood.isel(unit=slice(0, 4), time=slice(0, 10 * DAY))
    recipe = Recipe(horizon=12.0, stride=6.0, judged_every=3.0)
    net = VirtualBatteryNet(encoder=None, recipe=recipe).fit(few, progress=lambda done, value: seen.append(done))
    assert seen == list(range(1, len(seen) + 1))
    assert "std after 12 h, 2.5 days of data [K]" in net.report.figures  # no unit was met with more
    assert not any("24 h" in name or "60 days" in name for name in net.report.figures)
    assert net.calibration.deviation.shape == (2, DAY // 2)
    unit = net.adapt(neighbourhood.isel(unit=4, time=slice(2 * DAY, 4 * DAY)))
    got = unit.predict(neighbourhood.isel(unit=4, time=slice(4 * DAY, 5 * DAY)).drop_vars("indoor_temperature"))
    assert got.attrs["note"].startswith("beyond 12 h the standard deviation stays that of 12 h")
    assert (got["std"][DAY // 2 :] == got["std"][DAY // 2 - 1]).all()


@pytest.mark.slow
def test_a_net_with_a_residual_adds_a_share_of_what_was_missed_yesterday(
    neighbourhood: xr.Dataset, tmp_path: Path
) -> None:
    few = neighbourhood.isel(unit=slice(0, 4), time=slice(0, 10 * 96))
    nets = [VirtualBatteryNet(encoder=None, has_residual=wanted).fit(few) for wanted in (True, False)]
    share = nets[0].calibration.residual
    assert ((share >= 0) & (share <= 1)).all()
    assert (nets[1].calibration.residual == 0).all()
    past, ahead = (neighbourhood.isel(unit=[4], time=slice(96 * a, 96 * b)) for a, b in ((3, 6), (6, 7)))
    unit, plain = (net.adapt(past) for net in nets)
    found, without = (u.predict(ahead.drop_vars("indoor_temperature"))["temperature"].to_numpy() for u in (unit, plain))
    missed = plain.predict(past, start=past["time"].values[191])["temperature"].to_numpy()
    wanted = without + unit.prints.residual * (past["indoor_temperature"].to_numpy()[:, 192:] - missed)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    unit.save(tmp_path / "unit.surrogate")
    assert (
        load(tmp_path / "unit.surrogate")
        .predict(ahead, start=past["time"].values[-1])
        .identical(unit.predict(ahead, start=past["time"].values[-1]))
    )
