"""restore: image restoration by regression, adversarial training and diffusion.

`restore.load(path)` is a trained model as a function of images, and `restore.benchmark(function,
name)` measures any function as evaluate.py measures a model. Importing this package is instant:
torch is imported when the first of its names is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.api import Model, load
    from restore.evaluation.function import benchmark

__version__ = "0.1.0"
__all__ = ["Model", "benchmark", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from restore import api

        return getattr(api, name)
    if name == "benchmark":
        from restore.evaluation.function import benchmark

        return benchmark
    raise AttributeError(f"module 'restore' has no attribute {name!r}")
