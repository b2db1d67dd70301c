"""The sweep over several batches beside plain forward passes of the same batches.

    python benchmarks/segmented.py                      # every network
    python benchmarks/segmented.py fitnet4 --batches 1 4

Plain: the original model file in one session with ONNX Runtime's defaults, every batch run once.
Sweep: what `lsuv init` does with the same batches, from the first session to the last scale, what
segments pass on being kept in memory or, in the rows so marked, written to disk. The draws of the
weights come before and are in neither. Both run in turn on one thread, and seconds are the
processor's, which other work on the machine hardly changes.

Of several batches the sweep's seconds are a + b K for K batches, by least squares; `per batch` is b
over the plain pass's seconds for a batch, which is the ratio that very many batches tend to, and
`constant` is a: opening a session for each segment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import networks
import numpy as np
import onnxruntime as ort

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime.devices import select_device
from lsuv_cli.runtime.spill import SpillFile

GOAL = 1.25
BATCHES = (1, 4, 16)


def sample_model(name: str) -> Callable[[Path], Path]:
    """How a sample model is made."""
    return lambda _folder: common.case(name).model


# How each network is made in a folder, and the size of a batch.
NETWORKS: Mapping[str, tuple[Callable[[Path], Path], int]] = {
    "fitnet4": (sample_model("fitnet4"), 32),
    "residual": (lambda folder: networks.residual(folder / "residual.onnx"), 32),
    "transformer_mlp": (lambda folder: networks.transformer_mlp(folder / "mlp.onnx"), 8),
    "googlenet": (sample_model("googlenet"), 4),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A number of batches, measured.

    Attributes:
        plain: the seconds of each round.
        sweep: the same of the sweep.
        segments: how many it had.
        executions: node executions of one sweep.
        nodes: the nodes that it runs.
        spilled: bytes that were written to disk.
    """

    plain: Sequence[float]
    sweep: Sequence[float]
    segments: int
    executions: int
    nodes: int
    spilled: int


def random_batches(spec: InputSpec, count: int, size: int) -> list[Feeds]:
    """Batches of random samples."""
    rng = np.random.default_rng(0)
    shape = (size, *(axis or 1 for axis in (spec.shape or ())[1:]))
    return [{spec.name: rng.standard_normal(shape, dtype=np.float32)} for _ in range(count)]


def measure(path: Path, count: int, size: int, rounds: int, spill: SpillFile | None) -> Measured:
    """Time both ways of some batches."""
    model, weights = read_model(path)
    batches = random_batches(model.inputs[0], count, size)
    room = sys.maxsize if spill is None else 0
    device = select_device("cpu", None, 1, print)
    given = GivenBatches(batches)
    work = common.work_on(model, given, memory_bytes=room, spill=spill, device=device)
    common.draw(work, weights)
    one_thread = ort.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = ort.InferenceSession(path, one_thread, providers=["CPUExecutionProvider"])
    swept: list[Sweeper] = []

    def plain() -> None:
        for feeds in batches:
            session.run(None, feeds)

    def sweep() -> None:
        swept[:] = [common.sweep(work, weights)]

    works = [("plain", plain), ("sweep", sweep)]
    common.interleaved(works, 1)
    written = work.store.spilled_bytes
    seconds = common.interleaved(works, rounds, common.processor_seconds_of)
    (sweeper,) = swept
    return Measured(
        seconds["plain"],
        seconds["sweep"],
        len(sweeper.segments),
        sweeper.stats.executions,
        sum(segment.node_count for segment in sweeper.segments),
        written,
    )


def compare(
    name: str, path: Path, size: int, counts: Sequence[int], rounds: int, spill: SpillFile | None
) -> list[list[str]]:
    """The rows of one network."""
    measured = {count: measure(path, count, size, rounds, spill) for count in counts}
    rows = []
    several = [count for count in counts if count > 1]
    per_batch = constant = float("nan")
    if len(several) > 1:
        sweeps = [min(measured[count].sweep) for count in several]
        slope, constant = map(float, np.polyfit(several, sweeps, 1))
        per_batch = slope / min(min(one.plain) / count for count, one in measured.items())
    for count, one in measured.items():
        ratio = common.median_ratio(one.sweep, one.plain)
        is_last = len(several) > 1 and count == counts[-1]
        rows.append(
            [
                name,
                str(size),
                str(count),
                str(one.segments),
                f"{one.executions / one.nodes:.2f}",
                common.verdict(one.executions == count * one.nodes),
                f"{min(one.plain):.3f}",
                f"{min(one.sweep):.3f}",
                f"{ratio:.2f}",
                f"{per_batch:.2f}" if is_last else "",
                f"{constant:.3f}" if is_last else "",
                common.verdict(per_batch <= GOAL) if is_last else "",
                f"{one.spilled / common.MIB:.0f}",
            ]
        )
    return rows


def main() -> None:
    """Measure the networks named on the command line."""
    parser = argparse.ArgumentParser(description="Time the sweep over several batches.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="how many")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in options.names or NETWORKS:
            make, size = NETWORKS[network]
            path = make(folder)
            rows += compare(network, path, size, options.batches, options.rounds, None)
            spill = SpillFile(folder)
            try:
                rows += compare(
                    f"{network}, on disk", path, size, options.batches, options.rounds, spill
                )
            finally:
                spill.close()
    common.print_table(
        f"Sweep and plain forward passes, seconds of one core: the least of {options.rounds} runs, "
        f"and the median of their ratios; goals: each node runs once a batch, per batch <= {GOAL}",
        [
            *("network", "batch", "batches", "segments", "executions / nodes", "goal", "plain"),
            *("sweep", "sweep / plain", "per batch", "constant, s", "goal", "disk, MiB"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
