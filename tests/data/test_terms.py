"""Whose data weights have learnt from, as a config names it."""

from typing import Any

import pytest

from restore.data.terms import OPEN, UNKNOWN, licence, terms


def node(source: dict[str, Any]) -> dict[str, Any]:
    return {"source": source}


@pytest.mark.parametrize("key", ["folder", "train", "shards"])
@pytest.mark.parametrize(
    "place", ["mine/a.tar", "/home/me/photos", "https://host/train-{0..9}.tar"]
)
def test_data_of_others_has_no_licence_that_restore_knows(key: str, place: str) -> None:
    """Also where what is held out for the validation is known: the training counts as well."""
    held = {"train": "flowers128/val-{000000..000001}.tar"}
    found = terms(node({key: place, "held": held}))
    assert UNKNOWN in found.values() and licence(found) == UNKNOWN
    assert licence(terms(node({"train": held["train"]}))) == OPEN
