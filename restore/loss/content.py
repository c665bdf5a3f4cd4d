"""What a restored image is compared by: weighted terms, one number [B] each."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from restore.loss.perceptual import Network, feature_distance, image_features, style_distance
from restore.loss.reconstruction import ReconstructionLoss, total_variation
from restore.metric.psnr import psnr_from_mse
from restore.network.inpainting import composite
from restore.types import InputError, path_of, shape_of

_ROUNDING = (2 / 255) ** 2 / 12  # mean square of what 8 bits round away, in the range [-1, 1]


class ContentLoss(Protocol):
    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        """Weighted terms [B] by name, for the stages [B, C, H, W] of a generator, last one last.

        hole [B, 1, H, W]: pixels outside it are known, and those of the result are replaced.
        """
        ...


class Pixels:
    """ReconstructionLoss of every stage, weighted alike: `l1` or the like of the last, and
    `coarse_l1`, the sum over those before. Stages are compared as they are, not composited."""

    def __init__(
        self,
        weight: float = 1.0,
        distance: Literal["l1", "l2", "charbonnier"] = "l1",
        hole_weight: float = 1.0,
        known_weight: float = 1.0,
        over: Literal["region", "image"] = "region",
    ) -> None:
        self.weight = _positive("pixels.weight", weight)
        self.loss = ReconstructionLoss(distance, hole_weight, known_weight, over)

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        return _of_stages(
            self.loss.distance, stages, lambda one: self.weight * self.loss(one, target, hole)
        )


class NegativePSNR:
    """-10 log10(4 / MSE) dB of every stage, composited: the PSNR loss of Chen et al. 2022 (NAFNet).

    Images of all noise levels count alike, where L1 weighs noisy ones more, as their errors are
    larger. The rounding error of 8 bits, (2 / 255)^2 / 12, is added to the MSE, so that an image
    that is all but exact does not outweigh the others. The terms are `negative_psnr` of the last
    stage and `coarse_negative_psnr`, the sum over those before: what validation measures is called
    `psnr`.
    """

    def __init__(self, weight: float = 0.01) -> None:
        self.weight = _positive("negative_psnr.weight", weight)

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        return _of_stages("negative_psnr", stages, lambda one: self._loss(one, target, hole))

    def _loss(self, stage: Tensor, target: Tensor, hole: Tensor | None) -> Tensor:
        error = keep_known(stage, target, hole).float() - target.float()
        mse = error.square().flatten(1).mean(1) + _ROUNDING
        return -self.weight * psnr_from_mse(mse / 4)


class Perceptual:
    """Feature distance of the result in an ImageNet network, and that of its Gram matrices (style).

    A weight of 0 leaves a term out; features are computed once for both. judged: the result with
    the known pixels put back (composite), as it comes from the network (output), or the sum of the
    distances of both (Liu et al. 2018, eq. 2 to 4). Without holes they are the same.
    """

    def __init__(
        self,
        weight: float = 1.0,
        style_weight: float = 0.0,
        network: Network = "squeezenet1_0",
        layers: Sequence[str] | None = None,
        judged: Literal["composite", "output", "both"] = "composite",
    ) -> None:
        if min(weight, style_weight) < 0 or weight + style_weight == 0:
            raise InputError(
                f"task.loss.perceptual: weight={weight} and style_weight={style_weight} must be 0 "
                "or more, and not 0 both"
            )
        self.weight, self.style_weight = weight, style_weight
        self.judged = judged
        self.features = image_features(network, layers)

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        images = {"output": stages[-1], "composite": keep_known(stages[-1], target, hole)}
        names = images if self.judged == "both" else [self.judged]
        wanted = [features.detach() for features in self.features(target)]
        terms: dict[str, Tensor] = {}
        for features in [self.features(images[name]) for name in names]:
            if self.weight:
                distance = self.weight * feature_distance(features, wanted)
                terms["perceptual"] = terms.get("perceptual", 0) + distance
            if self.style_weight:
                distance = self.style_weight * style_distance(features, wanted)
                terms["style"] = terms.get("style", 0) + distance
        return terms


class TotalVariation:
    """Roughness of the result, composited, in and beside the hole: Liu et al. 2018, eq. 6."""

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = _positive("total_variation.weight", weight)

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        result = keep_known(stages[-1], target, hole)
        return {"total_variation": self.weight * total_variation(result, hole)}


def checked_losses(loss: Mapping[str, ContentLoss | None]) -> dict[str, ContentLoss]:
    """Those that are not switched off; InputError for none, one without a name, or one that cannot
    be called as a ContentLoss is."""
    if not isinstance(loss, Mapping):
        raise InputError(
            f"task.loss is {path_of(loss)}, but losses have names: set task.loss.NAME._target_"
        )
    losses = {name: one for name, one in loss.items() if one is not None}
    if not losses:
        raise InputError("task.loss is empty: choose one, as loss=l1")
    for name, one in losses.items():
        try:
            inspect.signature(getattr(one, "forward", one)).bind(None, None, None)
        except TypeError:
            raise InputError(
                f"task.loss.{name} {path_of(one)} is not called with stages, target and hole: wrap "
                "it in a class that is a ContentLoss of restore.loss.content"
            ) from None
    return losses


def check_terms(name: str, loss: ContentLoss, terms: object, count: int) -> dict[str, Tensor]:
    """What a loss said of `count` images; InputError for what is no number for each, or for all.

    A tensor of another shape would be averaged in silence, whatever stands in it.
    """
    kind = f"task.loss.{name} {path_of(loss)}"
    wanted = (
        f"it must return a dict of names to tensors of shape [{count}], as "
        "error.mean(dim=(1, 2, 3))"
    )
    if not isinstance(terms, dict):
        raise InputError(f"{kind} returned {shape_of(terms)}: {wanted}")
    for key, value in terms.items():
        fits = isinstance(value, Tensor) and value.shape in ((count,), ())
        if not isinstance(key, str) or not fits:
            raise InputError(
                f"{kind} returned {key!r}: {shape_of(value)} for {count} images: {wanted}"
            )
    return terms


def keep_known(output: Tensor, target: Tensor, hole: Tensor | None) -> Tensor:
    return output if hole is None else composite(target, output, hole)


def _of_stages(
    name: str, stages: Sequence[Tensor], loss: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The loss of the last stage by its name, and the sum over those before, if there are any."""
    terms = {name: loss(stages[-1])}
    if len(stages) > 1:
        terms[f"coarse_{name}"] = torch.stack([loss(stage) for stage in stages[:-1]]).sum(0)
    return terms


def _positive(name: str, weight: float) -> float:
    if weight <= 0:
        raise InputError(f"task.loss.{name}={weight} must be positive; null leaves the loss out")
    return weight
