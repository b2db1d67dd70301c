"""Arrays as PyTorch's tensors and back, bfloat16 too, which numpy knows by ml_dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor as an array; shares its memory where it is in the host's.

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
    """An array as a tensor; shares its memory.

    Args:
        array: writeable, as PyTorch asks for.
    """
    import numpy as np
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
