"""The streams are frozen for ever: other numbers would be other benchmarks."""

import numpy as np
import pytest
import torch

from restore.stream import SampleStream, Stream, check_seed, fold
from restore.types import InputError

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
SEEDS = torch.tensor([0, 1, 2**40 + 7])


def mix64(x: int) -> int:
    """SplitMix64's finalizer in Python integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def python_fold(seed: int, *keys: int) -> int:
    for key in keys:
        seed = mix64((mix64((seed + GOLDEN) & MASK) + key) & MASK)
    return seed & (2**63 - 1)


def numpy_bits(seed: int, draw: int, count: int) -> np.ndarray:
    """The 32-bit words of a draw by unsigned arithmetic."""

    def mix32(x: np.ndarray) -> np.ndarray:
        x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
        return x ^ (x >> 16)

    key = python_fold(seed, draw)
    counter = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1)
    bits = mix32(counter + np.uint32(key & 0xFFFFFFFF))
    return mix32(bits + np.uint32(key >> 32))


def test_mix64_is_splitmix64() -> None:
    # The first three outputs of SplitMix64 with seed 0, as its reference implementation prints.
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [mix64((n + 1) * GOLDEN & MASK) for n in range(3)] == known


@pytest.mark.parametrize("keys", [(), (0,), (7,), (1, 2), (2, 1), (2**62, 5)])
def test_fold_against_python_integers(keys: tuple[int, ...]) -> None:
    expected = [python_fold(seed, *keys) for seed in SEEDS.tolist()]
    assert fold(SEEDS, *keys).tolist() == expected


def test_fold_takes_tensors_of_keys() -> None:
    keys = torch.tensor([5, 6, 7])
    expected = [python_fold(s, k) for s, k in zip(SEEDS.tolist(), keys.tolist(), strict=True)]
    assert fold(SEEDS, keys).tolist() == expected


def test_fold_does_not_collide_over_epochs_and_indices() -> None:
    index = torch.arange(20_000)
    folded = torch.cat([fold(torch.zeros_like(index), epoch, index) for epoch in range(10)])
    assert len(folded.unique()) == len(folded)
    assert (folded >= 0).all()


def test_uniform_against_numpy() -> None:
    stream = Stream(SEEDS)
    for draw in range(1, 20):  # beyond the keys that are made at once
        expected = [(numpy_bits(s, draw, 1000) >> 8) * 2.0**-24 for s in SEEDS.tolist()]
        assert np.array_equal(stream.uniform(1000).numpy(), np.stack(expected).astype(np.float32))


def test_normal_against_numpy() -> None:
    unit = (numpy_bits(1, 1, 1000) >> 8) * 2.0**-24
    radius, angle = np.sqrt(-2 * np.log(1 - unit[:500])), 2 * np.pi * unit[500:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    got = Stream(SEEDS).normal(10, 100)[1].flatten().numpy()
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_known_numbers() -> None:
    stream = Stream(SEEDS)
    assert fold(SEEDS, 1, 2).tolist() == [
        6087944779630135118,
        6071134653087338702,
        7206279591339925390,
    ]
    uniform = torch.tensor(
        [
            [0.6873233318328857, 0.8266328573226929, 0.12108778953552246],
            [0.18548673391342163, 0.905261754989624, 0.41868776082992554],
            [0.7349439263343811, 0.6528406739234924, 0.47832930088043213],
        ]
    )
    assert torch.equal(stream.uniform(3), uniform)
    normal = torch.tensor([1.6390613, 0.0621233, -0.6522907])
    torch.testing.assert_close(stream.normal(3)[:, 0], normal, atol=2e-6, rtol=0)
    integers = [[265, 138, 248], [286, 596, 560], [420, 608, 940]]
    assert stream.integers(0, 1000, 3).tolist() == integers


def test_moments() -> None:
    stream = Stream(torch.arange(100))
    uniform = stream.uniform(10_000).double()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 1 / 2) < 2e-3 and abs(uniform.var() - 1 / 12) < 1e-3
    normal = stream.normal(10_000).double()
    moments = [normal.mean(), (normal**2).mean() - 1, (normal**3).mean(), (normal**4).mean() - 3]
    assert max(abs(float(moment)) for moment in moments) < 0.03
    counts = torch.bincount(stream.integers(3, 10, 10_000).flatten(), minlength=11)
    assert (counts[:3] == 0).all() and counts[10] == 0
    assert ((counts[3:10] - 1e6 / 7).abs() < 2500).all()


def test_draws_seeds_and_pixels_are_uncorrelated() -> None:
    stream = Stream(torch.arange(4))
    rows = torch.cat([stream.normal(50_000), stream.normal(50_000), stream.uniform(50_000)])
    rows = torch.cat([rows, rows[:1].roll(1, dims=1), rows[:1].roll(256, dims=1)])
    correlation = torch.corrcoef(rows.double()) - torch.eye(len(rows))
    assert correlation.abs().max() < 0.025


def test_a_sample_does_not_depend_on_its_batch() -> None:
    seeds = torch.arange(7) * 1000
    together, alone, backwards = Stream(seeds), Stream(seeds[3:4]), Stream(seeds.flip(0))
    for draw in ("uniform", "normal"):
        numbers = getattr(together, draw)(3, 5)
        assert torch.equal(numbers[3:4], getattr(alone, draw)(3, 5))
        assert torch.equal(numbers, getattr(backwards, draw)(3, 5).flip(0))


def test_no_global_state() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Stream(SEEDS).normal(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(Stream(SEEDS).normal(4), first)


def test_seeds_have_64_bits() -> None:
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(InputError, match=f"seed={seed} must be a whole number"):
            check_seed(seed)
    check_seed(2**64 - 1)
    check_seed(-(2**63))


def test_bounds() -> None:
    uniform = Stream(torch.arange(10)).uniform(1000, low=-3.0, high=5.0)
    assert uniform.min() >= -3 and uniform.max() <= 5
    assert uniform.min() < -2.9 and uniform.max() > 4.9
    assert Stream(torch.arange(10)).integers(4, 5, 3).unique().tolist() == [4]


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7, 2**62 + 2**31])
@pytest.mark.parametrize("keys", [(), (-4,), (-3, 5)])
def test_the_stream_of_one_sample_is_that_of_a_batch(seed: int, keys: tuple[int, ...]) -> None:
    one, whole = SampleStream(seed, *keys), Stream(fold(torch.tensor([seed]), *keys))
    for turn in range(12):
        assert one.uniform(turn + 1) == whole.uniform(turn + 1)[0].double().tolist()
        for low, high in ((0, 2), (0, 4), (-3, 2**31)):
            assert one.integer(low, high) == int(whole.integers(low, high))
