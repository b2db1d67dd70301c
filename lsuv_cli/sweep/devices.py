"""Where ONNX Runtime's sessions run: the CPU, a GPU, or another execution provider."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from lsuv_cli.core.errors import UsageError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FATAL = 4

# The search that ONNX Runtime makes by default for a convolution's algorithm chooses the fastest, a
# different one from run to run, and the sums' last bits with it. TensorFloat-32 would leave errors
# of 1e-3 in the variances. Blocks of the next power of two would go beyond --device-memory.
CUDA_OPTIONS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}

# ONNX Runtime's exceptions have no base class of their own; its bindings raise Python's own, too.
ORT_ERRORS: tuple[type[Exception], ...] = (
    MemoryError,
    RuntimeError,
    *(
        value
        for value in vars(ort_state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Device:
    """Where sessions run.

    Attributes:
        providers: ONNX Runtime's execution providers with their options, in order of preference.
        label: how the device is called in the report.
        threads: threads within an operator; 0 for one a core.
        memory: the kind of the accelerator's own memory, in which values can stay between
            sessions; "" where there is none.
        index: which accelerator of that kind.
    """

    providers: tuple[tuple[str, Mapping[str, str]], ...]
    label: str
    threads: int
    memory: str = ""
    index: int = 0


def select_device(
    name: str,
    provider: str | None,
    threads: int,
    notify: Notify,
    gpu: int = 0,
    *,
    tf32: bool = False,
) -> Device:
    """Choose the execution providers.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.
        provider: an execution provider by name, which overrides `name`.
        threads: threads within an operator; 0 for one a core.
        notify: told when `auto` falls back to the CPU although the installed ONNX Runtime has
            CUDA, and when `tf32` has no effect.
        gpu: which one `auto` and `cuda` mean.
        tf32: let CUDA compute in TensorFloat-32, which leaves errors of 1e-3 in the variance.

    Raises:
        UsageError: there is no such device or provider here; the text says what is missing.
    """
    ort.set_default_logger_severity(FATAL)
    available = ort.get_available_providers()
    device = _select(name, provider, threads, available, notify, gpu)
    if not tf32:
        return device
    if not device.memory:
        notify(f"--tf32 has no effect on {device.label}: it is CUDA's")
        return device
    (cuda, options), cpu = device.providers
    providers = (cuda, {**options, "use_tf32": "1"}), cpu
    return replace(device, providers=providers, label=f"{device.label} with TF32")


def _select(
    name: str,
    provider: str | None,
    threads: int,
    available: Sequence[str],
    notify: Notify,
    gpu: int,
) -> Device:
    if provider is not None:
        full = next(
            (
                p
                for p in available
                if p.lower() in (provider.lower(), f"{provider}executionprovider".lower())
            ),
            None,
        )
        if full is None:
            raise UsageError(
                f"no execution provider {provider} in this ONNX Runtime {ort.__version__}; "
                f"it has {', '.join(available)}"
            )
        return Device(((full, {}), (CPU, {})), full, threads)
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"no such device: {name}; use auto, cpu, cuda or cuda:N")
    cpu = Device(((CPU, {}),), "cpu", threads)
    if name == "cpu":
        return cpu
    index = int(match.group(1) or gpu)
    problem = _cuda_problem(available, index)
    if problem is None:
        options = {"device_id": str(index), **CUDA_OPTIONS}
        return Device(((CUDA, options), (CPU, {})), f"cuda:{index}", threads, "cuda", index)
    if name != "auto":
        raise UsageError(f"--device {name}: {problem}; use --device cpu to run without it")
    if CUDA in available:
        notify(f"running on the CPU: {problem}")
    return cpu


def _cuda_problem(available: Sequence[str], index: int = 0) -> str | None:
    """What keeps a GPU from being used; None where nothing does."""
    if CUDA not in available:
        return "this ONNX Runtime is built without CUDA (install onnxruntime-gpu)"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed (libcuda is missing)"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "the NVIDIA driver finds no usable GPU"
    if count.value == 0:
        return "no GPU is visible (CUDA_VISIBLE_DEVICES may hide it)"
    if index >= count.value:
        return f"there is no GPU {index}: {count.value} are visible, counted from 0"
    return _start_problem(index)


def _start_problem(index: int) -> str | None:
    """What keeps ONNX Runtime from using a GPU that is there."""
    ort.preload_dlls(directory="")
    try:
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", index)
    except ORT_ERRORS as error:
        failure = re.search(r"CUDA failure \d+: ([\w ]+)", str(error))
        missing = "its libraries are missing (install the extra 'cuda' of this package)"
        return f"CUDA does not start: {failure[1].strip() if failure else missing}"
    return None
