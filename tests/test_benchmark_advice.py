"""The benchmark of advice: it times what it says, and a call is quick."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import design_advice as benchmark


def test_one_call_at_300_readings_takes_less_than_a_second() -> None:
    """50 readings of each of 3 tasks and 2 fidelities."""
    table = benchmark.table((50,), 1, ("HierarchicalGP",)).set_index("goal")
    assert set(table.index) == {"map", "level set", "optimum"}
    assert (table["readings"] == 300).all()
    assert table["first call [s]"]["map"] < 1.0
    assert (table["batch of 10 [s]"] > table["call [s]"]).all()
