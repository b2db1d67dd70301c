"""The sweep on a GPU beside the sweep on the CPU.

    python benchmarks/gpu.py
    python benchmarks/gpu.py googlenet --batches 4

Needs an NVIDIA GPU and ONNX Runtime with CUDA; where there is none of these it says so and measures
nothing. Whole: `lsuv init --no-verify` on the same pictures, as one process. Sweep: over random
batches in one process, draws excluded, after one sweep that does not count. Opening: what one
segment's session takes to be opened, of that sweep. The scales of the two devices, which start from
the same draws, are compared layer by layer, and the files that CUDA's runs write byte by byte.

Memory: the most that the GPU has in use while the command runs, over what it has while a net of two
small layers is initialised (CUDA's context and libraries). Nothing else may use the GPU meanwhile.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import common
import networks
import numpy as np
from segmented import random_batches

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.errors import UsageError
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime import data_pass
from lsuv_cli.runtime.devices import Device, select_device
from lsuv_cli.runtime.session import Session

GOAL = 1e-4
MODELS = ("fitnet4", "googlenet", "caffenet")
DEVICES = ("cpu", "cuda")


# How much of the GPU the command is given, and to how many random samples of which shape.
DEVICE_MEMORY = 1_000_000_000
LARGE: dict[str, tuple[Callable[[Path], Path], tuple[int, ...]]] = {
    "residual": (networks.residual, (20_000, 3, 32, 32)),
    "transformer's MLP": (networks.transformer_mlp, (4_000, 64, 256)),
}
SMALL = partial(networks.mlp, layers=2), (2, 128)


def missing() -> str | None:
    """What keeps the GPU from being measured; None where nothing does."""
    try:
        select_device("cuda", None, 0, print)
    except UsageError as error:
        return str(error)
    return None


def whole(case: common.Case, device: str, folder: Path) -> np.ndarray:
    """Run the command; the scales that it found."""
    out = folder / f"{device}.safetensors"
    more = ("--no-verify", "--device", device, "--json", "--quiet")
    report = json.loads(common.captured(case.command(out, *more)))
    return np.concatenate([np.ravel(layer["scale"]) for layer in report["layers"]])


def sweep(name: str, device: str, batches: int, rounds: int) -> tuple[float, float]:
    """The least seconds of a sweep, and of those the seconds that a session takes to be opened."""
    case = common.case(name)
    model, weights = read_model(case.model)
    given = GivenBatches(random_batches(model.inputs[0], batches, case.count))
    on = select_device(device, None, 0, print)
    work = common.work_on(model, given, device_bytes=sys.maxsize if on.memory else 0, device=on)
    common.draw(work, weights)
    opened: list[float] = []

    def timed_session(graph: bytes, initializers: dict[str, np.ndarray], on: Device) -> Session:
        sessions: list[Session] = []

        def open_session() -> None:
            sessions.append(Session(graph, initializers, on))

        opened.append(common.seconds_of(open_session))
        return sessions[0]

    common.sweep(work, weights)
    with mock.patch.object(data_pass, "Session", timed_session):
        works = [("sweep", partial(common.sweep, work, weights))]
        seconds = common.interleaved(works, rounds)["sweep"]
    return min(seconds), sum(opened) / len(opened)


def measure(name: str, batches: int, rounds: int) -> list[list[str]]:
    """The rows of one model."""
    case = common.case(name)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scales = {device: whole(case, device, Path(folder)) for device in DEVICES}
        first = (Path(folder) / "cuda.safetensors").read_bytes()
        commands = [(device, partial(whole, case, device, Path(folder))) for device in DEVICES]
        seconds = common.interleaved(commands, rounds)
        same = (Path(folder) / "cuda.safetensors").read_bytes() == first
    difference = float(np.max(np.abs(scales["cuda"] / scales["cpu"] - 1)))
    for device in DEVICES:
        swept, opening = sweep(name, device, batches, rounds)
        rows.append(
            [
                name,
                device,
                f"{batches} x {case.count}",
                f"{swept:.3f}",
                f"{opening:.3f}",
                f"{min(seconds[device]):.2f}",
                f"{difference:.1e}" if device == "cuda" else "",
                common.verdict(difference <= GOAL) if device == "cuda" else "",
                ("the same" if same else "OTHERS") if device == "cuda" else "",
            ]
        )
    return rows


class Gpu:
    """The first GPU, as its driver sees it."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self._call("cuCtxSetCurrent", context)

    def used_bytes(self) -> int:
        """What all processes together have in use."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return total.value - free.value

    def peak_bytes(self, command: list[str]) -> int:
        """The most in use while a command runs, over what was in use before."""
        before = most = self.used_bytes()
        with subprocess.Popen(command) as process:
            while process.poll() is None:
                most = max(most, self.used_bytes())
                time.sleep(1e-3)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return most - before

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise OSError(f"{name}: CUDA error {code}")


def peak(
    gpu: Gpu, make: Callable[[Path], Path], shape: tuple[int, ...], folder: Path
) -> tuple[int, int]:
    """The most of a GPU's memory that the command takes, and the bytes of its weights."""
    model = make(folder / "m.onnx")
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    command = [common.executable(), "init", model, "--data", folder / "x.npy", "--samples", "all"]
    command += ["--out", folder / "out.safetensors", "--force", "--no-verify", "--quiet"]
    command += ["--device", "cuda", "--device-memory", str(DEVICE_MEMORY)]
    return gpu.peak_bytes([*map(str, command)]), model.stat().st_size


def measure_memory() -> list[list[str]]:
    """The rows of the second table."""
    gpu = Gpu()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        least, _ = peak(gpu, *SMALL, Path(folder))
        for name, (make, shape) in LARGE.items():
            most, weights = peak(gpu, make, shape, Path(folder))
            reached = common.verdict(most - least <= DEVICE_MEMORY + weights)
            sizes = (least, most - least, weights, DEVICE_MEMORY)
            rows.append([name, str(shape[0]), *(f"{size / 1e6:.0f}" for size in sizes), reached])
    return rows


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description="The sweep on a GPU beside the CPU.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models")
    parser.add_argument("--batches", type=int, default=4, help="of the sweep")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each")
    options = parser.parse_args()
    problem = missing()
    if problem is not None:
        print(f"Nothing was measured: {problem}.")
        return
    common.print_table(
        f"Seconds, the least of {options.rounds}; goal: scales agree to {GOAL} of each",
        [
            *("model", "device", "batches", "sweep", "opening a session", "whole command"),
            *("scales differ by", "goal", "bytes from run to run"),
        ],
        [
            row
            for name in options.names or MODELS
            for row in measure(name, options.batches, options.rounds)
        ],
    )
    common.print_table(
        "Memory of the GPU, MB; goal: --device-memory and the weights",
        ["network", "samples", "context", "peak over it", "weights", "--device-memory", "goal"],
        measure_memory(),
    )


if __name__ == "__main__":
    main()
