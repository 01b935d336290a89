"""Regret against cost: our design loops against those of BoTorch's models, and random search.

    python benchmarks/design_loop.py [--seeds 20] [--first 0] [--studies branin "branin, unrelated"] [--quick]

Transfer: three tasks have been read, a fourth is to be minimised. Loops that know the old tasks begin with one reading of
the new one, where the old ones are low on average, if these are alike among themselves; else, as all others do, with an even
design. Two fidelities: the cheap one costs a tenth. All loops maximise (log) expected improvement with the same optimiser,
and all models are told that there is no noise, so that what differs is the model. Problems are in `design_loop_problems.py`
and `design_loop_fidelities.py`; loops run through `surrogates.design.Loop`.

Regret is the least value read so far above the least there is, in standard deviations of the function. A hundredth counts as
found: a loop ends there. What counts is when a loop meets the last regret of the loop with BoTorch's SingleTaskGP, every
first reading counted, and twice the budget where it never does. "of the budget" is that cost over the budget that both were
given, median over the seeds; "ratio" is it over the cost at which the other loop came there itself: median, quartiles and
geometric mean. Seconds are of the processor, for one step. One BLAS thread; the whole takes some 40 minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from design_loop_fidelities import (
    COSTS,
    DEAR,
    FIDELITY_STUDIES,
    LevelsFitter,
    TwoFidelities,
    augmented_ei,
    first_readings,
)
from design_loop_methods import Clock, Fitter, MultiTask, hierarchical, log_ei, single_task
from design_loop_problems import NEW, STUDIES, Case, Study, make_case, table
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from surrogates import Schema
from surrogates.design import Loop, run

Floats = NDArray[np.float64]
#: regret that counts as none, in standard deviations
FOUND = 0.01
REFERENCE = "BoTorch SingleTaskGP"


class Curve(NamedTuple):
    """Least regret (n,) after each reading of the function that counts, and what all had cost by then (n,)."""

    cost: Floats
    regret: Floats

    def at(self, cost: float) -> float:
        """Regret once so much has been spent."""
        spent = self.cost <= cost * (1 + 1e-9)
        return float(self.regret[spent][-1]) if spent.any() else float("inf")

    def cost_to_meet(self, regret: float) -> float:
        """What was spent when the regret was first met; inf if it never was."""
        met = self.regret <= regret
        return float(self.cost[np.argmax(met)]) if met.any() else float("inf")


@dataclass(frozen=True)
class Method:
    """A loop of the transfer studies.

    make : gives a maker of models, a new one for each loop; None: random search
    transfers : whether it is given the old tasks
    """

    make: Callable[[], Any] | None
    transfers: bool = True


METHODS: dict[str, Method] = {
    REFERENCE: Method(lambda: single_task, transfers=False),
    "ours, one task": Method(lambda: hierarchical, transfers=False),
    "BoTorch MultiTaskGP": Method(MultiTask),
    # at the mode of the hyper-parameters: averaging over draws takes three times as long, and was no better
    "ours, common": Method(lambda: partial(hierarchical, integrate=False)),
    "ours, icm": Method(lambda: partial(hierarchical, sharing="icm", integrate=False)),
    "ours, robust": Method(lambda: partial(hierarchical, sharing="robust", integrate=False)),
    "random search": Method(None, transfers=False),
}


def transfer_curve(method: Method, study: Study, case: Case, seed: int, clock: Clock) -> Curve:
    """One loop on a new task."""
    if method.make is None:
        x = np.random.default_rng([seed, 7]).uniform(0, 1, (study.evaluations, len(case.inputs)))
        return curve(np.ones(len(x)), case.function(x) - case.minimum)
    promising = case.promising if method.transfers else None
    x = case.design[: study.start] if promising is None else promising
    begin = len(x)
    own = table(x, case.function(x), NEW)
    data = xr.concat([case.old, own], "sample") if method.transfers else own
    schema = Schema(inputs=case.inputs, target="y", task="task" if method.transfers else None)
    suggest = partial(log_ei, inputs=case.inputs, clock=clock)
    fitter = Fitter(schema, method.make(), clock, ("task", NEW) if method.transfers else None)
    loop = Loop(fitter, data, suggest, seed=seed)

    def found(loop: Loop) -> bool:
        return bool(loop.data["y"].to_numpy()[data.sizes["sample"] - begin :].min() - case.minimum <= FOUND)

    history = run(loop, case.value, evaluations=study.evaluations - begin, stop=found)
    values = history["y"].to_numpy()[data.sizes["sample"] - begin :]
    return curve(np.ones(len(values)), values - case.minimum)


def curve(costs: Floats, regrets: Floats) -> Curve:
    """From what each reading cost and its own regret."""
    return Curve(np.cumsum(costs), np.minimum.accumulate(regrets))


def fidelity_curve(name: str, study: TwoFidelities, seed: int, clock: Clock) -> Curve:
    """One loop on two fidelities, or on the dear one alone."""
    if name == "random search":
        x = np.random.default_rng([seed, 7]).uniform(0, 1, (int(study.budget), study.inputs))
        return curve(np.ones(len(x)), study(x, DEAR) - study.minimum)
    both = FIDELITY_METHODS[name]
    data = first_readings(study, seed, cheap=both is not None)
    spent = float(sum(COSTS[label] for label in data["fidelity"].to_numpy().tolist()))
    if both is None:
        make = single_task if name == REFERENCE else hierarchical
        model: Any = Fitter(Schema(inputs=study.names, target="y", fidelity="fidelity"), make, clock)
        suggest: Any = partial(log_ei, inputs=study.names, clock=clock, fidelity=DEAR)
    else:
        model = LevelsFitter(Schema(inputs=study.names, target="y", fidelity="fidelity"), both, clock)
        suggest = partial(augmented_ei, inputs=study.names, clock=clock)

    def found(loop: Loop) -> bool:
        return (
            float(loop.data["y"].to_numpy()[(loop.data["fidelity"] == DEAR).to_numpy()].min()) - study.minimum <= FOUND
        )

    history = run(Loop(model, data, suggest, seed=seed), study.value, budget=study.budget - spent, stop=found)
    costs = np.array([COSTS[label] for label in history["fidelity"].to_numpy().tolist()])
    dear = (history["fidelity"] == DEAR).to_numpy()
    return Curve(np.cumsum(costs)[dear], np.minimum.accumulate(history["y"].to_numpy()[dear]) - study.minimum)


FIDELITY_METHODS: dict[str, bool | None] = {
    REFERENCE: None,
    "ours, one fidelity": None,
    "BoTorch SingleTaskMultiFidelityGP": False,
    "ours, two fidelities": True,
    "random search": None,
}


def target(reference: Curve) -> float:
    """The regret that the others are to meet."""
    return max(float(reference.regret[-1]), FOUND)


def ratios(curves: Sequence[Curve], reference: Sequence[Curve], budget: float) -> Floats:
    """Cost of meeting the reference's last regret, over what the reference needed (seeds,)."""
    found = []
    for mine, other in zip(curves, reference, strict=True):
        found.append(min(mine.cost_to_meet(target(other)), 2 * budget) / other.cost_to_meet(target(other)))
    return np.array(found)


def row(name: str, curves: Sequence[Curve], reference: Sequence[Curve], budget: float, clock: Clock) -> str:
    """One line of a table."""
    regrets = [np.median([each.at(share * budget) for each in curves]) for share in (0.25, 0.5, 1.0)]
    found = np.mean([each.regret[-1] <= FOUND for each in curves])
    ratio = ratios(curves, reference, budget)
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
    seconds = " / ".join(f"{total / max(clock.steps, 1):.2f}" for total in clock.seconds.values())
    cells = [f"{name:33}", *(f"{value:6.3f}" for value in regrets), f"{100 * found:3.0f} %"]
    met = [
        min(mine.cost_to_meet(target(other)), 2 * budget) / budget
        for mine, other in zip(curves, reference, strict=True)
    ]
    cells.append(f"{np.median(met):.2f}")
    cells += [f"**{middle:.2f}** ({low:.2f}, {high:.2f})", f"{np.exp(np.log(ratio).mean()):.2f}", seconds]
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| {} | regret at 1/4 | 1/2 | all of the budget | found | of the budget | ratio | mean | seconds, fit / acquisition |\n|"
    + "---|" * 9
)


def study(name: str, seeds: range, methods: Sequence[str], say: Callable[[str], None]) -> dict[str, list[Curve]]:
    """All loops of one study: their curves, seed by seed, and a table of them as it grows."""
    clocks = {method: Clock() for method in (REFERENCE, *methods)}
    if name in STUDIES:
        transfer = STUDIES[name]
        budget, known = float(transfer.evaluations), set(METHODS)
        cases = {seed: make_case(transfer, seed) for seed in seeds}

        def loop(method: str, seed: int) -> Curve:
            return transfer_curve(METHODS[method], transfer, cases[seed], seed, clocks[method])
    else:
        fidelities = FIDELITY_STUDIES[name]
        budget, known = fidelities.budget, set(FIDELITY_METHODS)

        def loop(method: str, seed: int) -> Curve:
            return fidelity_curve(method, fidelities, seed, clocks[method])

    say(f"\n{HEAD.format(f'{name}, {budget:g}')}")
    results: dict[str, list[Curve]] = {}
    for method in clocks:
        if method in known:
            results[method] = [loop(method, seed) for seed in seeds]
            say(row(method, results[method], results[REFERENCE], budget, clocks[method]))
    return results


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, list[Curve]]]:
    """Run the studies that the arguments of the command line name; the curves of each method, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--first", type=int, default=0, help="first seed; 0 to 19 were in view when settings were chosen"
    )
    for option, known in (("--studies", [*STUDIES, *FIDELITY_STUDIES]), ("--methods", [*METHODS, *FIDELITY_METHODS])):
        parser.add_argument(option, nargs="+", default=known, choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="one seed of two studies, three methods of each")
    choices = parser.parse_args(arguments)
    if choices.quick:
        choices.seeds, choices.studies = 1, ["forrester", "forrester, fidelities"]
        choices.methods = ["ours, common", "ours, two fidelities", "random search"]
    torch.set_num_threads(1)
    seeds = range(choices.first, choices.first + choices.seeds)
    with threadpool_limits(1):
        return {name: study(name, seeds, choices.methods, partial(print, flush=True)) for name in choices.studies}


if __name__ == "__main__":
    main()
