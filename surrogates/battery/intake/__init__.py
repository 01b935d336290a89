"""User data of rooms -> `Records`: names, units, clocks, gaps and dead sensors are dealt with here and nowhere else."""

from .alignment import alignment
from .reading import Data, read

__all__ = ["Data", "alignment", "read"]
