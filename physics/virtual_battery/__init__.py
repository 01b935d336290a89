"""Air-conditioned rooms as virtual batteries: thermal stores, the exact map between both forms, fleets.

After the abstract of arXiv 2603.07601; the equations are ours.
"""

from .battery import Battery
from .bounds import InnerBound, OffsetSet
from .discretise import rollout, zero_order_hold
from .equivalence import BatteryForm, efficiency_factor, soc_of, temperature_of
from .fleet import Fleet, aggregate
from .identify import Identifiability, Transfer, from_transfer, identifiability, recover, transfer_of
from .recurrence import linear_recurrence
from .stores import Mode, Resistances, Stores

__all__ = [
    "Battery",
    "BatteryForm",
    "Fleet",
    "Identifiability",
    "InnerBound",
    "Mode",
    "OffsetSet",
    "Resistances",
    "Stores",
    "Transfer",
    "aggregate",
    "efficiency_factor",
    "from_transfer",
    "identifiability",
    "linear_recurrence",
    "recover",
    "rollout",
    "soc_of",
    "temperature_of",
    "transfer_of",
    "zero_order_hold",
]
