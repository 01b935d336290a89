"""The examples in docstrings of the two packages that pytest can't import by their folders' names."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import surrogates.datasets
import surrogates.physics

#: also those in packages below
MODULES = sorted(
    found.name
    for package in (surrogates.datasets, surrogates.physics)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def test_modules_below_a_package_are_found() -> None:
    assert {"surrogates.physics.optimal_control.problem", "surrogates.physics.optimal_control.library"} < set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
