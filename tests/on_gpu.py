"""A tensor that lies on a CPU and claims to lie on a GPU, of which a graph is recorded."""

from torch import Tensor


class OnGPU(Tensor):
    """Asking what is in it fails, as it does while a CUDA graph is recorded."""

    is_cuda = True  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("operation not permitted when stream is capturing")

    def cpu(self, *_: object) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)
