"""A value that stays in the memory of the device that made it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import OrtValueVector


class DeviceArray:
    """A value in an accelerator's memory, as ONNX Runtime holds it.

    Attributes:
        ort_value: ONNX Runtime's handle.
        shape: its shape.
        dtype: its dtype.
        nbytes: its size.
    """

    def __init__(self, ort_value: ort.OrtValue) -> None:
        # The handle that a run returns keeps the session alive, with all other values of the run.
        alone = OrtValueVector()
        alone.push_back(ort_value._get_c_value())  # noqa: SLF001
        self.ort_value = ort.OrtValue(alone[0])
        self.shape: tuple[int, ...] = tuple(ort_value.shape())
        self.dtype: np.dtype[Any] = np.dtype(ORT_DTYPES[ort_value.data_type()])
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def numpy(self) -> NDArray[Any]:
        """Return a copy in the host's memory."""
        # Without a copy this would be the device's own memory where the device is the host.
        return np.array(self.ort_value.numpy())


Value = NDArray[Any] | DeviceArray

# ONNX Runtime's names of the types of tensors.
ORT_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
