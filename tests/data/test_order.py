import pytest

from restore.data.order import EvalOrder, TrainOrder


@pytest.mark.parametrize("length,world", [(1, 1), (10, 1), (10, 2), (11, 3), (64, 4)])
def test_training_processes_share_one_order_in_equal_parts(length: int, world: int) -> None:
    whole = list(TrainOrder(length, seed=3))
    parts = [list(TrainOrder(length, seed=3, rank=rank, world=world)) for rank in range(world)]
    assert sorted(index for index, _ in whole) == list(range(length))
    assert {len(part) for part in parts} == {length // world}
    assert [len(TrainOrder(length, 3, rank=rank, world=world)) for rank in range(world)] == [
        length // world
    ] * world
    joined = [pair for step in zip(*parts, strict=True) for pair in step]
    assert joined == whole[: length - length % world]


def test_training_order_is_a_function_of_seed_and_epoch() -> None:
    order = TrainOrder(1000, seed=0)
    first = list(order)
    assert list(order) == first == list(TrainOrder(1000, seed=0))
    order.set_epoch(1)
    second = list(order)
    assert second != first and [i for i, _ in second] != [i for i, _ in first]
    assert not {seed for _, seed in first} & {seed for _, seed in second}
    assert list(TrainOrder(1000, seed=1)) != first
    order.set_epoch(0)
    assert list(order) == first


def test_training_order_is_well_mixed() -> None:
    orders = []
    for epoch in range(3):
        order = TrainOrder(2000, seed=0, epoch=epoch)
        orders.append([index for index, _ in order])
    for a, b in [(orders[0], orders[1]), (orders[1], orders[2]), (orders[0], range(2000))]:
        mean = (2000 - 1) / 2
        covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True)) / 2000
        assert abs(covariance / ((2000**2 - 1) / 12)) < 0.1


def test_a_sample_has_the_same_seed_wherever_it_falls() -> None:
    alone = dict(TrainOrder(50, seed=1, epoch=4))
    shared = dict(TrainOrder(50, seed=1, epoch=4, rank=1, world=2))
    assert len(shared) == 25 and all(alone[index] == seed for index, seed in shared.items())


def test_going_on_within_an_epoch() -> None:
    whole = TrainOrder(40, seed=2, epoch=3)
    rest = TrainOrder(40, seed=2, epoch=3, start=12)
    rest.set_epoch(3)
    assert len(rest) == 40 and list(rest) == list(whole)[12:]
    rest.set_epoch(4)
    whole.set_epoch(4)
    assert len(rest) == 40 and list(rest) == list(whole)


@pytest.mark.parametrize("length", [1, 5, 7])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_everything_once(length: int, world: int) -> None:
    parts = [list(EvalOrder(length, 0, rank=rank, world=world)) for rank in range(world)]
    assert sorted(index for part in parts for index, _ in part) == list(range(length))
    assert all(index % world == rank for rank, part in enumerate(parts) for index, _ in part)
    assert [len(EvalOrder(length, 0, rank=r, world=world)) for r in range(world)] == [
        len(part) for part in parts
    ]


def test_evaluation_seeds_are_frozen_by_seed_and_index() -> None:
    assert list(EvalOrder(3, seed=0)) == [(0, 0), (1, 1), (2, 2)]
    assert list(EvalOrder(2, seed=5)) == [(0, 5 * 2**32), (1, 5 * 2**32 + 1)]
