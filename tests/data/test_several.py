from functools import partial
from pathlib import Path

import pytest
import torch

from restore.data.several import Several
from restore.data.source import Item, Split
from restore.data.streaming import Streaming
from restore.types import InputError


class Plain:
    """`count` images of one pixel, whose value is their index; all of one name."""

    def __init__(self, root: Path, split: Split, count: int, channels: int = 3) -> None:
        self.root, self.split, self.count = root, split, count
        self.channels, self.num_classes = channels, 7

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        assert 0 <= index < self.count
        return Item(torch.full((self.channels, 1, 1), index, dtype=torch.uint8), 5, "same.png")


def several(**counts: int) -> Several:
    return Several(Path("data"), "val", {k: partial(Plain, count=n) for k, n in counts.items()})


def test_images_follow_one_another_with_names_that_tell_them_apart() -> None:
    source = several(a=2, b=0, c=3)
    assert len(source) == 5 and source.channels == 3 and source.num_classes is None
    items = [source[i] for i in range(len(source))]
    assert [int(item.image[0]) for item in items] == [0, 1, 0, 1, 2]
    assert [item.name for item in items] == ["a/same.png"] * 2 + ["c/same.png"] * 3
    assert {item.label for item in items} == {None}


@pytest.mark.parametrize("index", [-1, 5])
def test_no_index_wraps_round(index: int) -> None:
    with pytest.raises(IndexError):
        several(a=2, b=3)[index]


def test_every_source_gets_root_and_split() -> None:
    for source in several(a=1, b=1).sources.values():
        assert isinstance(source, Plain)
        assert (source.root, source.split) == (Path("data"), "val")


def test_refuses_none_and_different_channels() -> None:
    with pytest.raises(InputError, match="is empty"):
        several()
    gray = partial(Plain, count=1, channels=1)
    with pytest.raises(InputError, match=r"different channels.*'b': 1"):
        Several(Path("data"), "train", {"a": partial(Plain, count=1), "b": gray})


def test_refuses_a_stream_which_would_give_one_photo_of_each_shard() -> None:
    stream = partial(Streaming, shards="a.tar", held=partial(Plain, count=1), samples_per_epoch=9)
    with pytest.raises(InputError, match=r"data\.source\.sources\.web is a stream"):
        Several(Path("data"), "train", {"a": partial(Plain, count=1), "web": stream})
