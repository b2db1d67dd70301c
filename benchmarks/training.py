"""Does it train? Networks with weights from `lsuv init` and from other inits, trained alike.

    python benchmarks/training.py            # the whole grid; goes on where it was cut off
    python benchmarks/training.py --table    # its tables, as Markdown
    python benchmarks/training.py --out small.jsonl --networks thin --depths 10 --seeds 1

Each network is trained with every init, on the same data, for the same number of steps, by SGD with
momentum. The learning rate is the one of `--rates` that does best in validation with the first
seed, for each network and init by itself; the other seeds use it too. Each seed has its own weights
and its own order of samples. A run has converged if its loss is finite and its test accuracy at
least three times chance. Nothing is stopped early.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import training_data
from training_networks import ACTIVATION_NAMES, build
from training_runs import INITS, Budget, Outcome, networks, train
from training_tables import render

# Each network's data, the activations it is trained with, and its layers in a row.
NETWORKS = {
    "thin": ("digits", ACTIVATION_NAMES, 0),
    "fitnet4": ("photos", ACTIVATION_NAMES, 19),
    "fitresnet4": ("photos", ACTIVATION_NAMES, 19),
    "fitnet-mnist": ("digits16", ("maxout",), 7),
    "highway": ("digits16", ("relu",), 10),
}
CONVERGED_CHANCES = 3
LIBRARIES = ("lsuv-cli", "torch", "numpy", "onnxruntime-gpu", "scikit-learn", "scikit-image")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One network to be trained with every init and seed."""

    network: str
    depth: int
    activation: str
    data: str


def cell_of(record: Record) -> Cell | None:
    """The cell that a line of the results belongs to; None for a line about the runs."""
    if "network" not in record:
        return None
    return Cell(record["network"], record["depth"], record["activation"], record["data"])


def cells(options: argparse.Namespace) -> list[Cell]:
    """What `options` ask for, from the shallow to the deep."""
    asked = []
    for network in options.networks:
        data, activations, layers = NETWORKS[network]
        depths = options.depths if network == "thin" else [layers]
        wanted = [a for a in activations if a in options.activations or len(activations) == 1]
        asked += [Cell(network, depth, a, data) for depth in depths for a in wanted]
    return sorted(asked, key=lambda cell: cell.depth)


def records(
    cell: Cell,
    runs: Sequence[tuple[str, int, float]],
    outcomes: Sequence[Outcome],
    budget: Budget,
    chance: float,
) -> list[Record]:
    """A line of the results for each run, given as init, seed and rate."""
    return [
        {
            **asdict(cell),
            "init": init,
            "seed": seed,
            "rate": rate,
            **asdict(budget),
            "converged": math.isfinite(outcome.loss) and outcome.test >= CONVERGED_CHANCES * chance,
            "test": round(outcome.test, 4),
            "loss": round(outcome.loss, 4) if math.isfinite(outcome.loss) else None,
            "validation": [round(accuracy, 3) for accuracy in outcome.validation],
        }
        for (init, seed, rate), outcome in zip(runs, outcomes, strict=True)
    ]


def best_rates(swept: Sequence[Record]) -> dict[str, float]:
    """For each init the rate of its best run in validation; of equals, the smaller."""
    ordered = sorted(swept, key=lambda run: (-run["validation"][-1], run["rate"]))
    return {run["init"]: run["rate"] for run in reversed(ordered)}


def run_cell(cell: Cell, options: argparse.Namespace, budget: Budget) -> list[Record]:
    """Sweep the rates with the first seed, then train the other seeds with the best."""
    dataset = training_data.load(cell.data)

    def new() -> torch.nn.Module:
        return build(cell.network, cell.depth, cell.activation, dataset.channels, dataset.classes)

    seeds, inits = range(options.seeds), options.inits
    nets = dict(
        zip(
            [(init, seed) for init in inits for seed in seeds],
            networks(new, dataset.train[0], inits, seeds),
            strict=True,
        )
    )

    def measured(runs: list[tuple[str, int, float]]) -> list[Record]:
        outcomes = train(
            [nets[init, seed] for init, seed, _ in runs],
            [seed for _, seed, _ in runs],
            [rate for _, _, rate in runs],
            dataset,
            budget,
        )
        return records(cell, runs, outcomes, budget, 1 / dataset.classes)

    swept = measured([(init, 0, rate) for init in inits for rate in options.rates])
    chosen = best_rates(swept)
    others = [(init, seed, chosen[init]) for init in inits for seed in seeds if seed]
    return swept + (measured(others) if others else [])


def read(path: Path) -> list[Record]:
    """The results so far; of a run that was cut off, the last line may be broken: left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def about() -> Record:
    """What the results depend on beside the options."""
    return {
        "command": " ".join(["python", "benchmarks/training.py", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {library: version(library) for library in LIBRARIES},
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train networks from several inits.")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "training.jsonl", help="results")
    parser.add_argument("--table", action="store_true", help="print the tables and stop")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--depths", nargs="+", type=int, default=[10, 20, 30, 50])
    parser.add_argument(
        "--activations", nargs="+", choices=ACTIVATION_NAMES, default=list(ACTIVATION_NAMES)
    )
    parser.add_argument("--inits", nargs="+", choices=INITS, default=list(INITS))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.002, 0.01])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--every", type=int, default=25, help="steps between validations")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not yet in the file, cell by cell, or print the tables."""
    options = parse(arguments)
    results = read(options.out)
    if options.table:
        print(render(results))
        return 0
    torch.set_num_threads(1)
    # Vanishing activations and gradients become denormal numbers, many times slower.
    torch.set_flush_denormal(True)
    budget = Budget(options.steps, options.batch, options.every)
    # A cell whose lines were cut off is run again.
    lines = len(options.inits) * (len(options.rates) + options.seeds - 1)
    counted = Counter(map(cell_of, results))
    results = [run for run in results if cell_of(run) is None or counted[cell_of(run)] >= lines]
    todo = [cell for cell in cells(options) if counted[cell] < lines]
    options.out.write_text("".join(f"{json.dumps(line)}\n" for line in [*results, about()]))
    for number, cell in enumerate(todo, 1):
        start = time.perf_counter(), time.process_time()
        runs = run_cell(cell, options, budget)
        with options.out.open("a") as file:
            file.writelines(f"{json.dumps(run)}\n" for run in runs)
            file.flush()
            os.fsync(file.fileno())
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        print(f"{number}/{len(todo)} {cell}: {wall:.0f} s ({cpu:.0f} s of CPU)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
