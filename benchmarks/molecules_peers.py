"""Molecular peers of `MolecularNet` behind one signature: a table of few labels in, predictions for other molecules out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import FitWarning
from surrogates.molecules import MolecularNet
from surrogates.molecules.features import DescriptorScaling, molecule_features
from surrogates.molecules.table import read_entries

Floats = NDArray[np.float64]
LEVEL = 0.9


class Guess(NamedTuple):
    """For n molecules and m properties, in their units.

    mean : (n, m)
    lower, upper : (n, m) ends of 90 % intervals of a reading; NaN where the method has none
    notes : what else is to be kept of the run
    """

    mean: Floats
    lower: Floats
    upper: Floats
    notes: dict[str, Any]


#: training table, table to predict for (its labels aren't looked at), variables of SMILES, seed
Method = Callable[[xr.Dataset, xr.Dataset, tuple[str, ...], int], Guess]


def ours(**settings: Any) -> Method:
    """`MolecularNet` with settings."""

    def run(train: xr.Dataset, test: xr.Dataset, smiles: tuple[str, ...], seed: int) -> Guess:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # salts and the like; the same for all methods
            fitted = MolecularNet(smiles=smiles, **settings).fit(train, seed=seed)
        answer = fitted.predict(test, level=LEVEL)
        report = fitted.report
        notes = {
            "model": report.model,
            "weight": {name: entry.weight for name, entry in report.properties.items()},
            "change": {name: entry.change for name, entry in report.properties.items()},
            "deviation": {name: entry.deviation for name, entry in report.properties.items()},
        }
        mean, lower, upper = (
            answer[k].transpose("molecule", "property").to_numpy() for k in ("mean", "lower", "upper")
        )
        return Guess(mean, lower, upper, notes)

    return run


def random_forest(train: xr.Dataset, test: xr.Dataset, smiles: tuple[str, ...], seed: int) -> Guess:
    """scikit-learn's forest for each property on our features: 200 trees, a third of the features at each node.

    Its intervals are the mean plus and minus the 90 % quantile of the out-of-bag residuals' sizes (split-conformal).
    """
    from sklearn.ensemble import RandomForestRegressor

    known, asked = (molecule_features(keys_of(table, smiles)) for table in (train, test))
    names = list(map(str, train.data_vars))
    columns = []
    for name in names:
        rows = np.flatnonzero(np.isfinite(train[name].to_numpy()))
        y = train[name].to_numpy()[rows]
        scaling = DescriptorScaling.fit(known.descriptors[rows])  # trees don't mind scales, but missing values
        common = (known.counts[rows] > 0).sum(0) >= 2
        x, x_asked = (
            np.concatenate([scaling(part.descriptors), part.counts[:, common]], axis=1)
            for part in (known.take(rows), asked)
        )
        forest = RandomForestRegressor(200, max_features=1 / 3, oob_score=True, n_jobs=1, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a row that is in no bag's outside, where rows are few
            forest.fit(x, y)
        sizes = np.sort(np.abs(y - forest.oob_prediction_))
        rank = min(int(np.ceil(LEVEL * (len(y) + 1))), len(y)) - 1
        columns.append((forest.predict(x_asked), np.full(len(x_asked), sizes[rank])))
    mean, half = (np.stack([column[k] for column in columns], axis=1) for k in (0, 1))
    return Guess(mean, mean - half, mean + half, {})


def chemprop(train: xr.Dataset, test: xr.Dataset, smiles: tuple[str, ...], seed: int) -> Guess:
    """chemprop 2, one network for all properties, as its command line does by default.

    Directed message passing along bonds (width 300, depth 3), `NormAggregation`, one hidden layer of 300, 50 epochs of
    batches of 64, a rate that rises to 1e-3 and falls to 1e-4, labels scaled, those missing masked. 10 % of the molecules
    are kept apart; the epoch with the lowest loss there is taken. A dye and its solvent have message passing of their
    own each (`MulticomponentMPNN`).
    """
    from chemprop import data, models, nn
    from lightning import pytorch as pl

    names = list(map(str, train.data_vars))
    y = np.stack([train[name].to_numpy() for name in names], axis=1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    held = order[: max(1, round(0.1 * len(y)))]
    kept = order[len(held) :]
    keys, asked = keys_of(train, smiles), keys_of(test, smiles)
    fitting = _chemprop_data([keys[k] for k in kept], y[kept])
    checking = _chemprop_data([keys[k] for k in held], y[held])
    asking = _chemprop_data(asked, np.full((len(asked), len(names)), np.nan))
    scaler = fitting.normalize_targets()
    checking.normalize_targets(scaler)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        torch.manual_seed(seed)
        parts = [nn.BondMessagePassing() for _ in smiles]
        passing = parts[0] if len(parts) == 1 else nn.MulticomponentMessagePassing(parts)
        head = nn.RegressionFFN(
            n_tasks=len(names),
            input_dim=passing.output_dim,
            output_transform=nn.UnscaleTransform.from_standard_scaler(scaler),
        )
        kind = models.MPNN if len(parts) == 1 else models.MulticomponentMPNN
        model = kind(passing, nn.NormAggregation(), head)
        trainer, best = _trainer(pl)
        trainer.fit(
            model,
            data.build_dataloader(fitting, batch_size=64, seed=seed),
            data.build_dataloader(checking, batch_size=64, shuffle=False),
        )
        model.load_state_dict(best.state)
        batches = trainer.predict(model, data.build_dataloader(asking, batch_size=64, shuffle=False))
    mean = torch.cat(batches).double().numpy().reshape(len(asked), len(names))
    unknown = np.full_like(mean, np.nan)
    return Guess(mean, unknown, unknown, {"epoch": best.epoch, "version": _version("chemprop")})


def _trainer(pl: Any) -> tuple[Any, Any]:
    """Lightning's trainer without files and bars, and what keeps the best state in memory."""

    class Best(pl.Callback):  # type: ignore[misc, name-defined, unused-ignore]
        loss, epoch, state = float("inf"), -1, None

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            loss = float(trainer.callback_metrics["val_loss"])
            if not trainer.sanity_checking and (loss < self.loss or self.state is None):
                self.loss, self.epoch, self.state = loss, trainer.current_epoch, copy.deepcopy(module.state_dict())

    best = Best()
    trainer = pl.Trainer(
        max_epochs=50,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[best],
    )
    return trainer, best


def _chemprop_data(keys: Sequence[tuple[str, ...]], y: Floats) -> Any:
    """Molecules, or tuples of them, with their labels."""
    from chemprop import data
    from rdkit import Chem

    parts = []
    for c in range(len(keys[0])):
        molecules = [Chem.MolFromSmiles(key[c]) for key in keys]
        points = [data.MoleculeDatapoint(molecule, row) for molecule, row in zip(molecules, y, strict=True)]
        parts.append(data.MoleculeDataset(points))
    for part in parts:
        part.cache = True  # the molecules' graphs, made once
    return parts[0] if len(parts) == 1 else data.MulticomponentDataset(parts)


def keys_of(table: xr.Dataset, smiles: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Canonical SMILES of a table of the data sets."""
    written = list(zip(*(map(str, table[name].values.tolist()) for name in smiles), strict=True))
    keys = [key for key in read_entries(written).keys if key is not None]
    assert len(keys) == len(written)  # the data sets hold readable SMILES only
    return keys


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


#: by the names of the tables
METHODS: dict[str, Method] = {
    "ours": ours(),
    "ours, single": ours(sharing="single"),
    "ours, shared": ours(sharing="shared"),
    "processes, single": ours(model="gp", sharing="single"),
    "network, single": ours(model="net", sharing="single"),
    "network, shared": ours(model="net", sharing="shared"),
    "random forest": random_forest,
    "chemprop": chemprop,
}
