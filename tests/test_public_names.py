"""Names at the top are imported when they are asked for, and completion shows them before."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["surrogates", "surrogates.design"])
def test_every_public_name_is_there_and_shown(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert dir(module) == sorted(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nothing'; it has \[.*'"):
        module.nothing  # noqa: B018


def test_nothing_heavy_is_imported_with_the_library() -> None:
    heavy = "['torch', 'gpytorch', 'scipy.optimize', 'pandas', 'xarray', 'matplotlib']"
    code = f"import sys, surrogates; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
