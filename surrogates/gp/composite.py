"""A user's algebra of correlation terms as the kernel of a model: bound to its inputs, built and differentiated.

Values and derivatives of every parameter are closed and stay as matrices, r + 1 of them for each kernel: meant for up to a
few thousand rows. gpytorch's kernels could say the same (`CustomKernel` takes them), but their derivatives go through a
graph, there is no curvature for Newton's method, distances lose half of their digits, and a fitted model can't be saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.linalg import add_to_diagonal, mirror

from .gram import Contraction
from .objective import ShapeParameters
from .terms import Categorical, Frame, Periodic, Product, Smooth, Sum, Term, Told

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Composite:
    """A term with the inputs of its model.  Made by `make_composite`.

    width : (d,) of a scaled unit of each input; of the fit's data
    """

    term: Term
    inputs: tuple[str, ...]
    width: tuple[float, ...]

    @property
    def name(self) -> str:
        """As it is told in reports."""
        return str(self.term)

    @cached_property
    def frame(self) -> Frame:
        """Which column is which input."""
        return Frame({name: k for k, name in enumerate(self.inputs)}, self.width)

    def bound(self, width: Floats) -> Composite:
        """The same for inputs of this width (d,)."""
        return replace(self, width=tuple(width.tolist()))

    @property
    def categorical(self) -> tuple[str, ...]:
        """Inputs that hold labels."""
        return tuple(dict.fromkeys(term.of for term in leaves(self.term) if isinstance(term, Categorical)))

    @property
    def trending(self) -> tuple[int, ...]:
        """Columns of inputs that a trend may run along: those of smooth terms."""
        smooth = {name for term in leaves(self.term) if isinstance(term, Smooth) for name in term.inputs}
        return tuple(k for k, name in enumerate(self.inputs) if name in smooth)

    def shape_parameters(self, components: int) -> ShapeParameters:
        """Names, priors and bounds, for each component."""
        own = self.term.parameters(self.frame)
        suffix = [""] if components == 1 else [", common", ", own"]
        names = tuple(f"{p.name}{s}" for s in suffix for p in own)
        mean, deviation = (np.tile([getattr(p, what) for p in own], components) for what in ("mean", "deviation"))
        return ShapeParameters(names, mean, deviation, [p.bounds for _ in suffix for p in own], False, components)

    def starts(self, lengthscale: float, components: int) -> list[Floats]:
        """Shapes (C r,) to descend from: one, or one for each start of a learnt period."""
        own = self.term.parameters(self.frame)
        first = [np.log(lengthscale) if p.name.startswith("log l[") else p.mean for p in own]
        found = [first]
        for j, parameter in enumerate(own):
            found = [[*f[:j], value, *f[j + 1 :]] for f in found for value in parameter.starts or (f[j],)]
        return [np.tile(shape, components) for shape in found]

    def told(self, shapes: Floats) -> dict[str, Told]:
        """Parameters (k, r) in words and natural units."""
        return self.term.told(shapes, self.frame)


def leaves(term: Term) -> list[Term]:
    """All terms that aren't made of others."""
    if isinstance(term, (Sum, Product)):
        return [leaf for part in term.terms for leaf in leaves(part)]
    return [term]


def make_composite(term: Term, inputs: Sequence[str]) -> Composite:
    """The term for a model of these inputs; smooth terms that name none get those that nothing else reads.

    Raises
    ------
    DataError
        If a term reads an input that isn't there or reads it in two ways, or if an input is read by none.
    """
    special = {n for leaf in leaves(term) if not isinstance(leaf, Smooth) for n in leaf.inputs}
    free = tuple(name for name in inputs if name not in special)
    filled = _filled(term, free)
    missing = [name for name in filled.inputs if name not in inputs]
    if missing:
        raise DataError(f"kernel {filled} reads {missing}; the schema's inputs are {tuple(inputs)}: name one of them")
    idle = [name for name in inputs if name not in filled.inputs]
    if idle:
        raise DataError(f"no term of kernel {filled} reads {idle}; add one, or take the input out of the schema")
    found = leaves(filled)
    labels = {leaf.of for leaf in found if isinstance(leaf, Categorical)}
    both = sorted(labels & {n for leaf in found if not isinstance(leaf, Categorical) for n in leaf.inputs})
    if both:
        raise DataError(f"kernel {filled} reads {both} as labels and as numbers; an input is one of them")
    return Composite(filled, tuple(inputs), (1.0,) * len(inputs))


def _filled(term: Term, free: tuple[str, ...]) -> Term:
    if isinstance(term, (Sum, Product)):
        return replace(term, terms=tuple(_filled(part, free) for part in term.terms))
    if isinstance(term, Smooth) and not term.of:
        if not free:
            raise DataError("Smooth() has no input left to read; name the ones that it shall share with other terms")
        return replace(term, of=free)
    return term


@dataclass(frozen=True)
class CompositeCorrelations:
    """ψ_c of one term at shapes (C, r), in the form the posterior reads."""

    kernel: Composite
    shapes: Floats

    def cross(self, x: Floats, z: Floats) -> list[Floats]:
        """ψ_c between rows of x (n, d) and z (m, d)."""
        return [self.kernel.term.slopes(x, z, θ, self.kernel.frame)[0] for θ in self.shapes]

    def diagonal(self, x: Floats) -> list[Floats]:
        """Ones: C arrays (n,)."""
        return [np.ones(len(x)) for _ in self.shapes]

    def diagonal_slopes(self, x: Floats) -> list[Floats]:
        """Zeros: C arrays (n, d)."""
        return [np.zeros(x.shape) for _ in self.shapes]

    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats:
        """Σ_i Σ_c weights_c,ij ∂ψ_c(x_i, z_j)/∂z_jk: (m, d)."""
        pairs = zip(self.shapes, weights, strict=True)
        each = (self.kernel.term.by_place(x, z, θ, w, self.kernel.frame) for θ, w in pairs)
        return sum(each, np.zeros(z.shape))


class CompositeGram:
    """Workspace for one set of rows, with whole matrices; see `Gram`."""

    def __init__(self, x: Floats, group: Integers, groups: int, kernel: Composite) -> None:
        self._x, self._group, self._kernel = x, group, kernel
        self._members = np.eye(groups)[group]
        self._parts: list[tuple[Floats, list[Floats]]] = []

    def build(self, shapes: Floats, B: Floats, D: Floats, out: Floats, *, slopes: bool = True) -> None:
        """Σ = Σ_c B_c[g_i, g_j] ψ_c + diag(D) into `out`; its derivatives are kept.  shapes: (C, r)."""
        term, frame = self._kernel.term, self._kernel.frame
        self._parts = [term.slopes(self._x, self._x, θ, frame) for θ in shapes]
        out.fill(0.0)
        for (ψ, _), mixing in zip(self._parts, B, strict=True):
            out += mixing[np.ix_(self._group, self._group)] * ψ
        add_to_diagonal(out, D)

    def contract(self, B: Floats, W: Floats, α: Floats | None) -> Contraction:
        """Contract W, of which the lower triangle counts, with the derivatives of K; `lengthscales` are by parameter."""
        W = mirror(W)
        members, mixing, shapes, grouped, stretched = self._members, [], [], [], []
        for (ψ, slopes), own in zip(self._parts, B, strict=True):
            factor = own[np.ix_(self._group, self._group)]
            mixing.append(0.5 * members.T @ (W * ψ) @ members)
            shapes.append([0.5 * float(np.vdot(W, factor * slope)) for slope in slopes])
            if α is not None:
                grouped.append(ψ @ (members * α[:, None]))
                stretched.append([(factor * slope) @ α for slope in slopes])
        if α is None:
            return Contraction(np.stack(mixing), np.array(shapes), None, None)
        return Contraction(np.stack(mixing), np.array(shapes), np.stack(grouped), np.array(stretched))


def to_fields(kernel: Composite) -> dict[str, Any]:
    """As JSON, for files."""
    return {"term": _term_fields(kernel.term), "inputs": list(kernel.inputs), "width": list(kernel.width)}


def from_fields(fields: Mapping[str, Any]) -> Composite:
    """The inverse of `to_fields`."""
    return Composite(_term(fields["term"]), tuple(fields["inputs"]), tuple(fields["width"]))


def _term_fields(term: Term) -> dict[str, Any]:
    if isinstance(term, (Sum, Product)):
        return {"kind": type(term).__name__, "terms": [_term_fields(part) for part in term.terms]}
    if isinstance(term, Smooth):
        return {"kind": "Smooth", "of": list(term.of), "smooth": term.kind}
    if isinstance(term, Periodic):
        return {"kind": "Periodic", "of": term.of, "period": term.period}
    return {"kind": "Categorical", "of": term.inputs[0]}


def _term(fields: Mapping[str, Any]) -> Term:
    kind = fields["kind"]
    if kind in ("Sum", "Product"):
        return {"Sum": Sum, "Product": Product}[kind](tuple(_term(part) for part in fields["terms"]))
    if kind == "Smooth":
        return Smooth(tuple(fields["of"]), fields["smooth"])
    return Periodic(fields["of"], fields["period"]) if kind == "Periodic" else Categorical(fields["of"])
