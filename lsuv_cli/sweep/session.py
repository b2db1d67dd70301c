"""ONNX Runtime: devices, sessions, and runs that Ctrl-C can stop."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from lsuv_cli.core.errors import DataError, ModelError, UsageError
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.sweep.device_array import DeviceArray, Value

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FATAL = 4

# ONNX Runtime's exceptions have no base class of their own.
ORT_ERRORS: tuple[type[Exception], ...] = (
    MemoryError,
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
    index = match.group(1) or str(gpu)
    problem = _cuda_problem(available)
    if problem is None:
        options = {"device_id": index, "use_tf32": "0"}
        return Device(((CUDA, options), (CPU, {})), f"cuda:{index}", threads, "cuda", int(index))
    if name != "auto":
        raise UsageError(f"--device {name}: {problem}; use --device cpu to run without it")
    if CUDA in available:
        notify(f"running on the CPU: {problem}")
    return cpu


def _cuda_problem(available: Sequence[str]) -> str | None:
    """What keeps CUDA from working here; None where nothing does."""
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
    ort.preload_dlls(directory="")
    return None


def unknown_operators(operators: Iterable[tuple[str, str]]) -> list[str]:
    """Those operators that ONNX Runtime does not know, in any version.

    A graph is only run as far as its last layer, so that a session does not tell.

    Args:
        operators: (domain, name) pairs.

    Returns:
        `domain::name`, sorted; empty where this build of ONNX Runtime does not list its operators.
    """
    list_schemas = getattr(ort_state, "get_all_operator_schema", None)
    if list_schemas is None:
        return []
    known = {(schema.domain, schema.name) for schema in list_schemas()}
    return sorted(
        f"{domain}::{name}" if domain else name
        for domain, name in set(operators)
        if ("" if domain == "ai.onnx" else domain, name) not in known
    )


class Session:
    """An open ONNX Runtime session; a context manager, so that its memory goes when it is done.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        UsageError: the device asked for could not be used.
    """

    def __init__(
        self, model: bytes, initializers: Mapping[str, FloatArray], device: Device
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = FATAL
        options.intra_op_num_threads = device.threads
        # From the second run on the plans would take a block on top of what the first has taken.
        options.enable_mem_pattern = False
        options.enable_mem_reuse = False
        self._device = device
        # The buffers are copied by ONNX Runtime before the constructor returns.
        names = list(initializers)
        values = [
            ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(initializers[name]))
            for name in names
        ]
        if names:
            options.add_external_initializers(names, values)
        try:
            # It prints to stdout where a provider does not start.
            with contextlib.redirect_stdout(io.StringIO()):
                self._session: Any = ort.InferenceSession(
                    model,
                    options,
                    providers=[(name, dict(settings)) for name, settings in device.providers],
                )
        except ORT_ERRORS as error:
            raise _session_error(error) from None
        wanted = device.providers[0][0]
        if wanted not in self._session.get_providers():
            raise UsageError(
                f"ONNX Runtime could not start {wanted}; install its libraries (for CUDA: the "
                "extra 'cuda' of this package) or use --device cpu"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session = None

    def run(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        staying: Collection[str] = (),
    ) -> dict[str, Value]:
        """Run the graph once.

        The run is on a second thread: only so can Ctrl-C reach this one, which then has ONNX
        Runtime stop at the next node.

        Args:
            outputs: names of what to fetch.
            feeds: a value for each input; others are passed over.
            staying: those of the outputs that stay in the accelerator's memory, if it has its own.

        Returns:
            The fetched values by name.

        Raises:
            DataError: the graph does not take these values, or memory ran out.
        """
        taken = {value.name for value in self._session.get_inputs()}
        feeds = {name: value for name, value in feeds.items() if name in taken}
        run_options = ort.RunOptions()
        run_options.log_severity_level = FATAL
        run = self._run_bound if self._device.memory else self._run_on_host
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(run, outputs, feeds, staying, run_options)
            try:
                return running.result()
            except KeyboardInterrupt:
                run_options.terminate = True
                raise
            except ORT_ERRORS as error:
                raise _run_error(error) from None

    def _run_on_host(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        _staying: Collection[str],
        run_options: Any,
    ) -> dict[str, Value]:
        fetched = self._session.run(list(outputs), feeds, run_options)
        # Copies: what ONNX Runtime returns keeps all the memory of the session alive.
        return {name: value.copy() for name, value in zip(outputs, fetched, strict=True)}

    def _run_bound(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        staying: Collection[str],
        run_options: Any,
    ) -> dict[str, Value]:
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, DeviceArray):
                binding.bind_ortvalue_input(name, value.ort_value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in outputs:
            if name in staying:
                binding.bind_output(name, self._device.memory, self._device.index)
            else:
                binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, run_options)
        fetched = dict(zip(outputs, binding.get_outputs(), strict=True))
        return {
            name: DeviceArray(value) if name in staying else np.array(value.numpy())
            for name, value in fetched.items()
        }


# How ONNX Runtime says so of a Gather: its name, the index and the largest one allowed.
OUT_OF_RANGE = re.compile(
    r"(?:Name:'([^']*)' .*)?indices element out of data bounds, idx=(-?\d+) .*,(\d+)\]"
)


def reason_of(error: BaseException) -> str:
    """ONNX Runtime's message in one line, without its source locations and status prefixes."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", str(error))
    text = re.sub(r"/\S+/(?=[\w.]+:\d+)", "", text)
    return " ".join(text.split())[:400]


def _session_error(error: BaseException) -> ModelError:
    text = reason_of(error)
    return ModelError(f"ONNX Runtime {ort.__version__} can't load the model: {text}")


def _run_error(error: BaseException) -> DataError:
    text = reason_of(error)
    if isinstance(error, MemoryError) or "allocate memory" in text or "bad_alloc" in text:
        return DataError(
            "ONNX Runtime ran out of memory for a batch of samples; give a smaller --batch-size, "
            "or a smaller --memory from which it follows"
        )
    index = OUT_OF_RANGE.search(text)
    if index is not None:
        node, value, most = index.groups()
        return DataError(
            f"the model can't be run on these samples: a token id, or another index, is {value}, "
            f"out of the range of the embedding that {node or 'a Gather'} reads, 0 to {most}; give "
            "ids of the model's own tokenizer"
        )
    hint = ""
    if re.search("shape|dimension|broadcast|axis", text, re.IGNORECASE):
        hint = "; if the batch size is fixed in the model, export it with a dynamic batch axis"
    return DataError(f"the model can't be run on these samples: {text}{hint}")
