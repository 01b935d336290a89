"""The Tanimoto kernel of counts, with a smooth kernel of further features beside it.

    ψ = w T(c, c') + (1-w) E(d, d'),   T = Σ_b min(c_b, c'_b) / Σ_b max(c_b, c'_b),   E = exp(-|d-d'|²/(2 ℓ² D))

T is positive definite for counts (Ralaivola, Swamidass, Saigo & Baldi 2005, Neural Networks 18:1093, "MinMax kernel");
d are D standardised features, with one length-scale for all. The sum with learnt weight is our choice.

    ∂ψ/∂logit w = w(1-w)(T - E),   ∂ψ/∂log ℓ = (1-w) E |d-d'|²/(ℓ² D)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.schema import Points, Table

from .library import Library, Tables
from .objective import ShapeParameters

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tanimoto:
    """Kernel for counts of parts, such as molecular fingerprints, beside smooth features.

    Give it to `HierarchicalGP` as ``kernel``. The inputs that it names may be vectors: they have one dim of their own
    besides those of the target, as a table of fingerprints (molecule, bit) has. ``kernel="tanimoto"`` takes all inputs as
    counts.

    Parameters
    ----------
    counts : name or names of inputs that hold whole numbers >= 0; several are compared as one long vector
    smooth : name or names of inputs with smooth features; they are standardised over the places of the fit, and count as
        no farther than 4 standard deviations from their mean. None: T alone, without any parameter of its own

    Notes
    -----
    Priors, normal: logit w ~ N(0, 2²), log ℓ ~ N(0, 1).

    Examples
    --------
    >>> Tanimoto(counts="fingerprint", smooth="descriptors")
    Tanimoto(counts=('fingerprint',), smooth=('descriptors',))
    """

    counts: str | Sequence[str]
    smooth: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("counts", "smooth"):
            given = getattr(self, name)
            object.__setattr__(
                self, name, () if given is None else (given,) if isinstance(given, str) else tuple(given)
            )
        if not self.counts:
            raise DataError("Tanimoto(counts=()) names no input; give the name of one that holds counts")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DataError(f"Tanimoto names {twice} twice; an input is either counts or smooth")

    @property
    def name(self) -> str:
        """As it is told in reports."""
        return "tanimoto"

    @property
    def names(self) -> tuple[str, ...]:
        """All inputs that it reads."""
        return (*self.counts, *(self.smooth or ()))

    @property
    def parameters(self) -> int:
        """How many parameters ψ has."""
        return 2 if self.smooth else 0

    def require_inputs(self, inputs: Sequence[str]) -> None:
        """Refuse a schema with other inputs.

        Raises
        ------
        DataError
            If an input is missing here or there.
        """
        if set(inputs) != set(self.names):
            raise DataError(
                f"the schema's inputs are {tuple(inputs)}, the kernel reads {self.names}; "
                f"name every input once, as counts or as smooth"
            )

    def number(self, table: Table | Points, known: Library | None = None) -> tuple[Library, Floats]:
        """The places of a table, numbered; those of `known` keep their numbers.

        Returns
        -------
        library, number of each row's place (n, 1)
        """
        assert table.vectors is not None
        values = table.vectors.values
        counts, smooth = ({n: values[n] for n in names} for names in (self.counts, self.smooth or ()))
        library, number = (Library.fit(counts, smooth) if known is None else known).extended(counts, smooth)
        return library, number[table.x.astype(np.int64)].astype(np.float64)

    def shape_parameters(self, components: int) -> ShapeParameters:
        """logit w and log ℓ of every component."""
        suffix = [""] if components == 1 else [", common", ", own"]
        names = tuple(f"{name}{s}" for s in suffix for name in ("logit w", "log ℓ")[: self.parameters])
        r = len(names) // 2
        bounds = [(-10.0, 10.0), (np.log(0.05), np.log(20.0))] * r
        return ShapeParameters(names, np.zeros(2 * r), np.tile([2.0, 1.0], r), bounds, False, components)


def mixed(tables: Tables, shape: Floats) -> Floats:
    """ψ (n, m) at (logit w, log ℓ), or T itself where there are no parameters."""
    if not len(shape):
        return tables.tanimoto.copy()
    w = weight(shape)
    ψ = tables.squared * (-0.5 * np.exp(-2 * shape[1]))
    np.exp(ψ, out=ψ)
    ψ *= 1 - w
    ψ += w * tables.tanimoto
    return np.asarray(ψ)


def weight(shape: Floats) -> float:
    """w of (logit w, log ℓ)."""
    return float(1.0 / (1.0 + np.exp(-shape[0])))


@dataclass(frozen=True, eq=False)
class TanimotoCorrelations:
    """ψ_c between numbered places; x and z are numbers (n, 1), (m, 1) of `library`."""

    library: Library
    shapes: Floats  # (C, 2) or (C, 0)

    def knowing(self, library: Library) -> TanimotoCorrelations:
        """The same with a library that holds further places."""
        return replace(self, library=library)

    def cross(self, x: Floats, z: Floats) -> list[Floats]:
        """C arrays (n, m)."""
        (a, i), (b, j) = (np.unique(places[:, 0].astype(np.int64), return_inverse=True) for places in (x, z))
        tables = self.library.between(a, b)
        return [mixed(tables, shape)[np.ix_(i.reshape(-1), j.reshape(-1))] for shape in self.shapes]

    def diagonal(self, x: Floats) -> list[Floats]:
        """Ones: C arrays (n,)."""
        return [np.ones(len(x)) for _ in self.shapes]

    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats:
        """There are none.

        Raises
        ------
        DataError
            Always.
        """
        raise _no_derivative()

    def diagonal_slopes(self, x: Floats) -> list[Floats]:
        """There are none.

        Raises
        ------
        DataError
            Always.
        """
        raise _no_derivative()


def _no_derivative() -> DataError:
    return DataError("counts have no derivative, so gradient isn't offered with a Tanimoto kernel; compare predictions")
