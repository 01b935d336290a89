"""Deep4Chem: replicates by hand on a small file of its format, and the real table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packages import hide_package, put_package

from surrogates.datasets.molecules import Molecules, optical
from surrogates.datasets.molecules.optical import PROPERTIES
from surrogates.errors import FileFormatError, MissingExtraError

HEADER = (
    "\ufeffTag,Chromophore,Solvent,Absorption max (nm),Emission max (nm),Lifetime (ns),Quantum yield,log(e/mol-1 dm3 cm-1),"
    "abs FWHM (cm-1),emi FWHM (cm-1),abs FWHM (nm),emi FWHM (nm),Molecular weight (g mol-1),Reference\n"
)
ROWS = """1,c1ccccc1N,O,300,400,10,0.5,NaN,NaN,NaN,NaN,NaN,93.1,a
2,Nc1ccccc1,O,310,NaN,100,0.5,NaN,NaN,NaN,NaN,NaN,93.1,b
3,Nc1ccccc1,O,320,NaN,NaN,NaN,NaN,NaN,NaN,NaN,NaN,93.1,c
4,Nc1ccccc1,CCO,290,380,NaN,0.2,4.0,NaN,NaN,NaN,NaN,93.1,d
5,Oc1ccccc1,O,270,300,2,NaN,NaN,NaN,NaN,20,30,94.1,e
6,OCC,CCO,200,NaN,0,NaN,NaN,NaN,NaN,NaN,NaN,46.1,f
7,Oc1ccccc1,no molecule,271,300,2,NaN,NaN,NaN,NaN,20,30,94.1,g
"""


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Molecules:
    put_package(tmp_path, monkeypatch, "D4CMPP", {"_Data/optical.csv": HEADER + ROWS})
    return optical(split="random", fractions=(1.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def real() -> Molecules:
    return optical()


def test_replicates_are_averaged_whatever_the_spelling(by_hand: Molecules) -> None:
    data = by_hand.data
    rows = {(s, t): k for k, (s, t) in enumerate(zip(data["smiles"].values, data["solvent"].values, strict=True))}
    assert len(rows) == 4
    aniline = rows["Nc1ccccc1", "O"]
    assert float(data["absorption_maximum"][aniline]) == 310
    assert float(data["absorption_maximum_spread"][aniline]) == pytest.approx(10.0)
    assert float(data["emission_maximum"][aniline]) == 400
    assert np.isnan(float(data["emission_maximum_spread"][aniline]))
    assert float(data["log_lifetime"][aniline]) == pytest.approx(1.5)  # of 10 and 100 ns
    assert float(data["log_lifetime_spread"][aniline]) == pytest.approx(np.sqrt(0.5))
    assert int(data["readings"][aniline]) == 3
    assert data["absorption_maximum"].attrs["replicate_noise"] == pytest.approx(10.0)
    assert data["log_lifetime"].attrs["replicates"] == 1
    assert "replicate_noise" not in data["log_extinction"].attrs
    assert data.attrs["rows_left_out"] == 1


def test_neat_samples_are_marked_and_no_lifetime_is_infinite(by_hand: Molecules) -> None:
    data = by_hand.data
    assert data["smiles"].values[data["is_neat"].values].tolist() == ["CCO"]
    assert np.isnan(data["log_lifetime"].values[data["is_neat"].values]).all()


def test_noise_is_pooled_over_replicates(real: Molecules) -> None:
    """The pooled variance is the mean of the pairs' variances, weighted by their degrees of freedom."""
    deviation = real.data["quantum_yield_spread"].values
    alike = np.isfinite(deviation)
    assert real.data["quantum_yield"].attrs["replicates"] == alike.sum()
    noise = real.data["quantum_yield"].attrs["replicate_noise"]
    assert deviation[alike].min() <= noise <= deviation[alike].max()
    assert 0.03 < noise < 0.1


def test_the_real_table(real: Molecules) -> None:
    data = real.data
    assert data.sizes["molecule"] == 19_899
    assert real.properties == tuple(PROPERTIES)
    assert {name: data[name].attrs["units"] for name in PROPERTIES} == {
        k: units for k, (_, units, _) in PROPERTIES.items()
    }
    # 7-hydroxy-4-cyanocoumarin in water, the file's first row
    row = np.flatnonzero((data["connectivity"].values == "N#Cc1cc2ccc(O)cc2oc1=O") & (data["solvent"].values == "O"))
    assert data["absorption_maximum"].values[row].tolist() == [355.0]
    assert data["log_lifetime"].values[row] == pytest.approx(np.log10(2.804262479))
    assert ((data["quantum_yield"] >= 0) | data["quantum_yield"].isnull()).all()
    assert ((data["quantum_yield"] <= 1) | data["quantum_yield"].isnull()).all()


@pytest.mark.parametrize("by", ["scaffold", "random", "smiles"])
def test_a_chromophore_is_on_one_side_in_all_its_solvents(real: Molecules, by: str) -> None:
    split = real.split(by, seed=2)
    parts = [set(part["smiles"].values.tolist()) for part in (split.train, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set(real.data["smiles"].values.tolist()))
    assert all(parts)


def test_a_damaged_file_and_a_missing_package_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "D4CMPP")
    with pytest.raises(MissingExtraError, match=r"D4CMPP is not installed.*pip install --no-deps D4CMPP"):
        optical()
    monkeypatch.undo()
    put_package(tmp_path, monkeypatch, "D4CMPP", {"_Data/optical.csv": HEADER + ROWS.replace("290", "29O")})
    with pytest.raises(FileFormatError, match=r"column 'Absorption max \(nm\)', row 3: found '29O', expected a number"):
        optical()
