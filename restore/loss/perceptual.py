"""Distances of the features of an ImageNet network (Johnson et al. 2016), one number per sample."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from restore.image import to_unit
from restore.network.squeezenet1_0 import SCALES, load_squeezenet
from restore.network.vgg import VGG, VGG16, VGG19
from restore.network.weights import load_published
from restore.types import InputError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, RGB in [0, 1]
_NETWORKS: dict[str, type[VGG]] = {"vgg16": VGG16, "vgg19": VGG19}
_VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
_SQUEEZENET_LAYERS = ("fire2", "fire4", "fire5", "fire8")  # before and after each pool

Network = Literal["squeezenet1_0", "vgg16", "vgg19"]
Features = Callable[[Tensor], list[Tensor]]


def image_features(network: Network, layers: Sequence[str] | None = None) -> Features:
    """The features of images [B, 1 or 3, H, W] in [-1, 1] at `layers`, shallow ones first.

    squeezenet1_0 comes with restore; of vgg16 and vgg19 the user has the published weights. layers
    None: four, from fine to coarse. InputError for a network or a layer that is not there.
    """
    if network == "squeezenet1_0":
        return SqueezeNetFeatures(layers or _SQUEEZENET_LAYERS)
    return VGGFeatures(network, layers or _VGG_LAYERS)


class SqueezeNetFeatures:
    """Images [B, 1 or 3, H, W] in [-1, 1], 31 px or more, to features of fire modules.

    layers: fire2 to fire9, each divided by its mean on a photo, so that they weigh alike and are
    as large as VGG's. Frozen; no module, so that no checkpoint contains it.
    """

    def __init__(self, layers: Sequence[str] = _SQUEEZENET_LAYERS) -> None:
        if not layers or not set(layers) <= set(SCALES):
            raise InputError(
                f"loss.layers={list(layers)}: squeezenet1_0 has {', '.join(SCALES)}; use one or "
                "more"
            )
        self.layers = [name for name in SCALES if name in layers]
        self.network = load_squeezenet()

    def __call__(self, image: Tensor) -> list[Tensor]:
        image = to_unit(image).expand(-1, 3, -1, -1)
        features = self.network.to(image.device).features(image, self.layers)
        return [features[name] / SCALES[name] for name in self.layers]


class VGGFeatures:
    """Images [B, 1 or 3, H, W] in [-1, 1] to the features of `layers`, shallow ones first.

    layers: conv3_4 is stage 3's fourth convolution, before its ReLU (denser and sharper, Wang et
    al. 2018, ESRGAN), relu3_4 after it, pool3 the end of the stage. Frozen, with published
    weights (InputError where there are none); no module, so that no checkpoint contains them.
    """

    def __init__(
        self,
        network: Network = "vgg16",
        layers: Sequence[str] = _VGG_LAYERS,
    ) -> None:
        if network not in _NETWORKS:
            raise InputError(f"loss.network={network}: use squeezenet1_0, vgg16 or vgg19")
        names = _names(_NETWORKS[network])
        if not layers or not set(layers) <= set(names):
            raise InputError(
                f"loss.layers={list(layers)}: {network} has {', '.join(names)}; use one or more"
            )
        self.places = sorted({names.index(layer) for layer in layers})
        loaded = load_published(_NETWORKS[network])
        self.layers = list(loaded.features.children())[: self.places[-1] + 1]

    def __call__(self, image: Tensor) -> list[Tensor]:
        image = to_unit(image).expand(-1, 3, -1, -1)
        x = (image - image.new_tensor(_MEAN)[:, None, None]) / image.new_tensor(_STD)[:, None, None]
        found: list[Tensor] = []
        for place, layer in enumerate(self.layers):
            x = layer.to(x.device)(x)
            if place in self.places:
                found.append(x)
        return found


def _names(network: type[VGG]) -> list[str]:
    names: list[str] = []
    for stage, num_convolutions in enumerate(network.stages, start=1):
        for index in range(1, num_convolutions + 1):
            names += [f"conv{stage}_{index}", f"relu{stage}_{index}"]
        names.append(f"pool{stage}")
    return names


def feature_distance(output: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference [B] of features [B, ...] of each layer, summed over layers.

    Liu et al. 2018, eq. 2; Wang et al. 2018 (pix2pixHD), eq. 4.
    """
    pairs = zip(output, target, strict=True)
    return torch.stack([(a - b).abs().float().flatten(1).mean(1) for a, b in pairs]).sum(0)


def style_distance(output: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """The same of their Gram matrices, [B]: Liu et al. 2018, eq. 3 and 4."""
    return feature_distance(list(map(gram_matrix, output)), list(map(gram_matrix, target)))


def gram_matrix(features: Tensor) -> Tensor:
    """[B, C, C] of [B, C, H, W], divided by C H W: Johnson et al. 2016, eq. 3. In float32."""
    flat = features.float().flatten(2)
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / flat[0].numel()
