"""What the benchmarks share: models, pictures, child processes, interleaved timing and tables."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.errors import LsuvError
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.core.option_texts import PRESETS
from lsuv_cli.core.options import SEGMENT_BYTES, InitOptions, SampleOptions
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.engine.draw import pre_initialise
from lsuv_cli.engine.rescale import apply, clear_biases, set_running_statistics
from lsuv_cli.engine.setup import Setup
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.norms import batch_norms
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.devices import Device, select_device
from lsuv_cli.runtime.spill import SpillFile
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.samples.batch import SampleBatches
from lsuv_cli.samples.open_samples import open_samples
from lsuv_cli.weights.qr import choose_qr

HERE = Path(__file__).parent
SAMPLE_MODELS = HERE.parent / "sample_models"
CACHE = HERE / ".cache"

# ONNX Runtime's and OpenMP's threads go on spinning for a moment after their work is done, and
# would slow down whatever is timed next.
PAUSE_SECONDS = 0.1

MIB = 1 << 20

# A child's ru_maxrss starts at what its parent held when it was started; so a parent this small.
LAUNCHER = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A sample model and the pictures it is run on.

    Attributes:
        name: the model's name in sample_models/build.py.
        model: its file.
        images: a folder that holds exactly `count` pictures.
        count: the batch's size.
        preset: the pictures' normalisation.
    """

    name: str
    model: Path
    images: Path
    count: int
    preset: str

    def feeds(self, inputs: Sequence[InputSpec]) -> Feeds:
        """The batch, as the command makes it."""
        preset = PRESETS[self.preset]
        options = SampleOptions((str(self.images),), self.count, mean=preset.mean, std=preset.std)
        source, _ = open_samples(inputs, options, 0)
        batches = SampleBatches(source, options, self.count, sys.maxsize)
        batches.read(SingleProcess(), lambda _done, _total: None)
        return batches.feeds(0)

    def command(self, out: Path, *more: str) -> list[str]:
        """`lsuv init` of this model on these pictures."""
        return [
            *(executable(), "init", str(self.model), "--data", str(self.images)),
            *("--samples", str(self.count), "--preset", self.preset),
            *("--out", str(out), "--force", *more),
        ]


def model_names() -> list[str]:
    """The sample models' names."""
    return captured([sys.executable, str(SAMPLE_MODELS / "build.py"), "--list"]).split()


def case(name: str, count: int | None = None) -> Case:
    """Build a sample model and its folder of pictures, where they are not in the cache yet.

    Args:
        name: the model's name.
        count: the batch's size; by default 32 for the networks of ImageNet's size, 128 for others.
    """
    builder = SAMPLE_MODELS / "build.py"
    model = _cache() / f"{name}.onnx"
    if not model.exists() or model.stat().st_mtime < builder.stat().st_mtime:
        captured([sys.executable, str(builder), name, "--out", str(CACHE)])
    if count is None:
        count = 32 if name in ("caffenet", "googlenet") else 128
    if name in ("fitnet_mnist", "highway"):
        return Case(name, model, _pictures("digits", count), count, "mnist")
    return Case(name, model, _pictures("photos", count), count, "imagenet")


def _pictures(kind: str, count: int) -> Path:
    """A folder with `count` of the sample pictures, taken evenly."""
    everything = _cache() / "images"
    if not everything.exists():
        captured([sys.executable, str(SAMPLE_MODELS / "images.py"), "--out", str(everything)])
    folder = CACHE / f"{kind}_{count}"
    if not folder.exists():
        files = sorted(path for path in (everything / kind).rglob("*") if path.is_file())
        folder.mkdir()
        for index in range(count):
            shutil.copy(files[index * len(files) // count], folder)
    return folder


def _cache() -> Path:
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    return CACHE


@cache
def executable() -> str:
    """The `lsuv` command that belongs to this interpreter."""
    found = shutil.which("lsuv", path=str(Path(sys.executable).parent))
    if found is None:
        raise LsuvError("the lsuv command is not installed beside this interpreter")
    return found


def captured(command: Sequence[str]) -> str:
    """Run a command and return what it wrote to stdout; show its stderr if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, list(command))
    return done.stdout


def peak_bytes(command: Sequence[str]) -> int:
    """Run a command and return the most memory that it had resident."""
    return peak_and_words(command)[0]


def peak_and_words(command: Sequence[str]) -> tuple[int, str]:
    """Run a command; return the most memory that it had resident, and what it said."""
    launched = [sys.executable, "-c", LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, list(command))
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit, done.stderr


def seconds_of(work: Callable[[], object]) -> float:
    """The seconds one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_seconds_of(work: Callable[[], object]) -> float:
    """The seconds that this process's threads compute during one call, whatever else runs.

    With more than one thread in a session these also count the threads that wait for each other.
    """
    started = time.process_time()
    work()
    return time.process_time() - started


def interleaved(
    works: Sequence[tuple[str, Callable[[], object]]],
    rounds: int,
    timed: Callable[[Callable[[], object]], float] = seconds_of,
) -> dict[str, list[float]]:
    """Time several pieces of work in turn, so that the machine's other load meets them alike.

    Args:
        works: (label, call); a label may come more than once in a round.
        rounds: how often each is called.
        timed: tells the seconds of a call.

    Returns:
        The seconds of each call, by label.
    """
    seconds: dict[str, list[float]] = {label: [] for label, _ in works}
    for _ in range(rounds):
        for label, work in works:
            time.sleep(PAUSE_SECONDS)
            seconds[label].append(timed(work))
    return seconds


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios round by round: what slows a whole round cancels out."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def verdict(reached: bool) -> str:
    """Whether a goal is reached, in a word."""
    return "reached" if reached else "MISSED"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, its columns aligned; text to the left, numbers to the right."""
    header = [cell.replace("|", r"\|") for cell in header]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    numbers = [
        all(not cell or cell.lstrip("<-")[:1].isdigit() for cell in column)
        for column in zip(*rows, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = (
        "-" * (width - 1) + (":" if number else "-")
        for width, number in zip(widths, numbers, strict=True)
    )
    print(f"\n{title}\n\n{line(header)}\n| {' | '.join(rule)} |")
    print("\n".join(line(row) for row in rows), flush=True)


class Silent:
    """Events that are discarded."""

    def stage(self, title: str, total: int | None = None) -> None:
        """A stage begins."""

    def advance(self, done: int, total: int) -> None:
        """Steps of the stage are done."""

    def detail(self, text: str) -> None:
        """Something for whoever wants to know more."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something to change."""


def work_on(
    model: OnnxModel,
    batches: Batches,
    *,
    memory_bytes: int = sys.maxsize,
    device_bytes: int = 0,
    spill: SpillFile | None = None,
    group: Group | None = None,
    device: Device | None = None,
) -> Setup:
    """The engine's work on a model and samples, with the command's default options.

    Args:
        model: the model.
        batches: the samples.
        memory_bytes: for what segments pass on.
        device_bytes: for as much of it as may stay in the accelerator's memory.
        spill: where it goes that has no room there.
        group: the processes that share the samples; by default this one alone.
        device: by default the CPU with all its cores.
    """
    layer_nodes = find_layers(model)
    plan = plan_layers(
        [layer_node.layer for layer_node in layer_nodes], [None] * len(layer_nodes), _options(model)
    )
    return Setup(
        model,
        layer_nodes,
        plan,
        batch_norms(model, model.parameters)[0],
        batches,
        group or SingleProcess(),
        ValueStore(memory_bytes, spill, device_bytes),
        device or select_device("cpu", None, 0, print),
        SEGMENT_BYTES,
    )


def _options(model: OnnxModel) -> InitOptions:
    return InitOptions(model=model.path, out=Path(), samples=SampleOptions(()))


def draw(work: Setup, weights: Parameters) -> None:
    """Do what precedes the sweep: draw the weights and clear the biases."""
    factorisation = choose_qr(float("inf"))  # torch's, the quickest for large matrices
    drawn = work.plan.initialised()
    pre_initialise(work, weights, drawn, _options(work.model), factorisation, Silent())
    clear_biases(work, weights)


def sweep(work: Setup, weights: Parameters) -> Sweeper:
    """One sweep, as the command does it: through all segments, each layer scaled on the way.

    Args:
        work: the model and the samples.
        weights: drawn before; scaled. Sweeping them again is as much work.

    Returns:
        The sweeper, which knows its segments and its stats.
    """
    sweeper = Sweeper(work, weights, Silent().advance)
    while sweeper.position < len(sweeper.segments):
        _, solutions = sweeper.run()
        apply(work, weights, solutions.layers, solutions.scales)
        set_running_statistics(work, weights, solutions.norms)
    return sweeper


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The power of the size that the seconds grow with: least squares between logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
