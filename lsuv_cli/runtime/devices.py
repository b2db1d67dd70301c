"""Devices that ONNX Runtime's sessions run on: the CPU, a GPU, or another provider's."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from lsuv_cli.core.errors import UsageError
from lsuv_cli.runtime.ort_errors import ORT_ERRORS

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FATAL = 4

# By default ONNX Runtime searches for the fastest algorithm of a convolution; it differs from run
# to run, and with it the last bits of sums. An arena that grows by powers of two would go beyond
# --device-memory.
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}

# CUDA's libraries are loaded when an operator first needs them, and a GPU may be too old for the
# kernels. This serialised graph needs what a sweep does: Conv(x, x), its Tanh, and the ReduceMean
# of that, for one number x.
PROBE = base64.b64decode(
    "CAg6hQEKEQoBeAoBeBIBeiIEQ29udjoACg4KAXoSAWEiBFRhbmg6AAojCgFhEgF5IgpSZWR1Y2VNZWFuKg0KBGF4ZXNA"
    "AkADoAEHOgASAWdaGwoBeBIWChQIARIQCgIIAQoCCAEKAggBCgIIAWIbCgF5EhYKFAgBEhAKAggBCgIIAQoCCAEKAggB"
    "QgQKABAR"
)

# Signs of exhausted memory in the messages of ONNX Runtime's arenas, the allocator and CUDA.
OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "out of memory")

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Device:
    """A device that sessions run on.

    Attributes:
        providers: ONNX Runtime's execution providers with their options, in order of preference.
        label: how the device is called in the report.
        threads: threads within an operator; 0 for one per core.
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
        threads: threads within an operator; 0 for one per core.
        notify: called with a sentence when `auto` falls back to the CPU although the installed
            ONNX Runtime has CUDA, and when `tf32` has no effect.
        gpu: which one `auto` and `cuda` mean.
        tf32: let CUDA compute in TensorFloat-32, which leaves errors of 1e-3 in the variance.

    Raises:
        UsageError: there is no such device or provider here; the text says what is missing.
    """
    ort.set_default_logger_severity(FATAL)
    available = ort.get_available_providers()
    device = _select(name, provider, threads, available, notify, gpu, tf32=tf32)
    if tf32 and not device.memory:
        notify(f"--tf32 has no effect on {device.label}: it is CUDA's")
    return device


def _select(
    name: str,
    provider: str | None,
    threads: int,
    available: Sequence[str],
    notify: Notify,
    gpu: int,
    *,
    tf32: bool,
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
        if full != CUDA:
            return Device(((full, {}), (CPU, {})), full, threads)
        name = "cuda"
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"no such device: {name}; use auto, cpu, cuda or cuda:N")
    cpu = Device(((CPU, {}),), "cpu", threads)
    if name == "cpu":
        return cpu
    index = int(match.group(1) or gpu)
    problem = _cuda_problem(available, index)
    if problem is None:
        cuda = CUDA, _cuda_options(index, tf32=tf32)
        label = f"cuda:{index} with TF32" if tf32 else f"cuda:{index}"
        return Device((cuda, (CPU, {})), label, threads, "cuda", index)
    if name != "auto":
        raise UsageError(f"--device {name}: {problem}; use --device cpu to run without it")
    if CUDA in available:
        notify(f"running on the CPU: {problem}")
    return cpu


def _cuda_problem(available: Sequence[str], index: int = 0) -> str | None:
    """Return the reason why a GPU can't be used; None where it can."""
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
    """Return the reason why ONNX Runtime can't compute on a GPU that is there, or None."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    # Both of them print to stdout what they can't find.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls(directory="")
        try:
            providers = [(CUDA, _cuda_options(index)), CPU]
            session = ort.InferenceSession(PROBE, options, providers=providers, enable_fallback=0)
            if CUDA not in session.get_providers():
                return f"CUDA does not start: {_MISSING}"
            session.run(None, {"x": np.ones((1, 1, 1, 1), np.float32)})
            _share_arena(index)
        except ORT_ERRORS as error:
            return f"CUDA does not start: {_start_failure(str(error))}"
    return None


_MISSING = "its libraries are missing (install the extra 'cuda' of this package)"


def _start_failure(text: str) -> str:
    if any(sign in text for sign in OUT_OF_MEMORY):
        return "the GPU's memory is full"
    if "cuDNN is unavailable" in text:
        return _MISSING
    failure = re.search(r"CUDA failure \d+: ([\w ]+)", text)
    return failure[1].strip() if failure else " ".join(text.split())[:200]


def _cuda_options(index: int, *, tf32: bool = False) -> dict[str, str]:
    return {"device_id": str(index), "use_tf32": str(int(tf32)), **CUDA_OPTIONS}


@functools.cache
def _share_arena(index: int) -> None:
    """Make all sessions on a GPU take their memory from one arena.

    A session's own would live, as large as the session needed it, as long as any value does that
    the session has passed on.
    """
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    info = ort.OrtMemoryInfo("Cuda", kind, index, ort.OrtMemType.DEFAULT)
    as_requested = ort.OrtArenaCfg({"arena_extend_strategy": 1})
    # Where it can't be made, sessions have arenas of their own; where there is one, they use it.
    with contextlib.suppress(*ORT_ERRORS):
        ort.create_and_register_allocator_v2(CUDA, info, _cuda_options(index), as_requested)
