"""What the owners of data sets allow: it goes along with every model that learnt from them."""

from collections.abc import Iterator, Mapping
from typing import Any

from restore.content import ORIGINS

LIMIT = "non-commercial"
NON_COMMERCIAL = f"research and education, {LIMIT}"
OPEN = "Apache-2.0"
UNKNOWN = "not known to restore"
# By the first folder of a source's files, or by its class.
TERMS = {
    "photos": "GroceryStoreDataset (MIT), clothing-dataset (CC0), and one photo of each class of "
    f"ImageNet (ILSVRC 2012: {NON_COMMERCIAL})",
    "bsds430": f"430 photos of BSDS500: {NON_COMMERCIAL}",
    "cbsd68": f"68 photos of BSDS500: {NON_COMMERCIAL}",
    "flowers128": "TensorFlow flower_photos, CC BY 2.0, attribution by each photo's source link",
    "scenes64": "public repository ndb796/Scene-Classification-Dataset-Split, which says CC0 of a "
    "Kaggle upload of Intel's scene set",
    "masks300": f"NVIDIA irregular masks, CC BY-NC-SA 4.0 ({LIMIT})",
    "restore.data.mnist.MNIST": "MNIST (LeCun, Cortes, Burges)",
    "restore.data.digits.Digits": "digits of the UCI repository (Alpaydin, Kaynak), CC BY 4.0, "
    "from scikit-learn",
    "restore.data.photos.Photos": "the example photos of scikit-image, CC0 or public domain",
}


def terms(data: Any) -> dict[str, str]:
    """Name -> terms of all files and sets that the config of a data module names."""
    return {name: TERMS.get(name, UNKNOWN) for name in dict.fromkeys(_names(data))}


def learnt_from(content: Mapping[str, Any]) -> dict[str, str]:
    """Name -> terms of all data that the weights of a checkpoint learnt from: its training's, those
    of what it started from, and those of its teacher and its codec."""
    known = terms(content["config"]["data"])
    for key in ORIGINS:
        known |= (content.get(key) or {}).get("data", {})
    return known


def licence(named: Mapping[str, str]) -> str:
    """Under which weights that learnt from data of these terms may be passed on."""
    if not named or UNKNOWN in named.values():
        return UNKNOWN
    limited = any(LIMIT in one for one in named.values())
    return NON_COMMERCIAL if limited else OPEN


def _names(node: Any) -> Iterator[str]:
    if not isinstance(node, Mapping):
        return
    target = node.get("_target_")
    files = next((node[key] for key in ("folder", "train", "shards") if node.get(key)), None)
    if target in TERMS:
        yield str(target)
    elif isinstance(files, str):
        yield files.strip("/").partition("/")[0] or files
    for one in node.values():
        yield from _names(one)
