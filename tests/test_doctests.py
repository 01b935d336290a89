"""The examples in docstrings of the two packages that pytest can't import by their folders' names."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import surrogates.datasets
import surrogates.physics

MODULES = sorted(
    f"{package.__name__}.{found.name}"
    for package in (surrogates.datasets, surrogates.physics)
    for found in pkgutil.iter_modules(package.__path__)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
