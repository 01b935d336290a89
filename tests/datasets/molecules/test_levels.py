"""Levels of theory, against published values and the laws that they obey."""

from __future__ import annotations

import numpy as np
import pytest
from packages import hide_package
from scipy import constants

from surrogates.datasets.molecules.levels import BOHR, COMPUTED, DEBYE, Floats, atomic_energies, electronic
from surrogates.errors import DataError, MissingExtraError, NumericalError

WATER = (["O", "H", "H"], np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]))
XTB = COMPUTED[:2]


def test_units_follow_from_the_constants_of_nature() -> None:
    assert pytest.approx(constants.physical_constants["Bohr radius"][0] * 1e10, rel=1e-9) == BOHR
    debye = 1e-21 / constants.c  # C m
    assert pytest.approx(constants.e * constants.physical_constants["Bohr radius"][0] / debye, rel=1e-9) == DEBYE


def test_hydrogen_as_in_the_textbook() -> None:
    """Szabo & Ostlund, Modern Quantum Chemistry, 3.5.2: H2 in STO-3G at 1.4 bohr; the free atom in table 3.4's basis."""
    found = electronic("HF/STO-3G", ["H", "H"], np.array([[0, 0, 0], [0, 0, 1.4 * BOHR]]))
    assert found.energy == pytest.approx(-1.1167, abs=5e-5)
    assert found.homo == pytest.approx(-0.578, abs=5e-4)
    assert found.lumo == pytest.approx(0.670, abs=5e-4)
    assert found.dipole == pytest.approx(0.0, abs=1e-10)
    assert atomic_energies("HF/STO-3G")["H"] == pytest.approx(-0.4666, abs=5e-5)


@pytest.mark.parametrize("level", COMPUTED)
def test_turning_and_moving_a_molecule_changes_nothing(level: str) -> None:
    elements, positions = WATER
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    here, there = (
        electronic(level, elements, positions),
        electronic(level, elements, positions @ turn.T + [1.0, -2.0, 3.0]),
    )
    for name in ("gap", "homo", "lumo", "dipole", "energy"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), abs=2e-5), name  # SCF stops at 1e-6 or so
    assert here.gap == here.lumo - here.homo
    assert here.seconds > 0


@pytest.mark.parametrize("level", COMPUTED)
def test_water_is_bound_and_polar(level: str) -> None:
    elements, positions = WATER
    free = atomic_energies(level)
    found = electronic(level, elements, positions)
    assert -0.7 < found.energy - sum(free[element] for element in elements) < -0.1  # measured: -0.37 without vibrations
    assert 1.5 < found.dipole < 3.0  # measured: 1.85


def test_a_dipole_moment_of_charges_far_apart() -> None:
    """The dipole of a molecule far from the origin is that near it, for it is neutral, and grows along its bond."""
    short, long = (
        electronic("GFN2-xTB", ["F", "H"], np.array([[0, 0, 50.0], [0, 0, 50.0 + d]])).dipole for d in (0.9, 1.1)
    )
    assert long > short > 1.0


@pytest.mark.filterwarnings("ignore:.*not strictly positive definite")
@pytest.mark.parametrize("level", COMPUTED)
def test_atoms_on_each_other_are_an_error_not_a_number(level: str) -> None:
    with pytest.raises(NumericalError, match=f"{level} of H-H failed"):
        electronic(level, ["H", "H"], np.array([[0, 0, 0], [0, 0, 1e-12]]))


@pytest.mark.parametrize("level", XTB)
def test_atoms_far_apart_have_half_filled_orbitals_and_no_gap(level: str) -> None:
    assert electronic(level, ["N", "N"], np.array([[0, 0, 0], [0, 0, 5.0]])).gap == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("level", "elements", "positions", "told"),
    [
        ("B3LYP", ["H", "H"], np.zeros((2, 3)), "the level 'B3LYP' is unknown; computed here are GFN1-xTB"),
        ("GFN2-xTB", ["H", "Xe"], np.zeros((2, 3)), "elements Xe are unknown here"),
        ("GFN2-xTB", ["O", "H"], np.array([[0, 0, 0], [0, 0, 1.0]]), "O-H has an odd number of electrons"),
        ("GFN2-xTB", ["H", "H"], np.zeros((2, 2)), r"shape \(2, 2\); finite numbers of shape \(2, 3\)"),
        ("GFN2-xTB", ["H", "H"], np.full((2, 3), np.nan), "finite numbers"),
    ],
)
def test_bad_input_is_told(level: str, elements: list[str], positions: Floats, told: str) -> None:
    with pytest.raises(DataError, match=told):
        electronic(level, elements, positions)


@pytest.mark.parametrize(("package", "level"), [("tblite", "GFN2-xTB"), ("pyscf", "HF/STO-3G")])
def test_a_missing_package_names_the_extra(package: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (package, f"{package}.interface"):
        hide_package(monkeypatch, name)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[quantum\]"):
        electronic(level, *WATER)
