"""The report: everything it holds is in its text, and dictionaries bring it back."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from surrogates.report import Estimate, FitReport

REPORT = FitReport(
    model="HierarchicalGP (matern52, common)",
    outcome="converged",
    is_success=True,
    readings=40,
    rows=38,
    tasks=3,
    solver="woodbury",
    evaluations=57,
    seconds=0.25,
    log_evidence=-12.3456,
    trace=(3.0, 2.0, 1.5),
    jitter=2.5e-12,
    draws=48,
    effective_draws=31.26,
    sections={
        "noise (standard deviation, unresolved detail included)": {
            "fine": Estimate(0.0123456, 0.001, "µm"),
            "coarse gauge": Estimate(1.5, 0.0, "µm"),
        },
        "correlation of tasks": {"between any two": Estimate(0.875, 0.06, "")},
    },
    loo={"RMSE": 0.25, "coverage of 95 % intervals": 0.975},
    warnings=("at their bounds: log s; the data say little about them",),
)


@pytest.mark.parametrize(
    "words",
    [
        "HierarchicalGP (matern52, common): converged",
        "40 readings at 38 places in 3 tasks",
        "solver woodbury, 57 evaluations, 0.25 s",
        "log evidence -12.35",
        "jitter 2.5e-12",
        "48 draws of the hyper-parameters (of a sample worth 31.3)",
        "noise (standard deviation, unresolved detail included)",
        "fine          0.01235 ± 0.001 µm",
        "coarse gauge  1.5 µm",
        "between any two  0.875 ± 0.06",
        "leave-one-out: RMSE 0.25, coverage of 95 % intervals 0.975",
        "warning: at their bounds: log s; the data say little about them",
    ],
)
def test_the_text_tells_everything(words: str) -> None:
    assert words in str(REPORT)


def test_the_text_of_a_plain_fit() -> None:
    plain = replace(REPORT, tasks=1, jitter=0.0, draws=1, warnings=(), loo={}, sections={})
    text = str(plain)
    assert "in 1 task;" in text
    assert "jitter none; hyper-parameters at their mode" in text
    assert "leave-one-out: no reading can be predicted from the others" in text
    assert "no warnings" in text
    assert "warning:" not in text
    assert all(line.rstrip() == line for line in text.splitlines())


def test_a_fit_that_did_not_converge_says_so_first() -> None:
    stalled = replace(REPORT, outcome="stopped at the step limit before convergence", is_success=False)
    assert "stopped at the step limit before convergence" in str(stalled).splitlines()[0]
    assert "converged" not in str(stalled)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1234.5678, 0.0, ""), "1235"),
        (Estimate(0.00123456, 0.000567, "mm"), "0.001235 ± 0.00057 mm"),
        (Estimate(2.0, 0.0, "degC"), "2 degC"),
    ],
)
def test_estimates_round_to_what_one_reads(estimate: Estimate, text: str) -> None:
    assert str(estimate) == text


def test_dictionaries_hold_every_field_as_json_and_come_back() -> None:
    plain = REPORT.to_dict()
    assert plain.keys() == {field.name for field in fields(FitReport)}
    through = json.loads(json.dumps(plain, allow_nan=False))
    assert FitReport.from_dict(plain) == REPORT
    assert FitReport.from_dict(through) == REPORT
    assert str(FitReport.from_dict(through)) == str(REPORT)


def test_an_estimate_of_draws_is_their_weighted_mean_and_spread() -> None:
    told = Estimate.of_draws(np.array([1.0, 3.0, 3.0]), np.array([0.25, 0.25, 0.5]), "mm")
    assert (told.value, told.units) == (2.5, "mm")
    assert told.spread == pytest.approx((0.25 * 1.5**2 + 0.75 * 0.5**2) ** 0.5)
    assert Estimate.of_draws(np.array([2.0]), np.array([1.0])) == Estimate(2.0, 0.0, "")
