"""Small tables of well-known molecules, with properties that are true functions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

# fmt: off
SMILES = [
    "C", "CC", "CCC", "CCCC", "CCCCC", "CCCCCC", "CCO", "CCCO", "CCCCO", "CCCCCO", "CC(C)O", "CC(C)CO", "CO",
    "OCCO", "OCC(O)CO", "CC(=O)C", "CCC(=O)C", "CC(=O)O", "CCC(=O)O", "CCCC(=O)O", "CC(=O)OCC", "CC(=O)OC", "CCOCC",
    "COC", "C1CCCCC1", "C1CCCC1", "c1ccccc1", "Cc1ccccc1", "CCc1ccccc1", "Oc1ccccc1", "Nc1ccccc1", "Clc1ccccc1",
    "Brc1ccccc1", "O=C(O)c1ccccc1", "O=Cc1ccccc1", "c1ccncc1", "c1ccoc1", "c1ccsc1", "c1cc[nH]c1", "c1ccc2ccccc2c1",
    "CN", "CCN", "CCCN", "CN(C)C", "CCN(CC)CC", "C1CCNCC1", "C1COCCO1", "C1CCOC1", "CC#N", "C=CC", "CC=CC", "C#CC",
    "ClCCl", "ClC(Cl)Cl", "ClC(Cl)(Cl)Cl", "CS(C)=O", "CN(C)C=O", "NC(=O)C", "NC(N)=O", "CC(C)=CC(C)=O",
    "O=C1CCCCC1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CC(=O)Nc1ccc(O)cc1", "CC(=O)Oc1ccccc1C(=O)O",
]
# fmt: on
PROPERTIES = ("weight", "logp", "tpsa")
#: networks that take a fraction of a second
SMALL: dict[str, Any] = {
    "model": "net",
    "hidden": (16,),
    "members": 3,
    "epochs": 8,
    "batch": 16,
    "rate": 1e-2,
    "fingerprint": False,
}


def truths(smiles: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Molecular weight, Crippen's log P and polar surface of molecules."""
    from rdkit import Chem
    from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    functions = (Descriptors.MolWt, Crippen.MolLogP, rdMolDescriptors.CalcTPSA)
    return {name: np.array([f(m) for m in molecules]) for name, f in zip(PROPERTIES, functions, strict=True)}


def table(n: int = len(SMILES), *, keep: float = 0.6, seed: int = 0) -> pd.DataFrame:
    """The first n molecules with a share `keep` of their labels, the others NaN."""
    generator = np.random.default_rng(seed)
    columns = {name: np.where(generator.random(n) < keep, y, np.nan) for name, y in truths(SMILES[:n]).items()}
    return pd.DataFrame({"smiles": SMILES[:n], **columns})


def spelled(smiles: str, seed: int) -> str:
    """The same molecule with its atoms in another order."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(seed).permutation(molecule.GetNumAtoms()).tolist()
    return str(Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False))


def assert_same(got: xr.Dataset, wanted: xr.Dataset, *, atol: float = 0.0, rtol: float = 0.0) -> None:
    """All answers of two predictions agree."""
    for name in ("mean", "std", "noise_std", "lower", "upper"):
        np.testing.assert_allclose(got[name].values, wanted[name].values, rtol=rtol, atol=atol, err_msg=name)
