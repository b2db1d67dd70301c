"""Two processes, each on one thread, beside one process on one thread, on the same samples.

    python benchmarks/distributed.py
    python benchmarks/distributed.py residual --rounds 5

Processes in turn, two of them started by torchrun. The seconds are those of the sweep, draws and
start-up excluded; the processes begin together, and the slower one counts. Efficiency is the one
process's time over twice that of the two, and 1 at best; the two share the machine's memory, and
whatever else runs takes a core from them. What that does not change is the processor's time: the
one process's over that of the two together. The bytes are what a process receives from the other
during the sweep, for each layer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
from segmented import NETWORKS, random_batches

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.processes.run import Run
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime.devices import select_device

GOAL = 0.85
GOAL_BYTES = 8000
PROCESSES = 2


def work(path: Path, batches: int, size: int) -> None:
    """Sweep this process's share of the samples; the first prints seconds and bytes a layer."""
    with Run(os.environ) as run, run.open_group("cpu", 600.0) as group:
        model, weights = read_model(path)
        device = select_device("cpu", None, 1, print)
        everything = random_batches(model.inputs[0], batches, size)
        given = GivenBatches(everything[group.rank :: group.size])
        given.total = batches * size
        sweeping = common.work_on(model, given, group=group, device=device)
        common.draw(sweeping, weights)
        common.sweep(sweeping, weights)
        group.gather_text("")
        before = group.bytes_exchanged
        started, computed = time.perf_counter(), time.process_time()
        common.sweep(sweeping, weights)
        taken = [time.perf_counter() - started, time.process_time() - computed]
        exchanged = group.bytes_exchanged - before
        seconds, processor = np.stack(group.gather(np.array(taken))).T
        if group.is_first:
            print(seconds.max(), processor.sum(), exchanged / len(sweeping.layer_nodes))


def measure(name: str, folder: Path, batches: int, rounds: int) -> list[str]:
    """One row of the table."""
    make, size = NETWORKS[name]
    script = [__file__, "--worker", str(make(folder)), str(batches), str(size)]
    alone = [sys.executable, *script]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    together = [*launcher, "--nproc-per-node", str(PROCESSES), *script]
    runs = [
        [list(map(float, common.captured(command).split())) for command in (alone, together)]
        for _ in range(rounds)
    ]
    one, two = ([run[which][0] for run in runs] for which in (0, 1))
    processor_one, processor_two = ([run[which][1] for run in runs] for which in (0, 1))
    exchanged = runs[0][1][2]
    efficiency = common.median_ratio(one, two) / PROCESSES
    return [
        name,
        f"{batches} x {size}",
        f"{statistics.median(one):.2f}",
        f"{statistics.median(two):.2f}",
        f"{efficiency:.2f}",
        common.verdict(efficiency >= GOAL),
        f"{common.median_ratio(processor_one, processor_two):.2f}",
        f"{exchanged:.0f}",
        common.verdict(exchanged <= GOAL_BYTES),
    ]


def main() -> None:
    """Measure the networks named on the command line."""
    parser = argparse.ArgumentParser(description="Two processes beside one.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--batches", type=int, default=16, help="of all processes together")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, batches, size = options.worker
        work(Path(path), int(batches), int(size))
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun sets it
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(name, Path(folder), options.batches, options.rounds)
            for name in options.names or NETWORKS
        ]
    common.print_table(
        f"The sweep by {PROCESSES} processes and by one, each on one thread, seconds: medians of "
        f"{options.rounds} runs; goals: efficiency >= {GOAL}, {GOAL_BYTES} bytes a layer",
        [
            *("network", "batches", "one", "two", "efficiency", "goal"),
            "processor, one / two",
            *("bytes a layer", "goal"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
