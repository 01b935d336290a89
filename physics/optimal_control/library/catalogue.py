"""The problems by name, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from surrogates.errors import ProblemError

from . import chemistry, closed_form, epidemics, mechanics, orbits, oscillators
from .reference import Reference

_MAKERS: dict[str, Callable[[], Reference]] = {
    "scalar_lq": closed_form.scalar_lq,
    "double_integrator": closed_form.double_integrator,
    "scalar_mayer": closed_form.scalar_mayer,
    "van_der_pol": oscillators.van_der_pol,
    "rayleigh": oscillators.rayleigh,
    "stirred_tank": chemistry.stirred_tank,
    "hyper_sensitive": oscillators.hyper_sensitive,
    "bounded_van_der_pol": oscillators.bounded_van_der_pol,
    "brachistochrone": closed_form.brachistochrone,
    "batch_reactor": chemistry.batch_reactor,
    "epidemic": epidemics.epidemic,
    "orbit_transfer": orbits.orbit_transfer,
    "orbit_raising": orbits.orbit_raising,
    "cart_pole": mechanics.cart_pole,
    "quadrotor": mechanics.quadrotor,
}


def problem_names() -> tuple[str, ...]:
    """The names that `named_problem` knows, easier problems first.

    >>> "van_der_pol" in problem_names()
    True
    """
    return tuple(_MAKERS)


@cache
def named_problem(name: str) -> Reference:
    """The problem of that name and what is known of its solution; what it is, the function of the same name tells.

    Raises
    ------
    ProblemError
        If there is none of that name.
    """
    if name not in _MAKERS:
        raise ProblemError(f"there is no problem named {name!r}; there are {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name]()
