"""The memory of the whole command, whatever the number of batches.

    python benchmarks/flat_memory.py
    python benchmarks/flat_memory.py --batches 10 100

The most memory resident (ru_maxrss) of `lsuv init` on a residual network with batch normalisation,
its samples an .npy file, with a --memory that holds only a part of what segments pass on; the rest
goes to disk. Goals: the most batches take at most a twentieth more than the fewest, and what comes
on top of the command's own constant keeps within --memory and the largest layer's weights. The
constant is the peak of the same command on a network with one layer of one weight, one sample.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import common
import networks
import numpy as np
from numpy.lib.format import open_memmap

from lsuv_cli.reading.onnx_file import read_model

GOAL = 1.05
SHAPE = (3, 32, 32)
PLAN = re.compile(r"^plan: .*?; (.*)$", re.MULTILINE)
SPILLED = re.compile(r"([\d,]+) bytes written to disk")
MB = 10**6


def command(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    """`lsuv init` of a model on all samples of a file."""
    return [
        *(common.executable(), "init", str(model), "--data", str(data), "--samples", "all"),
        *("--out", str(folder / "init.safetensors"), "--spill-dir", str(folder), "--force"),
        *("--verbose", *more),
    ]


def samples(path: Path, count: int) -> Path:
    """Random samples in a file, written piece by piece."""
    rng = np.random.default_rng(0)
    array = open_memmap(path, "w+", np.float32, (count, *SHAPE))
    for start in range(0, count, 1000):
        piece = array[start : start + 1000]
        piece[...] = rng.standard_normal(piece.shape, dtype=np.float32)
    array.flush()
    return path


def constant_bytes(folder: Path) -> int:
    """What the command holds where there is nothing to do."""
    model = networks.mlp(folder / "trivial.onnx", 1, 1)
    data = folder / "trivial.npy"
    np.save(data, np.array([[1.0], [-1.0]], np.float32))
    return common.peak_bytes(command(model, data, folder))


def main() -> None:
    """Measure the command for each number of batches."""
    parser = argparse.ArgumentParser(description="Memory against the number of batches.")
    parser.add_argument("--batches", type=int, nargs="+", default=[10, 100, 1000], help="how many")
    parser.add_argument("--batch-size", type=int, default=16, help="samples in each")
    parser.add_argument("--memory", default="64MB", help="of the command")
    options = parser.parse_args()
    memory = int(options.memory.removesuffix("MB")) * MB
    rows = []
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        constant = constant_bytes(folder)
        model = networks.residual(folder / "residual.onnx", blocks=1, widths=(16, 32, 64))
        largest = max(info.nbytes for info in read_model(model)[0].parameters.values())
        limit = memory + largest + constant
        for count in options.batches:
            data = samples(folder / "samples.npy", count * options.batch_size)
            size = data.stat().st_size
            limits = ("--batch-size", str(options.batch_size), "--memory", options.memory)
            peak, words = common.peak_and_words(command(model, data, folder, *limits))
            data.unlink()
            peaks.append(peak)
            plan, spilled = PLAN.search(words), SPILLED.search(words)
            assert plan is not None
            assert spilled is not None
            rows.append(
                [
                    str(count),
                    f"{size / MB:.1f}",
                    f"{peak / MB:.0f}",
                    f"{peak / peaks[0]:.3f}",
                    common.verdict(peak <= GOAL * peaks[0]),
                    f"{(peak - constant) / MB:.0f}",
                    f"{(memory + largest) / MB:.0f}",
                    common.verdict(peak <= limit),
                    f"{int(spilled[1].replace(',', '')) / MB:.1f}",
                    plan[1],
                ]
            )
    common.print_table(
        f"Peak resident memory, MB, batches of {options.batch_size}, --memory {options.memory}; "
        f"the constant: {constant / MB:.0f} MB; goals: flat to {GOAL}, above the constant within "
        f"--memory and the largest layer ({largest / MB:.2f} MB)",
        [
            *("batches", "samples, MB", "peak", "peak / first", "goal", "above the constant"),
            *("allowed", "goal", "written to disk", "predicted"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
