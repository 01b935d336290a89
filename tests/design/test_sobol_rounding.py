"""Sobol indices of exact readings of smooth functions, whose covariances nearly cancel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import sobol_indices
from surrogates.errors import DataError


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_closed_forms_that_rounding_would_spoil_are_not_taken() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (30, 2))
    data = as_dataset(x, np.exp(x[:, 0] + 0.2 * x[:, 1]), inputs=["a", "b"])
    fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel="rbf", noise="none").fit(data)
    found = sobol_indices(fitted, distributions={"a": (0, 1), "b": (0, 1)}, samples=1024, draws=16)
    # E exp² - (E exp)² of each factor
    means = np.array([math.e - 1, (np.exp(0.2) - 1) / 0.2])
    spreads = np.array([(math.e**2 - 1) / 2, (np.exp(0.4) - 1) / 0.4]) - means**2
    variance = np.prod(means**2 + spreads) - np.prod(means**2)
    first = spreads * means[::-1] ** 2 / variance
    assert found.attrs["method"] == "sampling"
    np.testing.assert_allclose(found["first_order"], first, atol=0.03)
    np.testing.assert_allclose(found["total"], 1 - first[::-1], atol=0.03)
    assert float(found["variance"]) == pytest.approx(variance, rel=0.05)
    assert float(found["first_order_std"].max()) < 0.01
    with pytest.raises(DataError, match="rounding would be a part of the indices; use method='sampling'"):
        sobol_indices(fitted, method="closed form")
