"""The tables of tests/planted/ fit the code that they change."""

from planted_faults import ROOT, outdated, read


def test_every_fault_can_be_planted() -> None:
    assert outdated(read([]), ROOT) == []
