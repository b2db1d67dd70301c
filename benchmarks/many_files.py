"""Listing a million picture files and choosing 128 of them, beside a list of a Path for each.

    python benchmarks/many_files.py
    python benchmarks/many_files.py --files 100000 --folders 100

Each way runs in processes of its own. The seconds are those of the work, without start-up; the
memory is the most that was resident, over that of a process which only imports the same modules.
The list is made as find_files made it before: os.walk, a Path, a stat and a resolve() a file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import common

from lsuv_cli.core.preinit import generator
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.formats import format_number

COUNT = 128
SEED = 0


def packed(folder: Path) -> Sequence[Path]:
    """The files as the command finds them."""
    return find_files([str(folder)])


def listed(folder: Path) -> Sequence[Path]:
    """The files as a list of Paths, each resolved."""
    once: dict[Path, Path] = {}
    for path in sorted(_walk(folder)):
        once.setdefault(path.resolve(), path)
    return list(once.values())


def _walk(folder: Path) -> list[Path]:
    paths = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return [path for path in paths if format_number(path.name) is not None and path.is_file()]


def nothing(folder: Path) -> Sequence[Path]:
    """No search, for the memory of the imports."""
    return [folder] * COUNT


WAYS: dict[str, Callable[[Path], Sequence[Path]]] = {
    "find_files": packed,
    "list of Paths": listed,
    "imports only": nothing,
}


def search(way: str, folder: Path) -> None:
    """Find and choose in this process; print the seconds, and the chosen files' digest."""
    started = time.perf_counter()
    files = WAYS[way](folder)
    order = generator(SEED, "samples").permutation(len(files))
    chosen = [str(files[index]) for index in sorted(order[:COUNT].tolist())]
    print(time.perf_counter() - started, len(files), chosen[0], chosen[-1])


def make(folder: Path, files: int, folders: int) -> None:
    """Make empty files, spread evenly."""
    for index in range(folders):
        inner = folder / f"class{index:06}" if folders > 1 else folder
        inner.mkdir(exist_ok=True)
        for name in range(index, files, folders):
            (inner / f"{name * 2654435761 % (1 << 32):08x}_{name:07}.jpg").touch()


def measure(folder: Path, rounds: int) -> list[list[str]]:
    """The rows of one table.

    Raises:
        RuntimeError: the ways don't choose the same files.
    """
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks: dict[str, list[int]] = {way: [] for way in WAYS}
    chosen = set()
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--search", way, str(folder)]
            took, *words = common.captured(command).split()
            seconds[way].append(float(took))
            if way != "imports only":
                chosen.add(tuple(words))
            peaks[way].append(common.peak_bytes(command))
    if len(chosen) > 1:
        raise RuntimeError(f"not the same files: {chosen}")
    idle = statistics.median(peaks["imports only"])
    memory = {way: [peak - idle for peak in peaks[way]] for way in WAYS}
    return [
        [
            way,
            f"{statistics.median(seconds[way]):.2f}",
            f"{common.median_ratio(seconds[way], seconds['list of Paths']):.3f}",
            f"{statistics.median(memory[way]) / common.MIB:.0f}",
            f"{common.median_ratio(memory[way], memory['list of Paths']):.3f}",
        ]
        for way in ("find_files", "list of Paths")
    ]


def main() -> None:
    """Make the files, measure and remove them."""
    parser = argparse.ArgumentParser(description="Listing and choosing among many files.")
    parser.add_argument("--files", type=int, default=1_000_000, help="how many are made")
    parser.add_argument("--folders", type=int, nargs="+", default=[1, 1000], help="in how many")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each kind")
    parser.add_argument("--search", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        search(options.search[0], Path(options.search[1]))
        return
    for folders in options.folders:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), options.files, folders)
            rows = measure(Path(folder), options.rounds)
        common.print_table(
            f"{options.files} files in {folders} folders, {COUNT} chosen; "
            f"medians of {options.rounds} processes",
            ["way", "s", "ratio", "MiB over the imports", "ratio"],
            rows,
        )


if __name__ == "__main__":
    main()
