"""What is read from a SMILES: one spelling per molecule, its scaffold, and whether it is an ordinary organic molecule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from surrogates.errors import DataError, missing_extra


class Structure(NamedTuple):
    """One molecule.

    smiles : canonical, as the installed RDKit spells it
    connectivity : the same without stereo: isomers of one connectivity belong on one side of a split
    scaffold : canonical SMILES of its Bemis-Murcko scaffold (rings and what links them), without stereo; "" if it has no
        ring
    is_ordinary : one fragment, neutral, with carbon, no radical and without isotope labels
    """

    smiles: str
    connectivity: str
    scaffold: str
    is_ordinary: bool


def read_structures(smiles: Sequence[str]) -> list[Structure | None]:
    """Structures of SMILES, None where RDKit can't read one or where it is empty; equal texts are read once.

    Raises
    ------
    MissingExtraError
        If RDKit isn't installed.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol
    except ImportError as error:
        raise missing_extra("rdkit", "molecules") from error
    quiet = rdBase.BlockLogs()  # else each unreadable SMILES is told on stderr, beside our own account of it
    known: dict[str, Structure | None] = {}
    for text in dict.fromkeys(smiles):
        molecule = Chem.MolFromSmiles(text)
        if molecule is None or molecule.GetNumAtoms() == 0:
            known[text] = None
            continue
        canonical = Chem.MolToSmiles(molecule)
        atoms = list(molecule.GetAtoms())
        ordinary = (
            "." not in canonical
            and sum(atom.GetFormalCharge() for atom in atoms) == 0
            and any(atom.GetAtomicNum() == 6 for atom in atoms)
            and not any(atom.GetIsotope() or atom.GetNumRadicalElectrons() for atom in atoms)
        )
        Chem.RemoveStereochemistry(molecule)
        connectivity, scaffold = Chem.MolToSmiles(molecule), Chem.MolToSmiles(GetScaffoldForMol(molecule))
        known[text] = Structure(canonical, connectivity, scaffold, ordinary)
    del quiet
    return [known[text] for text in smiles]


def checked_structures(smiles: Sequence[str]) -> list[Structure]:
    """Structures of SMILES that must all be readable.

    Raises
    ------
    MissingExtraError
        If RDKit isn't installed.
    DataError
        If one isn't; the message names the first, its row, and how many there are.
    """
    found = read_structures(smiles)
    wrong = [row for row, structure in enumerate(found) if structure is None]
    if wrong:
        raise DataError(
            f"the SMILES {smiles[wrong[0]]!r} in row {wrong[0]} can't be read by RDKit, one of {len(wrong)} such rows; "
            "correct them or leave them out"
        )
    return [structure for structure in found if structure is not None]
