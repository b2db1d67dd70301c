"""How much memory the whole command takes beside a plain forward pass of the same batch.

    python benchmarks/peak_memory.py                # fitnet4, googlenet, caffenet
    python benchmarks/peak_memory.py highway        # some

The most memory resident (ru_maxrss) of each child process. The forward pass's child imports only
numpy and ONNX Runtime and reads the batch as one float32 array.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import common
import numpy as np

from lsuv_cli.reading.onnx_file import read_model

GOAL = 1.5
MODELS = ("fitnet4", "googlenet", "caffenet")


def measure(name: str, rounds: int) -> list[str]:
    """One row of the table."""
    case = common.case(name)
    model, _ = read_model(case.model)
    (batch,) = case.feeds(model.inputs).values()
    weights = sum(info.nbytes for info in model.parameters.values())
    forward: list[int] = []
    command: list[int] = []
    unverified: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        array, out = Path(folder, "batch.npy"), Path(folder, "init.safetensors")
        np.save(array, batch)
        plain = [sys.executable, str(common.HERE / "plain_forward.py"), str(case.model), str(array)]
        for _ in range(rounds):
            forward.append(common.peak_bytes(plain))
            command.append(common.peak_bytes(case.command(out)))
            unverified.append(common.peak_bytes(case.command(out, "--no-verify")))
    # Which buffers are alive together depends on the threads' timing: the largest counts.
    ratio = max(command) / (max(forward) + weights)
    return [
        name,
        str(case.count),
        *(
            f"{size / common.MIB:.0f}"
            for size in (batch.nbytes, weights, max(forward), max(command), max(unverified))
        ),
        f"{ratio:.2f}",
        common.verdict(ratio <= GOAL),
    ]


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description="Peak memory of the whole command.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    options = parser.parse_args()
    common.print_table(
        f"Peak resident memory, MiB, the most of {options.rounds} processes; "
        f"goal: init / (forward + weights) <= {GOAL}",
        [
            *("model", "batch", "input", "weights", "forward", "init", "init --no-verify"),
            *("init / (forward + weights)", "goal"),
        ],
        [measure(name, options.rounds) for name in options.names or MODELS],
    )


if __name__ == "__main__":
    main()
