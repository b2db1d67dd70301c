"""The tables of training.py's results, as Markdown: inits by activations, as in the paper."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

Run = dict[str, Any]

INITS = ("lsuv", "orthonormal", "msra", "xavier", "pytorch")
TITLES = {
    "thin": "Thin net",
    "fitnet4": "FitNet-4",
    "fitresnet4": "FitResNet-4",
    "fitnet-mnist": "FitNet-MNIST",
    "highway": "Highway",
}
DATA = {
    "digits": "UCI digits, 8x8",
    "digits16": "UCI digits, enlarged to 16x16",
    "photos": "patches of seven photographs, 8x8",
}
# Table by network of the paper, of CIFAR-10: test accuracy in percent, in the order of ACTIVATIONS.
# Recalled, not copied from its text.
PAPER = {
    "fitnet4": {
        "lsuv": ("93.94", "92.11", "92.97", "89.28", "n/c"),
        "orthonormal": ("93.78", "91.74", "92.40", "89.48", "n/c"),
        "msra": ("n/c", "90.91", "92.43", "89.54", "n/c"),
        "xavier": ("91.75", "90.63", "92.27", "89.82", "n/c"),
    },
    "fitresnet4": {
        "lsuv": ("94.16", "92.82", "93.36", "89.17", "n/c"),
        "orthonormal": ("n/c", "91.42", "n/c", "89.31", "n/c"),
        "msra": ("n/c", "n/c", "n/c", "88.59", "n/c"),
        "xavier": ("n/c", "92.48", "93.34", "89.62", "n/c"),
    },
}
# A run is as fast as the steps it takes to this validation accuracy.
GOAL = 0.8

ACTIVATIONS = ("maxout", "relu", "vlrelu", "tanh", "sigmoid")


def render(results: Sequence[Run]) -> str:
    """A table for each network and depth."""
    parts: dict[tuple[str, int, str], list[Run]] = defaultdict(list)
    for run in results:
        if "network" in run:
            parts[run["network"], run["depth"], run["data"]].append(run)
    texts = [_summary(results)]
    order = list(TITLES)
    for network, depth, data in sorted(parts, key=lambda key: (order.index(key[0]), key[1])):
        texts.append(f"## {TITLES[network]}, {depth} layers: {DATA[data]}")
        texts.append(_table(parts[network, depth, data]))
        if network in PAPER:
            texts.append("The paper's, CIFAR-10, as recalled:")
            rows = [["init", *ACTIVATIONS], ["---", *("---:" for _ in ACTIVATIONS)]]
            texts.append(_markdown([*rows, *([i, *row] for i, row in PAPER[network].items())]))
    return "\n\n".join(texts)


def chosen(runs: Sequence[Run]) -> list[Run]:
    """Each seed's run with the learning rate that was chosen in validation with the first."""
    later = {(run["activation"], run["init"]): run["rate"] for run in runs if run["seed"]}
    best: dict[tuple[str, str], float] = {}
    for run in sorted(runs, key=lambda run: (run["validation"][-1], -run["rate"])):
        best[run["activation"], run["init"]] = run["rate"]
    rates = best | later
    return [run for run in runs if run["rate"] == rates[run["activation"], run["init"]]]


def _table(runs: Sequence[Run]) -> str:
    by_cell: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in chosen(runs):
        by_cell[run["init"], run["activation"]].append(run)
    activations = [a for a in ACTIVATIONS if any(a == cell[1] for cell in by_cell)]
    rows = [["init", *activations], ["---", *("---:" for _ in activations)]]
    rows += [
        [init, *(_cell(by_cell[init, activation]) for activation in activations)]
        for init in INITS
        if any(init == cell[0] for cell in by_cell)
    ]
    return _markdown(rows)


def _cell(runs: Sequence[Run]) -> str:
    """Accuracy in percent of the runs that converged, how many did, and steps to the goal."""
    good = [100 * run["test"] for run in runs if run["converged"]]
    if not good:
        return "n/c"
    spread = f" ± {statistics.stdev(good):.1f}" if len(good) > 1 else ""
    text = f"{statistics.fmean(good):.1f}{spread}"
    if len(good) < len(runs):
        text += f" ({len(good)} of {len(runs)})"
    steps = [_steps(run) for run in runs]
    reached = sorted(step for step in steps if step is not None)
    if len(reached) == len(runs):
        text += f", {int(statistics.median(reached))}"
    return text


def _steps(run: Run) -> int | None:
    for number, accuracy in enumerate(run["validation"], 1):
        if accuracy >= GOAL:
            return int(number * run["every"])
    return None


def _summary(results: Sequence[Run]) -> str:
    """How many runs of each init converged, of all and by activation."""
    runs = [run for run in results if "network" in run]
    cells: dict[tuple[str, str], list[Run]] = defaultdict(list)
    groups: dict[tuple[str, int, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run["network"], run["depth"], run["data"]].append(run)
    for group in groups.values():
        for run in chosen(group):
            cells[run["init"], run["activation"]].append(run)
            cells[run["init"], "all"].append(run)
    columns = [a for a in ACTIVATIONS if any(a == cell[1] for cell in cells)]
    rows = [["init", *columns, "all"], ["---", *("---:" for _ in columns), "---:"]]
    rows += [
        [init, *(_share(cells[init, column]) for column in (*columns, "all"))]
        for init in INITS
        if (init, "all") in cells
    ]
    return "## Runs that converged, of all networks\n\n" + _markdown(rows)


def _share(runs: Sequence[Run]) -> str:
    return f"{sum(run['converged'] for run in runs)} of {len(runs)}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
