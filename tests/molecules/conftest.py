"""Fitted models that several tests ask."""

from __future__ import annotations

import pytest
from molecule_tables import SMALL, table

pytest.importorskip("rdkit")

from surrogates import MolecularNet
from surrogates.molecules import FittedMolecularNet


@pytest.fixture(scope="session")
def gp() -> FittedMolecularNet:
    return MolecularNet(model="gp").fit(table())


@pytest.fixture(scope="session")
def net() -> FittedMolecularNet:
    return MolecularNet(**SMALL, sharing="shared").fit(table())


@pytest.fixture(scope="session", params=["gp", "net"])
def fitted(request: pytest.FixtureRequest) -> FittedMolecularNet:
    found: FittedMolecularNet = request.getfixturevalue(request.param)
    return found
