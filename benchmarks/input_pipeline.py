"""Whether the sweep waits for its samples, and how fast they are decoded.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --batches 8 --rounds 2

First: a sweep of GoogLeNet over JPEGs of 224x224, decoded while the batch before is computed, none
of them kept; beside it the same sweep over the same batches in memory, in turn. Waiting is the time
in which no batch was there to compute. Decoding takes cores from computing, too, which only the
ratio shows.

Second: the command's reader beside torch.utils.data.DataLoader with as many workers and the same
work for a picture: Pillow's decoding, the same size, mean and std, batches of float32. Its workers
are processes that stay from one pass to the next and are there before the first that counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.group import SingleProcess
from lsuv_cli.core.option_texts import PRESETS
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import InputSpec
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.samples.batch import SampleBatches
from lsuv_cli.samples.open_samples import open_samples

GOAL = 0.1
SIZE = 224
PRESET = PRESETS["imagenet"]
SPEC = InputSpec("input", "float32", (None, 3, SIZE, SIZE))
QUALITY = 90


def make_pictures(folder: Path, count: int) -> None:
    """Sample photographs as JPEGs of the network's size."""
    photos = sorted(common.case("googlenet").images.iterdir())
    for index in range(count):
        with Image.open(photos[index % len(photos)]) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        resized.save(folder / f"{index:05}.jpg", quality=QUALITY)


def reader(folder: Path, spec: InputSpec, batch_size: int, threads: int) -> SampleBatches:
    """The command's batches of the pictures, none of which is kept."""
    options = SampleOptions((str(folder),), None, mean=PRESET.mean, std=PRESET.std)
    source, _ = open_samples([spec], options, threads)
    batches = SampleBatches(source, options, batch_size, 0)
    batches.read(SingleProcess(), lambda _done, _total: None)
    return batches


class Pictures(Dataset[torch.Tensor]):
    """What a PyTorch script would write: a picture, decoded and normalised."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())
        self.mean, self.std = (
            np.array(values, np.float32)[:, None, None] for values in (PRESET.mean, PRESET.std)
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """A picture, (3, h, w)."""
        with Image.open(self.paths[index]) as image:
            rgb = image.convert("RGB")
        if rgb.size != (SIZE, SIZE):
            rgb = rgb.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        pixels = np.asarray(rgb, np.float32).transpose(2, 0, 1) / np.float32(255)
        return torch.from_numpy((pixels - self.mean) / self.std)


def waiting(folder: Path, count: int, batch_size: int, rounds: int) -> list[str]:
    """The row of the sweep."""
    path = common.case("googlenet").model
    model, weights = read_model(path)
    decoded = reader(folder, model.inputs[0], batch_size, 0)
    kept = GivenBatches([decoded.feeds(batch) for batch in range(len(decoded.counts))])
    reading, given = common.work_on(model, decoded), common.work_on(model, kept)
    common.draw(reading, weights)
    waited: list[float] = []

    def sweep_decoding() -> None:
        waited.append(common.sweep(reading, weights).stats.waited_seconds)

    def sweep_given() -> None:
        common.sweep(given, weights)

    works = [("decoding", sweep_decoding), ("given", sweep_given)]
    seconds = common.interleaved(works, rounds)
    decoded.close()
    shares = [wait / time for wait, time in zip(waited, seconds["decoding"], strict=True)]
    share = statistics.median(shares)
    ratio = common.median_ratio(seconds["decoding"], seconds["given"])
    return [
        f"{count} x {batch_size}",
        f"{min(seconds['decoding']):.2f}",
        f"{min(waited):.3f}",
        f"{share:.1%}",
        common.verdict(share < GOAL),
        f"{min(seconds['given']):.2f}",
        f"{ratio:.2f}",
    ]


def decoding(folder: Path, batch_size: int, workers: Sequence[int], rounds: int) -> list[list[str]]:
    """The rows of the readers."""
    rows = []
    for count in workers:
        ours = reader(folder, SPEC, batch_size, count)
        loader = DataLoader(
            Pictures(folder), batch_size, num_workers=count, persistent_workers=True
        )

        def run_ours(ours: SampleBatches = ours) -> None:
            for batch in range(len(ours.counts)):
                ours.feeds(batch)

        def run_theirs(loader: DataLoader[torch.Tensor] = loader) -> None:
            for _ in loader:
                pass

        run_theirs()  # starts its processes
        seconds = common.interleaved([("ours", run_ours), ("theirs", run_theirs)], rounds)
        pictures = ours.total
        ours.close()
        ratio = common.median_ratio(seconds["theirs"], seconds["ours"])
        rows.append(
            [
                str(count),
                f"{pictures / min(seconds['ours']):.0f}",
                f"{pictures / min(seconds['theirs']):.0f}",
                f"{ratio:.2f}",
                common.verdict(ratio >= 1),
            ]
        )
    return rows


def main() -> None:
    """Measure the sweep and the readers."""
    parser = argparse.ArgumentParser(description="Waiting for samples, and decoding them.")
    parser.add_argument("--batches", type=int, default=6, help="of the sweep")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures in each")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder, options.batches * options.batch_size)
        common.print_table(
            f"GoogLeNet over JPEGs of {SIZE}x{SIZE}, the least of {options.rounds} sweeps in turn "
            f"(shares and ratios: medians), seconds; goal: waiting < {GOAL:.0%}",
            [
                *("batches", "sweep, decoding", "of it waiting", "share", "goal"),
                *("sweep, in memory", "decoding / in memory"),
            ],
            [waiting(folder, options.batches, options.batch_size, options.rounds)],
        )
        common.print_table(
            f"Pictures decoded a second, the most of {options.rounds} passes over "
            f"{options.batches * options.batch_size}; goal: at least as many as DataLoader",
            ["workers", "lsuv", "DataLoader", "lsuv / DataLoader", "goal"],
            decoding(folder, options.batch_size, sorted({1, cores}), options.rounds),
        )


if __name__ == "__main__":
    main()
