"""restore: image restoration by regression, adversarial training and diffusion.

`restore.load(path)` is a trained model as a function of images. Importing this package is instant:
torch is imported when the first of its names is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.api import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from restore import api

        return getattr(api, name)
    raise AttributeError(f"module 'restore' has no attribute {name!r}")
