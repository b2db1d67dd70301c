"""ONNX Runtime's sessions, and runs that Ctrl-C can stop."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from lsuv_cli.core.errors import DataError, LsuvError, ModelError, UsageError
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.runtime.device_array import DeviceArray, Value
from lsuv_cli.runtime.devices import FATAL, OUT_OF_MEMORY, Device
from lsuv_cli.runtime.ort_errors import ort_errors, reason_of


def unknown_operators(operators: Iterable[tuple[str, str]]) -> list[str]:
    """Return the operators that ONNX Runtime does not know, in any version.

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
    """An open ONNX Runtime session; a context manager that frees its memory.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        UsageError: the device asked for could not be used.
    """

    def __init__(
        self,
        model: bytes,
        initializers: Mapping[str, FloatArray],
        device: Device,
        *,
        profile: Path | None = None,
    ) -> None:
        """Open a session.

        Args:
            model: the graph, serialised.
            initializers: those of its initializers that it only refers to.
            device: where it runs.
            profile: the beginning of the path of a file in which ONNX Runtime notes what each node
                takes, the graph not being optimised; None for an ordinary session.
        """
        options = ort.SessionOptions()
        options.log_severity_level = FATAL
        options.intra_op_num_threads = device.threads
        # From the second run on, memory patterns would allocate a block on top of the first run's.
        options.enable_mem_pattern = False
        options.enable_mem_reuse = False
        if profile is not None:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        if device.memory:
            options.use_deterministic_compute = True
            # The arena that `select_device` has made. Weights stay outside it, to be freed at once.
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        self._device = device
        # The buffers are copied by ONNX Runtime before the constructor returns.
        names = list(initializers)
        values = [
            ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(initializers[name]))
            for name in names
        ]
        if names:
            options.add_external_initializers(names, values)
        # ONNX Runtime prints to stdout where a provider does not start.
        with (
            ort_errors(lambda error: _session_error(error, device)),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            self._session: Any = ort.InferenceSession(
                model,
                options,
                providers=[(name, dict(settings)) for name, settings in device.providers],
            )
        # Otherwise it would silently continue on the CPU.
        self._session.disable_fallback()
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

    def end_profiling(self) -> Path:
        """End the profile that the session was opened with, and return its file."""
        return Path(self._session.end_profiling())

    def run(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        staying: Collection[str] = (),
        *,
        more: bool = False,
    ) -> dict[str, Value]:
        """Run the graph once.

        The run is on a second thread: only so can Ctrl-C reach this one, which then has ONNX
        Runtime stop at the next node.

        Args:
            outputs: names of what to fetch.
            feeds: a value for each input; others are passed over.
            staying: those of the outputs that stay in the accelerator's memory, if it has its own.
            more: whether there will be more runs, for which memory is best kept.

        Returns:
            The fetched values by name.

        Raises:
            DataError: the graph does not take these values, or memory ran out.
        """
        taken = {value.name for value in self._session.get_inputs()}
        feeds = {name: value for name, value in feeds.items() if name in taken}
        run_options = ort.RunOptions()
        run_options.log_severity_level = FATAL
        if self._device.memory and not more:
            kind = "gpu" if self._device.memory == "cuda" else self._device.memory
            arena = f"{kind}:{self._device.index}"
            run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
        run = self._run_bound if self._device.memory else self._run_on_host
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(run, outputs, feeds, staying, run_options)
            try:
                with ort_errors(lambda error: _run_error(error, self._device)):
                    return running.result()
            except KeyboardInterrupt:
                run_options.terminate = True
                raise

    def _run_on_host(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        _staying: Collection[str],
        run_options: Any,
    ) -> dict[str, Value]:
        fetched = self._session.run(list(outputs), feeds, run_options)
        # Copy: an array that ONNX Runtime returns keeps all the memory of the session alive.
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


# ONNX Runtime's message about a Gather: its name, the index and the largest one allowed.
OUT_OF_RANGE = re.compile(
    r"(?:Name:'([^']*)' .*)?indices element out of data bounds, idx=(-?\d+) .*,(\d+)\]"
)


def _session_error(error: BaseException, device: Device) -> LsuvError:
    text = reason_of(error)
    if _is_out_of_memory(error) and device.memory:
        return DataError(
            f"{device.label} has no memory left for the weights of some layers; give a smaller "
            "--device-memory, which leaves more beside it, or --device cpu"
        )
    return ModelError(f"ONNX Runtime {ort.__version__} can't load the model: {text}")


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)


def _run_error(error: BaseException, device: Device) -> DataError:
    text = reason_of(error)
    if _is_out_of_memory(error):
        budget = "--device-memory" if device.memory else "--memory"
        return DataError(
            "ONNX Runtime ran out of memory for a batch of samples; reduce --batch-size, "
            f"or {budget}, from which the batch size follows"
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
