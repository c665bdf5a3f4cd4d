"""What models of a chain are told, by stand-ins that write it down."""

from typing import Any, cast

import numpy as np
import pytest

from restore.api import Model
from restore.chain import Settings, _through

PHOTO = np.zeros((4, 5, 3), np.uint8)


class Told:
    """Gives its image back, as often as it is asked to."""

    fills_holes = has_guidance = ensembles = False

    def __init__(self, draws: bool = False, levels: bool = False) -> None:
        self.has_sampler, self.needs_sigma = draws, levels
        self.calls: list[dict[str, Any]] = []

    def __call__(self, image: Any, num_samples: int = 1, **told: Any) -> Any:
        self.calls.append(told)
        return [image] * num_samples if num_samples > 1 else image


def through(chain: list[Told], photos: int, **settings: Any) -> tuple[list[Any], list[float]]:
    given = np.stack([PHOTO] * photos) if photos > 1 else PHOTO
    return _through(cast(list[Model], chain), given, None, [PHOTO] * photos, Settings(**settings))


def test_the_first_sampler_alone_draws_several() -> None:
    """The next one takes each of them once: 3 results, and not 9."""
    chain = [Told(), Told(draws=True), Told(draws=True)]
    images, _ = through(chain, 1, num_samples=3, strength=0.5)
    assert len(images) == 3
    assert [len(one.calls) for one in chain] == [1, 1, 3]


def test_each_photo_of_a_batch_has_its_own_level(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter((10.0, 20.0))
    monkeypatch.setattr("restore.chain.estimate_sigma", lambda photo: next(found))
    model = Told(levels=True)
    assert through([model], 2)[1] == [10.0, 20.0]
    assert model.calls[0]["sigma"] == [10.0, 20.0]


def test_a_level_that_is_given_is_that_of_all() -> None:
    model = Told(levels=True)
    assert through([model], 1, sigma=15.0)[1] == [15.0]
    assert through([model], 2, sigma=15.0)[1] == [15.0, 15.0]
    assert [call["sigma"] for call in model.calls] == [15.0, [15.0, 15.0]]
