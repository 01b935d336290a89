"""Graphs of fidelities."""

from __future__ import annotations

from typing import Any

import pytest

from surrogates.errors import DataError
from surrogates.gp.fidelity.graph import make_graph


def test_a_sequence_is_a_chain() -> None:
    graph = make_graph(["coarse", "medium", "fine"])
    assert graph.parents == ((), (0,), (1,))
    assert graph.edges == ((0, 1), (1, 2))
    assert graph.name((1, 2)) == "medium -> fine"
    assert graph.is_tree


def test_a_mapping_may_stand_in_any_order_and_ends_with_what_it_leads_to() -> None:
    graph = make_graph({"best": ["b", "a"], "a": None, "b": "a"})
    assert graph.labels == ("a", "b", "best")
    assert graph.parents == ((), (0,), (0, 1))
    assert not graph.is_tree


def test_numbers_are_labels_too() -> None:
    assert make_graph({2: 1, 1: None}).parents == ((), (0,))


@pytest.mark.parametrize(
    ("fidelities", "words"),
    [
        ([], "fidelities is empty"),
        ({}, "fidelities is empty"),
        ("low", "give a sequence of labels, cheapest first"),
        (["a", "b", "a"], "names a twice"),
        ({"a": "c"}, "builds on 'c', which isn't among"),
        ({"a": None, "b": ["a", "a"]}, r"'b' builds on \['a', 'a'\]; name each of them once"),
        ({"a": "b", "b": "a"}, "in a circle; leave out one"),
    ],
)
def test_what_is_no_graph_is_refused(fidelities: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_graph(fidelities)
