"""Predictions at dask arrays: lazy, block by block, so that memory is bounded by a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from surrogates.schema import Vocabulary


def predict_lazily(
    predict: Callable[[xr.Dataset], xr.Dataset], dataset: xr.Dataset, vocabulary: Vocabulary
) -> xr.Dataset:
    """One block at a time; the template comes from a prediction at a single place."""
    vectors = {dim for dim, _ in vocabulary.own_dims.values() if dim in dataset.dims}
    split = {n: v for n, v in dataset.variables.items() if v.chunks is not None and vectors & set(v.dims)}
    dataset = dataset.assign({n: v.chunk(dict.fromkeys(vectors & set(v.dims), -1)) for n, v in split.items()})
    corner = dataset.isel({dim: slice(0, 1) for dim in dataset.dims if dim not in vectors}).compute()
    small = predict(corner)
    arrays = {}
    for name, array in small.data_vars.items():
        if set(array.dims) & set(dataset.dims):
            shape = {dim: dataset.sizes.get(dim, size) for dim, size in array.sizes.items()}
            chunks = tuple(dataset.chunks.get(dim, (size,)) for dim, size in shape.items())
            arrays[name] = xr.Variable(array.dims, _lazy_empty(tuple(shape.values()), chunks), array.attrs)
        else:
            arrays[name] = array.variable
    # the answer's coordinates are the request's own, but for the fidelities of `noise_std`
    coords = {n: dataset[n].variable if n in dataset.variables else c for n, c in small.coords.items()}
    template = xr.Dataset(arrays, coords=coords, attrs=small.attrs)
    return dataset.map_blocks(predict, template=template)


def _lazy_empty(shape: tuple[int, ...], chunks: tuple[tuple[int, ...], ...]) -> Any:
    import dask.array

    return dask.array.empty(shape, chunks=chunks)
