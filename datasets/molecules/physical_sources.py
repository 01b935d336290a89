"""Which tables of the package `chemicals` hold which property, and whether their values were measured.

Three kinds: "experimental" (measured, or evaluated from measurements), "mixed" (partly estimated, unsourced, or taken under
unstated conditions), "estimated" (group contributions and the like). They follow what the package's documentation says of
each table, with these decisions of ours:

- CAS Common Chemistry is mixed: of its boiling points that neither a measured table nor Yaws has, half lie more than 75 K
  below Joback's estimate (5 K for the CRC Handbook), as boiling points under reduced pressure do. One in a hundred of those
  that the Handbook has too is off by 112 K or more (WebBook's: 30 K); of the melting points, against Open Notebook's, 147 K
  (Handbook: 47 K). All of these were measured on chemicals 1.5.2.
- Wikidata, Yaws, PSRK and Pina-Martines are mixed, and so are TRC's and API's enthalpies of formation: the package says of
  the first four that they are partly predicted or unsourced, of TRC "may have come from computational procedures".
- The Active Thermochemical Tables count as experimental, though their network of measurements holds computations too.
- Joback's critical temperature and pressure aren't offered: the formula has poles (-48,424 to 14,249 K).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

PROVENANCES = ("experimental", "mixed", "estimated")


class Source(NamedTuple):
    """One table: label, path below the package's folder, one of `PROVENANCES`."""

    label: str
    file: str
    provenance: str


class Property(NamedTuple):
    """Column's name in all of its tables, units, meaning, and the tables in order of preference."""

    column: str
    units: str
    meaning: str
    sources: tuple[Source, ...]

    def limits(self, provenance: str) -> tuple[float, float]:
        """Between these is what can be: beyond are errors, such as 0 for unknown, or phenanthrene's Tc of 0.869 K.

        Of estimated critical temperatures only those below 1500 K are taken, since the formulas have poles.
        """
        lowest = {"omega": -np.inf, "Hfg": -np.inf, "dipole_moment": -1e-9, "Tc": 5.0, "Tb": 4.0}.get(self.column, 0.0)
        return lowest, 1500.0 if self.column == "Tc" and provenance == "estimated" else np.inf


def _sources(**of_kind: dict[str, str]) -> tuple[Source, ...]:
    return tuple(Source(label, file, kind) for kind in PROVENANCES for label, file in of_kind.get(kind, {}).items())


_HEOS = {"HEOS": "Misc/heos_constants.tsv"}
_CRC = {"CRC": "Misc/Physical Constants of Organic Compounds.csv"}
_WEBBOOK = {"WEBBOOK": "Misc/webbook_constants.tsv"}
_CRC_GAS = {"CRC": "Heat Capacity/CRC Standard Thermodynamic Properties of Chemical Substances.tsv"}
_JANAF = {"JANAF": "Reactions/JANAF_1998.tsv"}
_OPEN = {"COMMON_CHEMISTRY": "Misc/common_chemistry_data.tsv", "WIKIDATA": "Misc/wikidata_properties.tsv"}
_JOBACK = {"JOBACK": "Misc/joback_predictions.tsv"}
_YAWS_CRITICAL = {"YAWS": "Critical Properties/Yaws Collection.tsv"}
_YAWS_GAS = {"YAWS": "Reactions/Yaws Hf S0 (g).tsv"}
_PD = {"PD": "Critical Properties/PassutDanner1973.tsv"}
_PSRK = {"PSRK": "Critical Properties/Appendix to PSRK Revision 4.tsv"}
_WILSON_JASPERSON = {"WILSON_JASPERSON": "Critical Properties/wilson_jasperson_Tc_Pc_predictions.tsv"}
_CRITICAL = {
    "IUPAC": "Critical Properties/IUPACOrganicCriticalProps.tsv",
    "MATTHEWS": "Critical Properties/Mathews1972InorganicCriticalProps.tsv",
    "CRC": "Critical Properties/CRCCriticalOrganics.tsv",
}
_PART = {**_PSRK, "PINAMARTINES": "Critical Properties/DIPPRPinaMartines.tsv", **_YAWS_CRITICAL}

PROPERTIES: Mapping[str, Property] = {
    "boiling_point": Property(
        "Tb",
        "K",
        "normal boiling point",
        _sources(
            experimental={**_HEOS, **_CRC, **_WEBBOOK},
            mixed={"YAWS": "Phase Change/Yaws Boiling Points.tsv", **_OPEN},
            estimated=_JOBACK,
        ),
    ),
    "melting_point": Property(
        "Tm",
        "K",
        "melting point",
        _sources(
            experimental={"OPEN_NOTEBOOK": "Phase Change/OpenNotebook Melting Points.tsv", **_CRC, **_WEBBOOK},
            mixed=_OPEN,
            estimated=_JOBACK,
        ),
    ),
    "critical_temperature": Property(
        "Tc",
        "K",
        "critical temperature",
        _sources(experimental={**_HEOS, **_CRITICAL, **_PD, **_WEBBOOK}, mixed=_PART, estimated=_WILSON_JASPERSON),
    ),
    "critical_pressure": Property(
        "Pc",
        "Pa",
        "critical pressure",
        _sources(experimental={**_HEOS, **_CRITICAL, **_PD, **_WEBBOOK}, mixed=_PART, estimated=_WILSON_JASPERSON),
    ),
    "critical_volume": Property(
        "Vc",
        "m**3/mol",
        "critical molar volume",
        _sources(
            experimental={**_HEOS, **_CRITICAL, **_WEBBOOK},
            mixed=_PART,
            estimated={"FEDORS": "Critical Properties/fedors_Vc_predictions.tsv"},
        ),
    ),
    "acentric_factor": Property(
        "omega",
        "1",
        "acentric factor",
        _sources(
            experimental={**_HEOS, **_PD},
            mixed={**_PSRK, **_YAWS_CRITICAL},
            estimated={"FROM_VAPOUR_PRESSURE": "Critical Properties/omega_Psat_Tc_predictions.tsv"},
        ),
    ),
    "enthalpy_of_formation": Property(
        "Hfg",
        "J/mol",
        "standard enthalpy of formation of the gas, 298.15 K",
        _sources(
            experimental={"ATCT": "Reactions/ATcT 1.112 (g).tsv", **_CRC_GAS, **_WEBBOOK, **_JANAF},
            mixed={
                "API_TDB": "Reactions/API TDB Albahri Hf (g).tsv",
                "TRC": "Heat Capacity/TRC Thermodynamics of Organic Compounds in the Gas State.tsv",
                **_YAWS_GAS,
            },
            estimated=_JOBACK,
        ),
    ),
    "entropy": Property(
        "S0g",
        "J/mol/K",
        "standard entropy of the gas, 298.15 K",
        _sources(experimental={**_CRC_GAS, **_WEBBOOK, **_JANAF}, mixed=_YAWS_GAS),
    ),
    "enthalpy_of_fusion": Property(
        "Hfus",
        "J/mol",
        "enthalpy of fusion at the melting point",
        _sources(experimental={"CRC": "Phase Change/CRC Handbook Heat of Fusion.tsv"}, estimated=_JOBACK),
    ),
    "flash_point": Property(
        "T_flash",
        "K",
        "flash point",
        _sources(
            experimental={
                "IEC": "Safety/IS IEC 60079-20-1 2010.tsv",
                "NFPA": "Safety/NFPA 497 2008.tsv",
                "SERAT": "Safety/DIPPR T_flash Serat.csv",
            },
            mixed={"WIKIDATA": _OPEN["WIKIDATA"]},
        ),
    ),
    "dipole_moment": Property(
        "dipole_moment",
        "debye",
        "dipole moment of the gas",
        _sources(
            experimental={
                "CCCBDB": "Misc/cccbdb.nist.gov Dipoles.csv",
                "MULLER": "Misc/Muller Supporting Info Dipoles.csv",
                "POLING": "Misc/Poling Dipole.csv",
            },
            estimated={"PSI4_MP2": "Misc/psi4_dipoles.tsv"},
        ),
    ),
}
