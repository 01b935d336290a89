"""Methods for conflicting tasks by name, with their defaults."""

from __future__ import annotations

from collections.abc import Callable

from surrogates.errors import DataError

from ..weighting import Fixed, SumOfLogs, Uncertainty
from ._base import Conflicts
from .adapter import Aggregated, LossWeights
from .aim import AIM
from .colouring import Colouring
from .fair import FairGrad, NashMTL
from .famo import AheadFAMO
from .gcond import GCond
from .lookahead import LookAhead
from .minimum_norm import MGDA, CAGrad
from .pcgrad import PCGrad

_BY_NAME: dict[str, Callable[[], Conflicts]] = {
    "sum": lambda: LossWeights(Fixed()),
    "si": lambda: LossWeights(SumOfLogs()),
    "uncertainty": lambda: LossWeights(Uncertainty()),
    "famo": AheadFAMO,
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
    "nashmtl": NashMTL,
    "fairgrad": FairGrad,
    "mgda": MGDA,
    "aim": AIM,
    "gcond": GCond,
    "colouring": Colouring,
    "lookahead": LookAhead,
}
#: The names that `conflicts_by_name` knows, besides "torchjd:" and the name of one of torchjd's aggregators.
CONFLICTS: tuple[str, ...] = tuple(_BY_NAME)


def conflicts_by_name(name: str) -> Conflicts:
    """A method with its defaults.

    >>> conflicts_by_name("pcgrad")
    PCGrad(every=4)
    >>> conflicts_by_name("torchjd:IMTLG")
    Aggregated('IMTLG', {}, every=1)
    """
    if name.startswith("torchjd:"):
        return Aggregated(name.removeprefix("torchjd:"))
    if name not in _BY_NAME:
        raise DataError(
            f"the method {name!r} for conflicting tasks is unknown; known are {', '.join(map(repr, CONFLICTS))}, and "
            f"'torchjd:' with the name of one of torchjd's aggregators"
        )
    return _BY_NAME[name]()
