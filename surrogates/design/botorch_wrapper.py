"""A fitted process as a BoTorch model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from botorch.models.gpytorch import GPyTorchModel
from botorch.models.model import FantasizeMixin
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator.operators import DenseLinearOperator
from torch import Tensor

from surrogates.errors import DataError, JitterWarning
from surrogates.gp import FittedHierarchicalGP
from surrogates.gp.differentiable import FittedProcess, Gaussian, JointPosterior, joint_posterior, read_places
from surrogates.labels import require_label
from surrogates.schema import Label

#: below it, numbers that BoTorch and GPyTorch take for rounding (a std of 1e-5) matter
SMALLEST_SPREAD = 1e-2


class Observed(NamedTuple):
    """Observations that a model was conditioned on, besides those of its fit.

    x : (*b, n, d); codes : (n,) or (*b, n); y : (*b, n); noise : (k or 1, *b, n), variances for each draw
    """

    x: Tensor
    codes: Tensor
    y: Tensor
    noise: Tensor


class SurrogateModel(GPyTorchModel, FantasizeMixin):  # type: ignore[misc]
    """A fitted process in BoTorch's terms; made by `botorch_model`, which says what its inputs and outputs are.

    The posterior is one Gaussian with the mean and joint covariance of the mixture over hyper-parameter draws, those that
    the fitted model's ``predict`` and ``covariance`` give. Conditioning is done draw by draw, before they are mixed, so
    that it equals the fitted model's ``update``; but for readings with Student's t noise, which count as normal ones of the
    same variance, and for chains of fidelities (structures that are nonlinear, or recursive), whose levels aren't jointly
    Gaussian: there it is an approximation.
    """

    likelihood = None

    def __init__(
        self,
        joint: JointPosterior,
        codes: Tensor,
        train_inputs: Tensor,
        observed: Observed | None = None,
    ) -> None:
        """codes : (m, F) codes of every output's fidelities; F > 1: the last column of X says which."""
        super().__init__()
        self.joint = joint
        self.codes = codes
        self.train_inputs = (train_inputs,)
        self.observed = observed
        self._supports_cache_root = len(codes) == 1

    @property
    def num_outputs(self) -> int:
        """m"""
        return len(self.codes)

    @property
    def batch_shape(self) -> torch.Size:
        """Of the observations that the model was conditioned on, such as fantasies."""
        return torch.Size() if self.observed is None else self.observed.y.shape[:-1]

    @property
    def input_width(self) -> int:
        """Columns of X."""
        return self.joint.input_centre.numel() + (self.codes.shape[1] > 1)

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Any:
        """Joint posterior over q places and m outputs of each batch.  X: (*b, q, d)."""
        model = self if output_indices is None else self.subset_output(output_indices)
        x, codes = model._places(X)
        mean, covariance = model._mixed(x, codes)
        if observation_noise is not False:
            noise = model._noise(x, codes, observation_noise, X.shape[-2])
            covariance = covariance + torch.diag_embed(noise)
        posterior = GPyTorchPosterior(model._distribution(mean, covariance))
        return posterior if posterior_transform is None else posterior_transform(posterior=posterior, X=X)

    def forward(self, X: Tensor) -> MultivariateNormal:
        """Distribution of f.  X: (*b, q, d)."""
        return self._distribution(*self._mixed(*self._places(X)))

    def subset_output(self, idcs: list[int]) -> SurrogateModel:
        """The same model with some of its outputs."""
        m = self.num_outputs
        if not all(-m <= k < m for k in idcs):
            raise DataError(f"outputs {list(idcs)} are asked for; the model has {m}, from 0 on")
        return SurrogateModel(self.joint, self.codes[list(idcs)], self.train_inputs[0], self.observed)

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: Any
    ) -> SurrogateModel:
        """The model given further observations; hyper-parameters stay.

        Parameters
        ----------
        X : (*b, n, d)
        Y : (*b', n, m), whose leading dims may be more than those of X; NaN is an output that wasn't observed
        noise : variances, broadcast to Y; None: those that the model knows for a reading there
        """
        if kwargs:
            raise TypeError(f"condition_on_observations doesn't know {sorted(kwargs)}; it takes X, Y and noise")
        if Y.shape[-1] != self.num_outputs or Y.shape[-2] != X.shape[-2]:
            raise DataError(
                f"Y has shape {tuple(Y.shape)} for X of shape {tuple(X.shape)}; (..., {X.shape[-2]}, {self.num_outputs}) "
                f"is expected: one row for each place, one column for each output"
            )
        x, codes = self._places(X)
        y = Y.flatten(-2)
        if noise is None:
            variance = self.joint.noise_by_draw(x, codes)
        else:
            variance = self._noise(x, codes, noise, X.shape[-2]).unsqueeze(0)
        least = self.joint.least_noise(codes.expand(x.shape[:-1]))
        variance = torch.maximum(_widened(variance, y.shape), _widened(least, y.shape))
        # what wasn't observed has infinite noise; a number that large leaves nothing but rounding
        missing = torch.isnan(y)
        y, variance = torch.where(missing, 0.0, y), torch.where(missing, 1e30, variance)
        new = Observed(x, codes, y, variance)
        return SurrogateModel(
            self.joint, self.codes, self.train_inputs[0], new if self.observed is None else _joined(self.observed, new)
        )

    def _places(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Every place once for each output, outputs innermost: x (*b, q m, d) and codes, (q m,) or (*b, q m)."""
        if X.ndim < 2:
            raise DataError(
                f"X has shape {tuple(X.shape)}; (..., q, {self.input_width}) is expected: one row for each place"
            )
        if X.shape[-1] != self.input_width:
            column = ", and the fidelity's number" if self.codes.shape[1] > 1 else ""
            raise DataError(
                f"X has {X.shape[-1]} columns, {self.input_width} are expected: {list(self.joint.schema.inputs)}{column}"
            )
        if X.dtype != torch.float64:
            raise DataError(f"X is {X.dtype}, torch.float64 is expected; use X.double()")
        m, q = self.num_outputs, X.shape[-2]
        x = self._labels_rounded(X[..., : self.joint.input_centre.numel()])
        if self.codes.shape[1] == 1:
            codes = self.codes[:, 0].repeat(q)
        else:
            level = X[..., -1].detach().round().long()
            if bool(((level < 0) | (level >= self.codes.shape[1])).any()):
                raise DataError(
                    f"the last column of X has {X[..., -1].min():g} to {X[..., -1].max():g}; the fidelities' numbers are 0 "
                    f"to {self.codes.shape[1] - 1}, in the order {list(self.joint.vocabulary.fidelities)}"
                )
            codes = self.codes.T[level].flatten(-2)
        return (x if m == 1 else x.repeat_interleave(m, dim=-2)), codes

    def _labels_rounded(self, x: Tensor) -> Tensor:
        """Columns of labels as whole numbers: what lies between two labels isn't any, and the kernel knows nothing of it."""
        names, categories = self.joint.schema.inputs, self.joint.vocabulary.categories
        if not categories:
            return x
        columns = list(x.unbind(dim=-1))
        for k, name in enumerate(names):
            if name in categories:
                columns[k] = columns[k].detach().round()
                known = categories[name]
                if bool(((columns[k] < 0) | (columns[k] >= len(known))).any()):
                    raise DataError(
                        f"column {k} of X, {name!r}, has {x[..., k].min():g} to {x[..., k].max():g}; its labels' "
                        f"numbers are 0 to {len(known) - 1}, in the order {list(known)}"
                    )
        return torch.stack(columns, dim=-1)

    def _mixed(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (*b, n) and covariance (*b, n, n) of the mixture."""
        draws = self.joint(x, codes) if self.observed is None else self._conditioned(x, codes, self.observed)
        weights = self.joint.weights
        mean = torch.tensordot(weights, draws.mean, dims=1)
        deviation = draws.mean - mean
        within = torch.tensordot(weights, draws.covariance, dims=1)
        between = torch.einsum("k,k...i,k...j->...ij", weights, deviation, deviation)
        return mean, within + between

    def _conditioned(self, x: Tensor, codes: Tensor, observed: Observed) -> Gaussian:
        """Each draw's Gaussian of n places given the observations, whose batches may be more than those of x."""
        batch = torch.broadcast_shapes(x.shape[:-2], observed.y.shape[:-1])
        n = observed.y.shape[-1]
        places = [part.expand(*batch, *part.shape[-2:]) for part in (observed.x, x)]
        numbers = [part.expand(*batch, part.shape[-1]) for part in (observed.codes, codes)]
        joint = self.joint(torch.cat(places, dim=-2), torch.cat(numbers, dim=-1))
        prior = joint.covariance[..., :n, :n]
        noise = _widened(observed.noise, torch.Size([*batch, n]))
        L = _factor(prior + torch.diag_embed(noise))
        cross = torch.linalg.solve_triangular(L, joint.covariance[..., :n, n:], upper=False)
        away = torch.linalg.solve_triangular(L, (observed.y - joint.mean[..., :n]).unsqueeze(-1), upper=False)
        mean = joint.mean[..., n:] + (cross.transpose(-1, -2) @ away).squeeze(-1)
        return Gaussian(mean, joint.covariance[..., n:, n:] - cross.transpose(-1, -2) @ cross)

    def _noise(self, x: Tensor, codes: Tensor, given: bool | Tensor, q: int) -> Tensor:
        """Variances (..., q m) of readings: the model's own, or those that are given (..., 1 or q, m)."""
        if not isinstance(given, Tensor):
            return self.joint.noise_variance(x, codes)
        m = self.num_outputs
        if given.ndim < 2 or given.shape[-2] not in (1, q) or given.shape[-1] not in (1, m):
            raise DataError(
                f"noise has shape {tuple(given.shape)}; variances (..., {q}, {m}) are expected, or one for all"
            )
        if not bool((given >= 0).all()):
            raise DataError(f"noise has {given.min():g}; variances are numbers that are zero or more")
        return given.expand(*given.shape[:-2], q, m).flatten(-2)

    def _distribution(self, mean: Tensor, covariance: Tensor) -> MultivariateNormal:
        lazy = DenseLinearOperator(covariance)  # which is factored when draws are wanted, not before
        if self.num_outputs == 1:
            return MultivariateNormal(mean, lazy)
        return MultitaskMultivariateNormal(mean.unflatten(-1, (-1, self.num_outputs)), lazy, interleaved=True)


def botorch_model(
    fitted: FittedProcess,
    *,
    task: Label | Sequence[Label] | None = None,
    fidelity: Label | None = None,
    fidelity_column: bool = False,
) -> SurrogateModel:
    """A fitted process as a BoTorch model, for `optimize_acqf` and all that goes with it.

    Parameters
    ----------
    fitted : a fitted `HierarchicalGP` or `MultiFidelityGP`
    task : whose function the model's output is; several make a model of as many outputs, which know of each other. May be
        left out where there is one
    fidelity : of the output, and of fantasies' readings; None: the last and most precise one of a `MultiFidelityGP`. A
        `HierarchicalGP` has the same function for all of them, but noise for each: name the one that is to be read
    fidelity_column : X has one more column, the fidelity's number (0, 1, ... from the coarsest of a `MultiFidelityGP` to the
        most precise; in the order of ``fitted.vocabulary`` else). Use it with `optimize_acqf_mixed`, since there is no
        derivative by it

    Returns
    -------
    SurrogateModel
        X has the schema's inputs as columns, in the units of the fit, as float64; labels (categorical inputs) by number, in
        the order of ``fitted.vocabulary.categories``, rounded to the nearest: use `optimize_acqf_mixed` there, too.
        `optimize_acqf` maximises: for minima give it
        ``posterior_transform=ScalarizedPosteriorTransform(torch.tensor([-1.0]))``.

    Warns
    -----
    UserWarning
        If the target's numbers are so small that BoTorch takes them for rounding: fit it in smaller units.

    Raises
    ------
    MissingExtraError
        If botorch isn't installed.
    DataError
        Unknown tasks or fidelities; a warped target, which isn't Gaussian; models without a joint posterior
        (see `surrogates.gp.differentiable.joint_posterior`).

    Examples
    --------
    >>> import numpy as np, torch
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> x = np.linspace(0, 1, 8)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y")).fit(as_dataset(x, np.sin(6 * x), inputs=["x"]))
    >>> model = botorch_model(fitted)
    >>> model.posterior(torch.tensor([[0.3], [0.5]], dtype=torch.float64)).mean.shape
    torch.Size([2, 1])
    """
    joint = joint_posterior(fitted)
    if joint.warp is not None:
        raise DataError(
            f"target {fitted.schema.target!r} was fitted with warp={joint.warp.name!r}: in its own units it isn't Gaussian; "
            f"fit the warped values as a target of their own (their optimum is the same), without warp"
        )
    several = isinstance(task, Sequence | np.ndarray) and not isinstance(task, str)
    asked: list[Label | None] = list(task) if several else [task]  # type: ignore[arg-type,list-item]
    if not asked:
        raise DataError("task is an empty list; name at least one task")
    schema, known = joint.schema, joint.vocabulary.fidelities
    labels = [require_label("task", schema.task, joint.vocabulary.tasks, label, optional=False) for label in asked]
    require_label("fidelity", schema.fidelity, known, fidelity, optional=True)
    if fidelity_column and fidelity is not None:
        raise DataError(f"fidelity is {fidelity!r} and fidelity_column is asked for; leave one of both out")
    if isinstance(fitted, FittedHierarchicalGP) and len(known) > 1 and fidelity is None and not fidelity_column:
        raise DataError(
            f"fidelity is missing: the model knows several, {list(known)}, with noise of their own; name the one that is to "
            f"be read, or ask for fidelity_column"
        )
    levels = known if fidelity_column else (fidelity,)
    codes = torch.tensor([[joint.code(task=label, fidelity=level) for level in levels] for label in labels])
    _warn_of_small_units(joint, codes, fitted.schema.target)
    return SurrogateModel(joint, codes, _train_inputs(fitted, joint, codes))


def _warn_of_small_units(joint: JointPosterior, codes: Tensor, target: str) -> None:
    spread = float(joint.spread[codes].min())
    if spread < SMALLEST_SPREAD:
        units = joint.vocabulary.units[target]
        warnings.warn(
            f"target {target!r} spreads over {spread:.1g}{f' {units}' if units else ''}: GPyTorch raises variances below "
            f"1e-10 to that, and BoTorch's acquisition functions smooth by constants, as if targets were of the order of "
            f"one; fit it in smaller units",
            UserWarning,
            stacklevel=3,
        )


def _train_inputs(fitted: FittedProcess, joint: JointPosterior, codes: Tensor) -> Tensor:
    """Distinct places (n, d) at which the outputs were read, with the fidelity's column where there is one."""
    x, code = read_places(fitted, joint)
    # any fidelity of these tasks: where a coarse one was read, the function is known, too
    F = len(joint.vocabulary.fidelities)
    mine = np.isin(code // F, codes.numpy() // F)
    if codes.shape[1] == 1:
        return torch.from_numpy(np.unique(x[mine], axis=0))
    level = code[mine] % codes.shape[1]
    return torch.from_numpy(np.unique(np.concatenate([x[mine], level[:, None]], axis=1), axis=0))


def _factor(covariance: Tensor) -> Tensor:
    """Cholesky factor (..., n, n); where rounding has left negative eigenvalues, as much is added as they lack,
    with a `JitterWarning`.

    It is not linear_operator's `psd_safe_cholesky`, which adds absolute numbers, whatever the target's units are.
    """
    L: Tensor
    L, info = torch.linalg.cholesky_ex(covariance)
    if not bool(info.any()):
        return L
    lowest = torch.linalg.eigvalsh(covariance.detach())[..., 0]
    size = covariance.detach().diagonal(dim1=-2, dim2=-1).abs().amax(dim=-1)
    lacking = torch.where(info > 0, 2 * lowest.clamp_max(0.0).abs() + 1e-14 * size, 0.0)
    share = float((lacking / size).max())
    warnings.warn(
        f"{share:.1e} of the variance was added to a covariance that rounding left indefinite", JitterWarning, 4
    )
    more = lacking.unsqueeze(-1).expand(covariance.shape[:-1])
    L = torch.linalg.cholesky(covariance + torch.diag_embed(more))
    return L


def _widened(by_draw: Tensor, shape: torch.Size) -> Tensor:
    """(k, *b, n) as (k, *shape), whose leading dims may be more than b."""
    k, *inner = by_draw.shape
    return by_draw.reshape(k, *[1] * (len(shape) - len(inner)), *inner).expand(k, *shape)


def _joined(old: Observed, new: Observed) -> Observed:
    """Older and newer observations, of all batches."""
    batch = torch.broadcast_shapes(old.y.shape[:-1], new.y.shape[:-1])

    def beside(a: Tensor, b: Tensor, trailing: int) -> Tensor:
        parts = [part.expand(*batch, *part.shape[-trailing:]) for part in (a, b)]
        return torch.cat(parts, dim=-trailing)

    k = max(len(old.noise), len(new.noise))
    noise = [_widened(part.noise, torch.Size([*batch, part.noise.shape[-1]])) for part in (old, new)]
    return Observed(
        beside(old.x, new.x, 2),
        beside(old.codes, new.codes, 1),
        beside(old.y, new.y, 1),
        torch.cat([part.expand(k, *part.shape[1:]) for part in noise], dim=-1),
    )
