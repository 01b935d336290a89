"""One network out of several that were fine-tuned from the same initialisation, on plain state dicts.

τ_t = θ_t - θ_0 is the task vector of model t (Ilharco et al. 2022, arXiv:2212.04089). Entries that aren't floating point,
such as counters, must be equal in all and are kept. Scales of normalisation layers and heads had better be fitted anew
afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from surrogates.errors import DataError

State = Mapping[str, Tensor]


def task_arithmetic(base: State, tuned: Sequence[State], *, scale: float | Sequence[float] = 1.0) -> dict[str, Tensor]:
    """θ_0 + Σ_t λ_t τ_t. With λ_t = 1/T it is the mean of the models, with λ = -1 of one model what it learnt is taken away.

    Parameters
    ----------
    base, tuned : state dicts of the initialisation and of the models trained from it
    scale : λ for all, or λ_t of each

    Examples
    --------
    >>> base, tuned = {"w": torch.zeros(2)}, [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}]
    >>> task_arithmetic(base, tuned)["w"].tolist()
    [1.0, 2.0]
    """
    vectors = _task_vectors(base, tuned)
    scales = [float(scale)] * len(tuned) if isinstance(scale, int | float) else [float(λ) for λ in scale]
    if len(scales) != len(tuned):
        raise DataError(f"scale has {len(scales)} entries for {len(tuned)} models; give one number, or one for each")
    total = sum((λ * τ for λ, τ in zip(scales, vectors, strict=True)), torch.zeros_like(vectors[0]))
    return _moved(base, total)


def merge_ties(base: State, tuned: Sequence[State], *, keep: float = 0.2, scale: float = 1.0) -> dict[str, Tensor]:
    """TIES merging: trim, elect signs, average what agrees (Yadav et al. 2023, arXiv:2306.01708, section 3).

        1. trim   τ̂_t: the `keep` share of τ_t with the largest magnitudes, over all of the model's entries; the rest 0
        2. elect  γ = sgn(Σ_t τ̂_t), entry by entry
        3. merge  τ = mean of those τ̂_t whose sign is γ (not of the zeros);    θ = θ_0 + scale · τ

    From our knowledge of the method; the paper wasn't at hand.

    Parameters
    ----------
    keep : share, > 0 and <= 1
    scale : λ; about 1 in the paper

    Examples
    --------
    >>> tuned = [{"w": torch.tensor([3.0, 1.0])}, {"w": torch.tensor([-1.0, 2.0])}]
    >>> merge_ties({"w": torch.zeros(2)}, tuned, keep=1.0)["w"].tolist()
    [3.0, 1.5]
    """
    if not 0 < keep <= 1:
        raise DataError(f"keep is {keep!r}; it must be a share > 0 and <= 1")
    τ = torch.stack(_task_vectors(base, tuned))  # (T, P)
    kept = max(1, round(keep * τ.shape[1]))
    order = τ.abs().argsort(dim=1, descending=True, stable=True)  # ties: the first entries stay
    trimmed = torch.zeros_like(τ).scatter(1, order[:, :kept], τ.gather(1, order[:, :kept]))
    agrees = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)
    merged = (trimmed * agrees).sum(0) / agrees.sum(0).clamp(min=1)
    return _moved(base, scale * merged)


def drop_and_rescale(base: State, tuned: State, *, drop: float, generator: torch.Generator) -> dict[str, Tensor]:
    """DARE (Yu et al. 2023, arXiv:2311.03099): each entry of τ becomes 0 with probability p, the others τ/(1 - p).

    The mean over draws is the tuned model itself; its sparse task vector collides less with others in a merge afterwards.

    Parameters
    ----------
    drop : p, >= 0 and < 1
    generator : draws what is dropped
    """
    if not 0 <= drop < 1:
        raise DataError(f"drop is {drop!r}; it must be a probability >= 0 and < 1")
    (τ,) = _task_vectors(base, [tuned])
    kept = torch.empty_like(τ).bernoulli_(1 - drop, generator=generator)
    return _moved(base, τ * kept / (1 - drop))


def _task_vectors(base: State, tuned: Sequence[State]) -> list[Tensor]:
    """τ_t (P,) of each model, over all floating entries."""
    if not tuned:
        raise DataError("tuned is empty; give one fine-tuned model or more")
    for k, state in enumerate(tuned):
        if state.keys() != base.keys():
            names = sorted(set(state) ^ set(base))
            raise DataError(f"tuned[{k}] and base differ in the entries {names}; they must be of one architecture")
        for name, value in base.items():
            if state[name].shape != value.shape:
                found, wanted = tuple(state[name].shape), tuple(value.shape)
                raise DataError(f"tuned[{k}][{name!r}] has shape {found}, base's {wanted}; they must be equal")
            if not value.is_floating_point() and not torch.equal(state[name], value):
                raise DataError(
                    f"tuned[{k}][{name!r}] isn't floating point and differs from base's; it can't be merged"
                )
    floating = [name for name, value in base.items() if value.is_floating_point()]
    if not floating:
        raise DataError("base has no floating-point entry; there is nothing to merge")
    return [torch.cat([(state[name] - base[name]).detach().reshape(-1) for name in floating]) for state in tuned]


def _moved(base: State, τ: Tensor) -> dict[str, Tensor]:
    """θ_0 + τ, as copies."""
    merged, start = {}, 0
    for name, value in base.items():
        merged[name] = value.detach().clone()
        if value.is_floating_point():
            merged[name] += τ[start : start + value.numel()].view_as(value)
            start += value.numel()
    return merged
