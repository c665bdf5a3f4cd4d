"""A published blind denoiser as a prior: it samples what a measurement has left open."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from restore.diffusion.implicit import ImplicitPrior
from restore.evaluation.method import Method, SamplingRecord
from restore.evaluation.published import Published
from restore.image import from_unit, to_unit
from restore.network.published_denoiser import PublishedDenoiser
from restore.stream import Stream, fold
from restore.types import InputError, Observation


class PublishedPrior:
    """`prior(observation, num_samples)` gives [B, num_samples, C, H, W] in [-1, 1].

    network, path, sha256: as of `Published`, of a network that is told no noise level. sampler:
    how it is sampled. seed: of the noise; a sample depends on it, its image and its number alone.
    calls: of the network, for each sample so far.

    Raises:
        InputError: as `Published` does; when called, an observation without holes.
    """

    def __init__(
        self,
        network: PublishedDenoiser,
        path: str,
        sampler: ImplicitPrior,
        sha256: str | None = None,
        seed: int = 0,
    ) -> None:
        if network.takes_sigma:
            raise InputError(
                f"{path}: {type(network).__name__} must be told the noise level, a prior must not"
            )
        # a third faster in bf16, and no slower in float32
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._published = Published(network, path, sha256)
        self.sampler, self.seed = sampler, seed
        self.calls: list[int] = []

    def check(self, observation: Observation) -> None:
        """Raises InputError for what it cannot restore."""
        image, path = observation["input"], self._published.path
        channels = self._published.network.image_channels
        if image.shape[1] != channels:
            raise InputError(
                f"{path.name} makes images of {channels} channels, this benchmark has inputs of "
                f"{image.shape[1]}"
            )
        if "hole" not in observation and "operator" not in observation:
            raise InputError(
                f"{path.name} as a prior needs to know what was measured: use a degradation with a "
                "mask or another operator"
            )
        if "sigma" in observation and observation["sigma"].any():
            raise InputError(f"{path.name} as a prior takes measurements without noise alone")

    def __call__(self, observation: Observation, num_samples: int) -> Tensor:
        self.check(observation)
        draws = [self._draw(observation, number) for number in range(num_samples)]
        return torch.stack(draws, dim=1)

    def _draw(self, observation: Observation, number: int) -> Tensor:
        """Sample `number` of every image."""
        image, network = observation["input"], self._published.network
        nearest = _nearest(observation)
        stream = Stream(fold(observation["index"], self.seed, number))
        unused = image.new_zeros(len(image))
        made, calls = self.sampler(
            lambda y: network(y.contiguous(memory_format=torch.channels_last), unused).float(),
            lambda x: to_unit(nearest(from_unit(x))),
            image,
            stream,
        )
        self.calls += calls.tolist()
        return nearest(from_unit(made))

    def method(self, name: str, self_ensemble: bool = False) -> Method:
        """Raises InputError for a self-ensemble: a sampler draws its results."""
        if self_ensemble:
            raise InputError(f"self_ensemble=true: {name} is a prior and draws, leave it out")
        sampler = self.sampler
        # Recorded rows always say three of the settings, the others where they are not as usual.
        spelled = ";".join(
            f"{field.name}={value}"
            for field in sorted(dataclasses.fields(sampler), key=lambda field: field.name)
            if (value := getattr(sampler, field.name)) != field.default or field.name in _SAID
        )
        return Method(
            name=name,
            kind="published",
            restore=self,
            check=self.check,
            checkpoint=str(self._published.path),
            module=self._published.network,
            num_calls=sampler.max_calls,
            calls=self.calls,
            seed=self.seed,
            sampling=SamplingRecord(type(sampler).__name__, spelled),
        )


_SAID = ("beta", "sigma_last", "step")


def _nearest(observation: Observation) -> Callable[[Tensor], Tensor]:
    """The closest image in [-1, 1] that has been measured as this one was; known pixels are equal
    to the bit."""
    image = observation["input"]
    if "hole" in observation:
        hole = observation["hole"] > 0.5
        return lambda x: torch.where(hole, x, image)
    operator = observation["operator"]
    measured = operator.measured(image)
    return lambda x: operator.nearest(x, measured)
