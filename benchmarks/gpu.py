"""The sweep on a GPU beside the sweep on the CPU.

    python benchmarks/gpu.py
    python benchmarks/gpu.py googlenet --batches 4

Needs an NVIDIA GPU, ONNX Runtime with CUDA and PyTorch with CUDA; where there is none of these it
says so and measures nothing. Whole: `lsuv init --no-verify` on the same pictures, as one process.
Sweep: over random batches in one process, draws excluded, after one sweep that does not count.
Opening: what one segment's session takes to be opened, of that sweep. The scales of the two
devices, which start from the same draws, are compared layer by layer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import common
import numpy as np
import torch
from segmented import random_batches

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.errors import UsageError
from lsuv_cli.model.onnx_model import read_model
from lsuv_cli.sweep import passage
from lsuv_cli.sweep.devices import Device, select_device
from lsuv_cli.sweep.session import Session

GOAL = 1e-4
MODELS = ("fitnet4", "googlenet", "caffenet")
DEVICES = ("cpu", "cuda")


def missing() -> str | None:
    """What keeps the GPU from being measured; None where nothing does."""
    if not torch.cuda.is_available():
        return "PyTorch finds no usable CUDA GPU"
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
    work = common.work_on(model, given, device=select_device(device, None, 0, print))
    common.draw(work, weights)
    opened: list[float] = []

    def timed_session(graph: bytes, initializers: dict[str, np.ndarray], on: Device) -> Session:
        sessions: list[Session] = []

        def open_session() -> None:
            sessions.append(Session(graph, initializers, on))

        opened.append(common.seconds_of(open_session))
        return sessions[0]

    common.sweep(work, weights)
    with mock.patch.object(passage, "Session", timed_session):
        works = [("sweep", partial(common.sweep, work, weights))]
        seconds = common.interleaved(works, rounds)["sweep"]
    return min(seconds), sum(opened) / len(opened)


def measure(name: str, batches: int, rounds: int) -> list[list[str]]:
    """The rows of one model."""
    case = common.case(name)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scales = {device: whole(case, device, Path(folder)) for device in DEVICES}
        commands = [(device, partial(whole, case, device, Path(folder))) for device in DEVICES]
        seconds = common.interleaved(commands, rounds)
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
            ]
        )
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
    print(torch.cuda.get_device_name())
    common.print_table(
        f"Seconds, the least of {options.rounds}; goal: scales agree to {GOAL} of each",
        [
            *("model", "device", "batches", "sweep", "opening a session", "whole command"),
            *("scales differ by", "goal"),
        ],
        [
            row
            for name in options.names or MODELS
            for row in measure(name, options.batches, options.rounds)
        ],
    )


if __name__ == "__main__":
    main()
