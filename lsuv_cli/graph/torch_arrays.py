"""Arrays as PyTorch tensors and back, also of bfloat16, which ml_dtypes adds to numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as an array, which shares its memory if that is on the host.

    Raises:
        TypeError: numpy has no such dtype.
    """
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    array: NDArray[Any] = tensor.numpy()
    return array


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor, which shares its memory.

    Args:
        array: a writeable array, as PyTorch requires.
    """
    import numpy as np
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
