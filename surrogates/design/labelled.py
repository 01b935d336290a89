"""One task's function of a fitted surrogate, asked at plain arrays: which codes, labels and units that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP
from surrogates.gp.fitted import FittedHierarchicalGP
from surrogates.gp.inducing.fitted_single import FittedInducingGP
from surrogates.schema import Schema, Vocabulary

Floats = NDArray[np.float64]


class Fitted(Protocol):
    """A fitted surrogate that tells mean and standard deviation of its function."""

    @property
    def schema(self) -> Schema: ...
    @property
    def vocabulary(self) -> Vocabulary: ...
    def predict(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset: ...


def places(fitted: Fitted, x: Floats, task: Any, fidelity: Any) -> xr.Dataset:
    """Places x (m, d), in the model's units and codes of labels, along ``place``, for `predict`."""
    schema, vocabulary = fitted.schema, fitted.vocabulary
    data: dict[str, Any] = {}
    for k, name in enumerate(schema.inputs):
        if name in vocabulary.categories:
            data[name] = ("place", np.array(vocabulary.categories[name])[np.rint(x[:, k]).astype(np.int64)])
        else:
            units = vocabulary.units[name]
            data[name] = ("place", x[:, k], {"units": units} if units else {})
    for variable, label in ((schema.task, task), (schema.fidelity, fidelity)):
        if variable is not None and label is not None:
            data[variable] = ("place", np.full(len(x), label))
    return xr.Dataset(data)


def ranges(fitted: Fitted) -> Mapping[str, tuple[float, float]]:
    """Lowest and highest value of every input in the data of a fitted process; nothing for other surrogates."""
    if isinstance(fitted, FittedHierarchicalGP):
        inputs, x = fitted.core.scaled.inputs, fitted.core.scaled.readings.x
    elif isinstance(fitted, FittedMultiFidelityGP):
        inputs, x = fitted.levels.inputs, fitted.levels.x
    elif isinstance(fitted, FittedInducingGP):
        inputs = fitted.large.inputs
        x = np.stack([np.full(len(inputs.width), -0.5), np.full(len(inputs.width), 0.5)])
    else:
        return {}
    low, high = (end * inputs.width + inputs.centre for end in (x.min(axis=0), x.max(axis=0)))
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(fitted.schema.inputs)}


def refuse_vectors(fitted: Fitted, purpose: str) -> None:
    """Refuse inputs that aren't numbers or labels.

    Raises
    ------
    DataError
        If inputs are vectors or counts.
    """
    vectors = list(fitted.vocabulary.own_dims)
    counts = isinstance(fitted, FittedHierarchicalGP) and fitted.core.scaled.library is not None
    if vectors or counts:
        raise DataError(
            f"{purpose} needs inputs that are single numbers or labels; {vectors or list(fitted.schema.inputs)} are "
            f"vectors or counts, which have no law of their own here: use a surrogate of plain inputs"
        )
