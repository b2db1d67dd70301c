"""The memory that is predicted for a run beside the memory that it takes.

    python benchmarks/predicted_memory.py                       # every sample model
    python benchmarks/predicted_memory.py googlenet --counts 64 # some, another batch

Plain: the model's own graph. Sweep: the graph that `lsuv init` runs. Each is run three times in one
session of a process of its own; what counts is the most resident beyond what the process held with
the session open, its weights therefore not, and before the batch was made. Sessions are opened in
two ways: as the prediction supposes (no memory pattern, no planned reuse, an arena that extends
itself by what is asked for), and with ONNX Runtime's defaults. On Linux only, where a process can
reset its peak.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
from pathlib import Path

import common
import numpy as np
import onnx
import onnxruntime as ort
from sweep_overhead import sweep_of

from lsuv_cli.core.records import InputSpec
from lsuv_cli.memory.footprint import RUNNING_BYTES, Footprint, footprint
from lsuv_cli.memory.value_sizes import value_sizes
from lsuv_cli.reading.onnx_file import read_model

GOALS = (0.7, 1.15)
LIMIT = 1.25
RUNS = 3
COUNTS = (8, 32, 128)
SAME_AS_REQUESTED = {"arena_extend_strategy": 1}


def batch_of(spec: InputSpec, count: int) -> dict[str, np.ndarray]:
    """A batch of random samples."""
    shape = (count, *(size or 1 for size in (spec.shape or ())[1:]))
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return {spec.name: values}


def lean_options() -> ort.SessionOptions:
    """The options of the sessions that the prediction is for."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(SAME_AS_REQUESTED))
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    return options


def graph_of(model: Path, kind: str) -> tuple[bytes, dict[str, np.ndarray], InputSpec, Footprint]:
    """A graph to run, the initializers that it refers to, its input, and what is predicted."""
    read, weights = read_model(model)
    (spec,) = read.inputs
    shapes = {spec.name: tuple(size or 1 for size in (spec.shape or ())[1:])}
    if kind == "sweep":
        graph = sweep_of(read, weights, batch_of(spec, 2))
        proto = onnx.ModelProto.FromString(graph.model)
        sizes = value_sizes(proto, shapes, {}, {})
        serialised, initializers = graph.model, dict(graph.initializers)
    else:
        proto = read.skeleton
        sizes = value_sizes(proto, shapes, read.weight_values, weights)
        serialised, initializers = model.read_bytes(), {}
    outputs = [value.name for value in proto.graph.output]
    return serialised, initializers, spec, footprint(list(proto.graph.node), outputs, sizes)


def status_bytes(field: str) -> int:
    """A field of this process's status: VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def child(model: Path, kind: str, options: str, count: int) -> None:
    """Run a graph; print what was predicted and what was measured, in bytes."""
    serialised, initializers, spec, predicted = graph_of(model, kind)
    batch_of(spec, 1)  # numpy's generators take memory of their own
    session_options = lean_options() if options == "lean" else ort.SessionOptions()
    names = list(initializers)
    if names:
        values = [
            ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(initializers[name]))
            for name in names
        ]
        session_options.add_external_initializers(names, values)
        del values
    session = ort.InferenceSession(serialised, session_options, ["CPUExecutionProvider"])
    del serialised, initializers
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    feeds = batch_of(spec, count)
    for _ in range(RUNS):
        fetched = [value.copy() for value in session.run(None, feeds)]
        del fetched
    print(predicted.peak_bytes(count), status_bytes("VmHWM") - before)


def measure(name: str, kind: str, count: int) -> list[str]:
    """One row of the table."""
    model = common.case(name).model
    command = [sys.executable, __file__, "--child", str(model), kind]
    lean = common.captured([*command, "lean", str(count)]).split()
    default = common.captured([*command, "default", str(count)]).split()
    predicted, measured, with_defaults = int(lean[0]), int(lean[1]), int(default[1])
    ratio = measured / predicted
    # What is small is mostly the constant, and need not be told well.
    is_close = ratio >= GOALS[0] or predicted - measured <= RUNNING_BYTES
    return [
        name,
        kind,
        str(count),
        *(f"{size / common.MIB:.1f}" for size in (predicted, measured)),
        f"{ratio:.2f}",
        common.verdict(is_close and ratio <= GOALS[1]) + (" BROKEN" if ratio > LIMIT else ""),
        f"{with_defaults / common.MIB:.1f}",
    ]


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description="Predicted and measured memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models (default: all)")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="batch sizes")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        model, kind, session_options, count = options.child
        child(Path(model), kind, session_options, int(count))
        return
    common.print_table(
        f"Resident memory beyond the session's, MiB, the most of {RUNS} runs; goal: measured / "
        f"predicted from {GOALS[0]} to {GOALS[1]}, or {RUNNING_BYTES // common.MIB} MiB less",
        [
            *("model", "graph", "batch", "predicted", "measured", "measured / predicted"),
            *("goal", "with defaults"),
        ],
        [
            measure(name, kind, count)
            for name in options.names or common.model_names()
            for kind in ("plain", "sweep")
            for count in options.counts
        ],
    )


if __name__ == "__main__":
    main()
