"""Blur by a known kernel."""

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.degradation.operator import ZERO, LinearOperator, Ridge
from restore.types import InputError


class Blur(LinearOperator):
    """Convolution with a kernel [k, l] of odd sides, beyond the borders periodic: by FFT.

    Frequencies that keep less than 1e-4 of the strongest one are set to 0 in A itself, so that all
    identities of A+ hold.
    """

    mixes_pixels = True

    def __init__(self, kernel: Tensor) -> None:
        if kernel.ndim != 2 or not kernel.shape[0] % 2 or not kernel.shape[1] % 2:
            raise InputError(f"a blur kernel has two odd sides, got {list(kernel.shape)}")
        self.kernel = kernel.double()

    def forward(self, x: Tensor) -> Tensor:
        return self._times(x, self.transfer(x))

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        return self._times(y, self.transfer(y).conj())

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        transfer = self.transfer(y)
        power = transfer.abs().square() + ridge
        return self._times(y, torch.where(power > 0, transfer.conj() / power, 0))

    def transfer(self, like: Tensor) -> Tensor:
        """The kernel's spectrum [H, W / 2 + 1] for images [..., H, W], complex."""
        height, width = like.shape[-2:]
        rows, columns = self.kernel.shape
        if rows > height or columns > width:
            raise InputError(
                f"a blur kernel of {rows} x {columns} px does not fit into an image of "
                f"{height} x {width}"
            )
        placed = F.pad(self.kernel, (0, width - columns, 0, height - rows))
        placed = placed.roll((-(rows // 2), -(columns // 2)), (0, 1)).to(like.device)
        spectrum = torch.fft.rfft2(placed)
        kept = spectrum.abs() > ZERO * spectrum.abs().max()
        complex_type = torch.complex128 if like.dtype == torch.float64 else torch.complex64
        return torch.where(kept, spectrum, 0).to(complex_type)

    def _times(self, image: Tensor, factor: Tensor) -> Tensor:
        product: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * factor, s=image.shape[-2:])
        return product


class GaussianBlur(Blur):
    """std in pixels; the kernel of kornia ends at 3 std."""

    def __init__(self, std: float) -> None:
        from kornia.filters import get_gaussian_kernel2d

        if not 0.3 <= std <= 100:
            raise InputError(f"blur std={std} must be from 0.3 to 100 px")
        side = 2 * int(3 * std + 0.5) + 1
        double = torch.tensor([[std, std]], dtype=torch.float64)
        super().__init__(get_gaussian_kernel2d((side, side), double)[0])


class MotionBlur(Blur):
    """A line of `length` pixels, odd, at `angle` degrees against the clock; kornia's kernel."""

    def __init__(self, length: int, angle: float = 0.0) -> None:
        from kornia.filters import get_motion_kernel2d

        if length < 3 or length % 2 == 0:
            raise InputError(f"motion blur length={length} must be odd and at least 3")
        super().__init__(get_motion_kernel2d(length, angle, 0.0)[0])
