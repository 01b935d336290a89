"""What of a room can be known from the temperature of its air, its power and the weather.

The transfer functions to the air are, for two stores, with Δ(p) = det(pI - A) and κ = kr + kmo,

    T_a/P = ∓b (p + κ)/Δ(p),     T_a/T_o = [ko (p + κ) + km kmo]/Δ(p),     T_a/q_m = km/Δ(p)

and similar for three. Every rate and the gain can be read off them; so the battery is identifiable as a whole. Capacities,
1/R, COP and solar apertures are not: scaled together they leave all transfer functions alone, which is the one null
direction that `identifiability` finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import logm
from torch import Tensor

from surrogates.errors import DataError

from .stores import RATES, Mode, Stores

Floats = NDArray[np.float64]
Parameters = Literal["rates", "physical"]
#: singular values below this share of the largest count as zero; rounding leaves some 1e-13
NULL = 1e-9


class Transfer(NamedTuple):
    """Transfer functions from power [kW] and outdoor temperature to the air: polynomials, highest power first.

    power : (n,) numerator, [K/h per kW] for its first; outdoor : (n,) numerator; denominator : (n + 1,), its first is 1
    """

    power: Floats
    outdoor: Floats
    denominator: Floats


class Identifiability(NamedTuple):
    """Sensitivity of the transfer functions to the logarithms of the parameters.

    names : P parameters; singular_values : (P,), largest first; null : (k, P) directions that change nothing
    """

    names: tuple[str, ...]
    singular_values: Floats
    null: Floats

    def is_identifiable(self, exponents: dict[str, float]) -> bool:
        """Whether a product of powers of parameters is, such as {"cop": 1, "air_capacity": -1}: no null direction moves it.

        Raises
        ------
        DataError
            If a name isn't one of the parameters.
        """
        unknown = set(exponents) - set(self.names)
        if unknown:
            raise DataError(f"{sorted(unknown)} are not parameters of this room; they are {self.names}")
        direction = np.array([exponents.get(name, 0.0) for name in self.names])
        return bool(np.abs(self.null @ direction).max(initial=0.0) <= 1e-6 * np.abs(direction).max())


def identifiability(
    stores: Stores,
    *,
    parameters: Parameters = "physical",
    apertures: tuple[float, ...] = (),
    moving: Sequence[str] = ("power", "outdoor", "sun"),
) -> Identifiability:
    """Which parameters the readings can tell apart, by the singular values of the sensitivity of all transfer functions.

    Parameters
    ----------
    stores : one room, without batch dimensions
    parameters : "rates", ko ... gain and apertures in K/h per W/m², or "physical", capacities, conductances, COP and
        apertures in kW per W/m²
    apertures : how much sun enters the air, and the mass; none if the sun isn't modelled
    moving : inputs that vary in the record; an input that never moves tells nothing

    Returns
    -------
    Identifiability
        Parameters that are zero (no such path) are left out, since they have no logarithm.

    Raises
    ------
    DataError
        If the stores have a batch dimension or no gain, the apertures don't fit, or `parameters` or `moving` name
        something else.

    Examples
    --------
    >>> room = Stores.from_rates(ko=0.3, km=2.0, kr=0.05, kmo=0.02, gain=15.0)
    >>> known = identifiability(room)
    >>> len(known.null), known.is_identifiable({"cop": 1}), known.is_identifiable({"cop": 1, "air_capacity": -1})
    (1, False, True)
    """
    if stores.batch:
        raise DataError(f"the stores have batch dimensions {tuple(stores.batch)}; give one room at a time")
    if parameters not in ("rates", "physical"):
        raise DataError(f"parameters is {parameters!r}; it must be 'rates' or 'physical'")
    if len(apertures) not in {0, min(stores.count, 2)}:
        raise DataError(f"{len(apertures)} apertures came; give none, or one for the air and one for the inner mass")
    for name in moving:
        if name not in ("power", "outdoor", "sun"):
            raise DataError(f"moving names {name!r}; the inputs are 'power', 'outdoor' and 'sun'")
    values, rebuild = (_rates if parameters == "rates" else _physical)(stores)
    values |= {
        f"aperture_{k}": torch.tensor(a, dtype=torch.float64) for k, a in zip(("air", "mass"), apertures, strict=False)
    }
    names = tuple(name for name, x in values.items() if float(x) > 0)
    # the frequencies between and around the room's own
    λ = stores.modes()[0].numpy()
    fast = float(λ[-1]) or 1.0  # a closed room of one store forgets nothing, and any frequency will do
    slow = max(float(λ[0]), 1e-6 * fast)
    frequencies = torch.from_numpy(np.geomspace(slow / 10, fast * 10, 60))

    def responses(logs: Tensor) -> Tensor:
        p = {**values, **dict(zip(names, logs.exp(), strict=True))}
        room, sun = rebuild(p, len(apertures))
        return _responses(room, sun, frequencies, moving)

    start = torch.stack([values[name].log() for name in names])
    J = torch.autograd.functional.jacobian(responses, start)  # type: ignore[no-untyped-call]
    scale = responses(start).abs().amax(-1, keepdim=True).clamp_min(1e-300)[..., None]
    rows = (J / scale).reshape(-1, len(names)).numpy()
    _, s, V = np.linalg.svd(rows, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(names) - len(s))])
    return Identifiability(names, s, V[s < NULL * s[0]])


Rebuild = Callable[[dict[str, Tensor], int], tuple[Stores, list[Tensor]]]


def _rates(stores: Stores) -> tuple[dict[str, Tensor], Rebuild]:
    given = {name: x for name in RATES if isinstance(x := getattr(stores, name), Tensor)}

    def rebuild(p: dict[str, Tensor], apertures: int) -> tuple[Stores, list[Tensor]]:
        rates = [p.get(name) for name in (*RATES, "gain")]
        return Stores(p["ko"], *rates[1:], mode=stores.mode), [p[f"aperture_{k}"] for k in ("air", "mass")[:apertures]]

    return {**given, "gain": stores.plug}, rebuild


def _physical(stores: Stores) -> tuple[dict[str, Tensor], Rebuild]:
    room = stores.resistances(cop=1.0)  # any will do: the null direction doesn't depend on it
    values = {"cop": torch.tensor(1.0, dtype=torch.float64), "air_capacity": room.air_capacity}
    paths = {"air_to_outdoor": room.air_to_outdoor, "air_to_mass": room.air_to_mass}
    paths |= {"mass_to_outdoor": room.mass_to_outdoor, "mass_to_deep": room.mass_to_deep}
    values |= {f"1/{name}": 1 / x for name, x in paths.items() if x is not None}
    capacities = {"mass_capacity": room.mass_capacity, "deep_capacity": room.deep_capacity}
    values |= {name: x for name, x in capacities.items() if x is not None}

    def rebuild(p: dict[str, Tensor], apertures: int) -> tuple[Stores, list[Tensor]]:
        C, rates = p["air_capacity"], [p["1/air_to_outdoor"] / p["air_capacity"]]
        sun = [p["aperture_air"] / C] if apertures else []
        if "mass_capacity" in p:
            Cm = p["mass_capacity"]
            rates += [p["1/air_to_mass"] / C, p["1/air_to_mass"] / Cm, p["1/mass_to_outdoor"] / Cm]
            sun += [p["aperture_mass"] / Cm] if apertures else []
            if "deep_capacity" in p:
                rates += [p["1/mass_to_deep"] / Cm, p["1/mass_to_deep"] / p["deep_capacity"]]
        padded: list[Tensor | None] = [*rates[1:], *[None] * (len(RATES) - len(rates)), p["cop"] / C]
        return Stores(rates[0], *padded, mode=stores.mode), sun

    return values, rebuild


def _responses(room: Stores, sun: list[Tensor], frequencies: Tensor, moving: Sequence[str]) -> Tensor:
    """(inputs, 2 frequencies): real and imaginary parts of the air's answers."""
    n, names = room.count, room.input_names
    B = room.inputs()
    columns = [B[:, names.index(name)] for name in ("power", "outdoor") if name in moving]
    if sun and "sun" in moving:
        heat = [B[:, names.index(name)] for name in ("heat_air", "heat_mass")[: len(sun)]]
        columns.append(torch.stack([a * q for a, q in zip(sun, heat, strict=True)]).sum(0))
    if not columns:
        raise DataError("no input moves, so nothing can be known; name at least one of 'power', 'outdoor' and 'sun'")
    i = torch.complex(torch.zeros_like(frequencies), frequencies)
    resolvent = i[:, None, None] * torch.eye(n, dtype=torch.complex128) - room.generator()
    H = torch.linalg.solve(resolvent, torch.stack(columns, dim=-1).to(torch.complex128))[:, 0]  # (frequencies, inputs)
    return torch.cat([H.real, H.imag]).T


def transfer_of(stores: Stores) -> Transfer:
    """Transfer functions of one room.

    Raises
    ------
    DataError
        If the stores have a batch dimension or no gain.
    """
    if stores.batch:
        raise DataError(f"the stores have batch dimensions {tuple(stores.batch)}; give one room at a time")
    A, B = stores.generator().detach().numpy(), stores.inputs().detach().numpy()
    power, outdoor = (B[:, stores.input_names.index(name)] for name in ("power", "outdoor"))
    return Transfer(_numerator(A, power), _numerator(A, outdoor), np.atleast_1d(np.poly(A)))


def from_transfer(transfer: Transfer) -> Stores:
    """The rates and the gain, read off the transfer functions of one, two or three stores.

    Two stores, T_a/P = ∓b (p + κ)/Δ, T_a/T_o = (ko p + n)/Δ, Δ = p² + d1 p + d0:

        km = d1 - κ - ko,   kmo = (n - ko κ)/km,   kr = κ - kmo               (d0 tells nothing new: T_a/T_o is 1 at p = 0)

    Three, with the numerator b (p² + n1 p + n0) of power and Δ = p³ + d2 p² + d1 p + d0:

        ko + km = d2 - n1,   km kr = (ko + km) n1 + n0 - d1,   kr2 = ((ko + km) n0 - d0)/(km kr),   kr + kmo = n0/kr2

    Raises
    ------
    DataError
        If power doesn't move the air, or the mass doesn't (km kr = 0, or k2 kr2 = 0): then its rates can't be told.
    """
    n = len(transfer.denominator) - 1
    if not 1 <= n <= 3 or len(transfer.power) != n or len(transfer.outdoor) != n:
        raise DataError(
            f"the polynomials have {len(transfer.power)}, {len(transfer.outdoor)} and {n + 1} coefficients; n stores (1-3) "
            f"need n, n and n + 1"
        )
    gain, ko, d = abs(float(transfer.power[0])), float(transfer.outdoor[0]), transfer.denominator[1:]
    if not gain > 0:
        raise DataError("power doesn't move the air, so its gain and the masses can't be told; the record needs power")
    mode: Mode = "cooling" if transfer.power[0] < 0 else "heating"
    N = transfer.power[1:] / transfer.power[0]
    if n == 1:
        return Stores.from_rates(ko=ko, gain=gain, mode=mode)
    out = float(d[0] - N[0])  # ko + km
    km = out - ko
    _check_link(km, out, "km", "the inner mass doesn't touch the air")
    if n == 2:
        kmo = (float(transfer.outdoor[1]) - ko * float(N[0])) / km
        kr = float(N[0]) - kmo
        _check_link(kr, float(N[0]), "kr", "the inner mass is infinite")
        return Stores.from_rates(ko=ko, km=km, kr=kr, kmo=_rounded(kmo, float(N[0])), gain=gain, mode=mode)
    product = out * float(N[0]) + float(N[1]) - float(d[1])
    _check_link(product, out * float(N[0]), "km kr", "the inner mass doesn't answer the air")
    kr2 = (out * float(N[1]) - float(d[2])) / product
    _check_link(kr2, float(N[0]), "kr2", "the deep mass is infinite or absent")
    inner, kr = float(N[1]) / kr2, product / km
    k2 = float(N[0]) - inner - kr2
    _check_link(k2, float(N[0]), "k2", "the deep mass doesn't touch the inner; use two stores")
    kmo = _rounded(inner - kr, inner)
    return Stores.from_rates(ko=ko, km=km, kr=kr, kmo=kmo, k2=k2, kr2=kr2, gain=gain, mode=mode)


def recover(temperature: Floats, power: Floats, outdoor: Floats, *, step_hours: float, count: int = 2) -> Stores:
    """The stores behind noise-free readings: a check of what readings can tell, not an estimator.

    n stores make the air obey T[k] = Σ_{i=1..n} a_i T[k-i] + Σ_{i=0..n-1} (c_i P[k-i] + e_i T_o[k-i]) exactly. The
    coefficients come from least squares, the continuous system from the matrix logarithm, the rates by `from_transfer`.
    Noise biases the coefficients (they are not an output-error fit), and hidden heat gains do too.

    Parameters
    ----------
    temperature : (T,) of the air at the ends of the intervals [degC]
    power, outdoor : (T,) means over the intervals [kW, degC], held constant in them
    step_hours : length of an interval [h]
    count : of stores

    Raises
    ------
    DataError
        If shapes differ, values aren't finite, power or weather don't move enough, or the result is no passive room.
    """
    y, P, To, n = np.asarray(temperature), np.asarray(power), np.asarray(outdoor), count
    is_step = math.isfinite(step_hours) and step_hours > 0
    if y.ndim != 1 or not y.shape == P.shape == To.shape or not 1 <= n <= 3 or not is_step:
        raise DataError(
            f"temperature, power and outdoor have shapes {y.shape}, {P.shape} and {To.shape}, with {n} stores and steps of "
            f"{step_hours} h; they must be (T,) alike, with 1-3 stores and a step > 0"
        )
    u = np.stack([P, To], axis=-1)
    if not (np.isfinite(y).all() and np.isfinite(u).all()):
        raise DataError("temperature, power or outdoor hold values that aren't finite; cut the record at gaps")
    past = [y[n - i : len(y) - i] for i in range(1, n + 1)]
    past += [u[n - i : len(y) - i, j] for j in range(2) for i in range(n)]
    X = np.stack(past, axis=-1)
    sizes = np.linalg.norm(X, axis=0)
    if len(X) < X.shape[1] or not (sizes > 0).all() or np.linalg.matrix_rank(X / sizes, tol=1e-10) < X.shape[1]:
        raise DataError(
            "power or outdoor temperature don't move enough to tell the rates; take a longer, livelier record"
        )
    θ = np.linalg.lstsq(X / sizes, y[n:], rcond=None)[0] / sizes
    # observer form: y = first state
    step = np.zeros((n + 2, n + 2))
    step[:n, 0], step[: n - 1, 1:n] = θ[:n], np.eye(n - 1)
    step[:n, n:] = θ[n:].reshape(2, n).T
    step[n:, n:] = np.eye(2)
    poles = np.linalg.eigvals(step[:n, :n])
    if np.iscomplexobj(poles) or not (poles > 0).all():
        raise DataError(
            f"the fitted steps have poles {poles}; a chain of {n} stores has real ones > 0: use fewer stores"
        )
    continuous = np.real(logm(step)) / step_hours
    A, B = continuous[:n, :n], continuous[:n, n:]
    return from_transfer(Transfer(_numerator(A, B[:, 0]), _numerator(A, B[:, 1]), np.atleast_1d(np.poly(A))))


def _numerator(A: Floats, b: Floats) -> Floats:
    """Coefficients of e_1' adj(pI - A) b: det(pI - A + b e_1') - det(pI - A), of degree n - 1."""
    n = len(A)
    powers = [np.eye(n)]  # Faddeev-LeVerrier: adj(pI - A) = Σ p^{n-1-k} M_k, without the cancellation of a difference
    c = np.atleast_1d(np.poly(A))
    for k in range(1, n):
        powers.append(A @ powers[-1] + c[k] * np.eye(n))
    return np.array([(M @ b)[0] for M in powers])


def _check_link(x: float, scale: float, name: str, meaning: str) -> None:
    if not x > 1e-10 * abs(scale):
        raise DataError(
            f"{name} comes out as {x:.3g} /h: {meaning}, and its rates can't be told from the air; use fewer stores, or a "
            f"record in which it moves"
        )


def _rounded(x: float, scale: float) -> float:
    """A difference that is zero but for rounding, as zero; a rate that is clearly negative stays and is refused."""
    return 0.0 if -1e-8 * scale < x < 0 else x
