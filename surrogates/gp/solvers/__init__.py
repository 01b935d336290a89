"""Ways to evaluate one and the same restricted likelihood; which is quickest depends on the data's pattern.

Those in `SOLVERS` agree with `dense` to rounding; `Inducing` approximates the covariance between tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..design import Design
from ..kernels import Kernel
from ..sharing import Exchangeable, Sharing
from ._base import Solver
from .dense import Dense
from .kronecker import Kronecker
from .rotation import Rotation
from .woodbury import Woodbury, union_of_places

SOLVERS: Mapping[str, Callable[[Design, tuple[Kernel, ...]], Solver]] = MappingProxyType(
    {"dense": Dense.of, "woodbury": Woodbury, "rotation": Rotation, "kronecker": Kronecker}
)


#: more rows than this are no longer solved exactly, where their pattern offers no quick way
EXACT_ROWS = 10_000
#: places and trend coefficients that Woodbury's matrices have room for beyond that
WOODBURY_PLACES, WOODBURY_COEFFICIENTS = 4_000, 1_000


def applicable_solvers(design: Design, sharing: Sharing) -> tuple[str, ...]:
    """Names of the solvers that are exact for this design, quickest first where patterns are all alike."""
    if design.shared is not None:
        return ("dense",)
    exchangeable = isinstance(sharing, Exchangeable) and design.tasks > 1
    names = []
    if exchangeable and design.is_balanced:
        names.append("rotation")
    if sharing.components == 1 and design.is_separable:
        names.append("kronecker")
    if exchangeable:
        names.append("woodbury")
    return (*names, "dense")


def choose_solver(design: Design, sharing: Sharing) -> str:
    """The quickest exact solver: rotation or Kronecker if all tasks look alike, Woodbury if they share many places.

    Woodbury pays where the union of places has under about 0.7 times as many members as there are rows (measured), and
    the matrices are large enough to outweigh its overhead. Above `EXACT_ROWS` exchangeable tasks without such a pattern
    are left to "inducing", which isn't exact.
    """
    names = applicable_solvers(design, sharing)
    if names[0] in ("rotation", "kronecker"):
        return names[0]
    rows = len(design.x)
    if "woodbury" not in names or rows <= 200:
        return "dense"
    places, coefficients = len(union_of_places(design.x)[0]), design.tasks * design.basis.shape[1]
    if rows > EXACT_ROWS and (places > WOODBURY_PLACES or coefficients > WOODBURY_COEFFICIENTS):
        return "inducing"
    return "woodbury" if places < 0.7 * rows else "dense"
