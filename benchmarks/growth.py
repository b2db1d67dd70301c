"""How the sweep's time grows with the number of layers, and with the number of samples.

    python benchmarks/growth.py
    python benchmarks/growth.py --layers 20 50 --rounds 1

Networks of fully connected or convolutional layers, all alike, with ReLU between them. Ours: the
sweep over one batch or four, draws excluded. Theirs: `lsuv` 0.3.0 on the same layers in PyTorch,
its call alone, draws included, on a smaller batch and as far as `--their-layers` goes. Both run on
one thread; seconds are the processor's. The exponents are least squares between logarithms.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import common
import lsuv
import networks
import torch
from segmented import random_batches
from torch import nn

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime.devices import select_device

GOAL = 1.15
LAYERS = (20, 50, 100, 200)
THEIR_LAYERS = (10, 20, 40)
FACTORS = (1, 2, 4, 8)
WIDTH, CHANNELS, SIZE = 128, 16, 16
BATCHES = 4
GROWN_LAYERS = 20

# The makers of the networks, and the samples in a batch of ours and in theirs.
NETWORKS: Mapping[str, tuple[Callable[[Path, int], Path], int, int]] = {
    "mlp": (partial(networks.mlp, width=WIDTH), 256, 64),
    "conv": (partial(networks.conv_net, channels=CHANNELS, size=SIZE), 32, 8),
}


def sweep_of(path: Path, count: int, size: int) -> Callable[[], object]:
    """A sweep over some batches of random samples, its weights drawn."""
    model, weights = read_model(path)
    batches = random_batches(model.inputs[0], count, size)
    device = select_device("cpu", None, 1, print)
    work = common.work_on(model, GivenBatches(batches), device=device)
    common.draw(work, weights)
    return partial(common.sweep, work, weights)


def theirs(name: str, layers: int, size: int) -> Callable[[], object]:
    """The other package's call on the same layers."""
    torch.manual_seed(0)
    shape = (size, WIDTH) if name == "mlp" else (size, CHANNELS, SIZE, SIZE)
    batch = torch.randn(shape)

    def layer() -> nn.Module:
        if name == "mlp":
            return nn.Linear(WIDTH, WIDTH)
        return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def run() -> None:
        model = nn.Sequential(*(nn.Sequential(layer(), nn.ReLU()) for _ in range(layers)))
        lsuv.lsuv_with_singlebatch(model, batch, verbose=False)

    return run


def timed(works: Sequence[tuple[str, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """The least seconds of each."""
    common.interleaved(works, 1)
    seconds = common.interleaved(works, rounds, common.processor_seconds_of)
    return {label: min(times) for label, times in seconds.items()}


def row(
    name: str, what: str, sizes: Sequence[int], seconds: Sequence[float], *, ours: bool
) -> list[str]:
    """A row of a table: the seconds for each size, and the exponent."""
    power = common.exponent(sizes, seconds)
    told = ", ".join(f"{size}: {time:.3f}" for size, time in zip(sizes, seconds, strict=True))
    last = common.exponent(sizes[-2:], seconds[-2:])
    goal = common.verdict(power <= GOAL) if ours else ""
    return [name, what, told, f"{power:.2f}", f"{last:.2f}", goal]


def by_layers(
    folder: Path, layers: Sequence[int], their_layers: Sequence[int], rounds: int
) -> list[list[str]]:
    """Time against the number of layers."""
    rows = []
    for name, (make, size, their_size) in NETWORKS.items():
        for count in (1, BATCHES):
            works = []
            for depth in layers:
                path = make(folder / f"{name}{depth}.onnx", depth)
                works.append((str(depth), sweep_of(path, count, size)))
            seconds = timed(works, rounds)
            what = f"sweep, {count} x {size} samples"
            rows.append(row(name, what, layers, [seconds[str(d)] for d in layers], ours=True))
        other = [(str(depth), theirs(name, depth, their_size)) for depth in their_layers]
        seconds = timed(other, 1)
        what = f"lsuv 0.3.0, {their_size} samples"
        values = [seconds[str(d)] for d in their_layers]
        rows.append(row(name, what, their_layers, values, ours=False))
    return rows


def by_samples(folder: Path, rounds: int) -> list[list[str]]:
    """Time against the number of samples, in batches of the same size."""
    rows = []
    for name, (make, size, their_size) in NETWORKS.items():
        path = make(folder / f"{name}.onnx", GROWN_LAYERS)
        works = [(str(k), sweep_of(path, BATCHES * k, size)) for k in FACTORS]
        seconds = timed(works, rounds)
        sizes = [BATCHES * k * size for k in FACTORS]
        rows.append(row(name, "sweep", sizes, [seconds[str(k)] for k in FACTORS], ours=True))
        other = [(str(k), theirs(name, THEIR_LAYERS[0], their_size * k)) for k in FACTORS]
        seconds = timed(other, 1)
        their_sizes = [their_size * k for k in FACTORS]
        values = [seconds[str(k)] for k in FACTORS]
        rows.append(row(name, "lsuv 0.3.0, one batch", their_sizes, values, ours=False))
    return rows


def main() -> None:
    """Measure the growth."""
    parser = argparse.ArgumentParser(description="Growth of time with layers and samples.")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, help="of ours")
    parser.add_argument("--their-layers", type=int, nargs="+", default=THEIR_LAYERS, help="theirs")
    parser.add_argument("--rounds", type=int, default=2, help="timed runs of each of ours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    header = ["network", "what", "seconds", "exponent", "of the last two", "goal"]
    with tempfile.TemporaryDirectory() as folder:
        common.print_table(
            f"Seconds of one core by number of layers; goal: exponent <= {GOAL}",
            header,
            by_layers(Path(folder), options.layers, options.their_layers, options.rounds),
        )
        common.print_table(
            f"Seconds of one core by number of samples, {GROWN_LAYERS} layers (theirs "
            f"{THEIR_LAYERS[0]}); goal: exponent <= {GOAL}",
            header,
            by_samples(Path(folder), options.rounds),
        )


if __name__ == "__main__":
    main()
