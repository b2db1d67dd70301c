"""The division of a run's memory, and a prediction of what a sweep takes of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lsuv_cli.core.events import Events
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.memory.use import MemoryUse


class Budget:
    """Divides the memory for samples and activations.

    Half is for the batch that is running, a quarter for samples that are read already and a quarter
    for what segments pass on; all of it is for the one batch where one is enough. On an accelerator
    with its own memory the running batch is there, and as much as a quarter of it is passed on.

    Attributes:
        live_bytes: bytes that may be kept in the host's memory between segments.
        device_live_bytes: bytes that may be kept in the accelerator's.
        caveat: why the memory of a batch is not known well; "" where it was measured.
    """

    def __init__(self, use: MemoryUse, memory: int, device_memory: int | None) -> None:
        """Divide the memory.

        Args:
            use: the memory that batches take.
            memory: bytes of the host's to divide.
            device_memory: bytes of the accelerator's; None where it has none of its own.
        """
        self.live_bytes = memory // 4
        self.device_live_bytes = (device_memory or 0) // 4
        self.caveat = use.caveat
        self._running_bytes = memory if device_memory is None else device_memory
        self._use = use

    def batch_size(self, samples: int) -> int:
        """Return the number of samples to run at once.

        Where not all fit, it is rounded down to three binary digits, so that measurements that
        differ a little, as from one processor to another, mostly lead to the same number.

        Args:
            samples: how many there are, 1 at least.
        """
        if self.working_bytes(samples) <= self._running_bytes:
            return samples
        sizes = range(1, samples + 1)
        fitting = bisect_right(sizes, self._running_bytes // 2, key=self.working_bytes)
        surplus = max(0, fitting.bit_length() - 3)
        return max(1, fitting >> surplus << surplus)

    def bytes(self, name: str, samples: int) -> int:
        """Return the bytes of a value; 0 where its size is unknown, or it is a constant."""
        line = self._use.values.get(name)
        return 0 if line is None else line.bytes(samples)

    def working_bytes(self, batch_size: int) -> int:
        """Return the bytes of memory that a batch takes while it runs."""
        return self._use.bytes(batch_size)

    def total_bytes(self, batch_size: int) -> int:
        """Return the bytes of all values of a batch together, none of them released."""
        return sum(line.bytes(batch_size) for line in self._use.values.values())


@dataclass(slots=True)
class Prediction:
    """The memory, disk space and work that a sweep is expected to take.

    Attributes:
        segments: how many there are.
        batches: how many batches this process has.
        working_bytes: of memory, while a batch runs.
        kept_bytes: of memory, between segments, at most.
        spilled_bytes: of disk, at most.
        executions: of the model's nodes.
        repeated: those of them that are run again because what they gave is not kept.
        caveat: why the bytes are not known well; "" where they were measured.
    """

    segments: int
    batches: int
    working_bytes: int = 0
    kept_bytes: int = 0
    spilled_bytes: int = 0
    executions: int = 0
    repeated: int = 0
    caveat: str = ""

    def sentence(self) -> str:
        """Return the prediction in words."""
        work = f"{self.executions:,} node executions"
        if self.repeated:
            work += f", {self.repeated:,} of them repeated because their outputs fit nowhere"
        spill = f", {_amount(self.spilled_bytes)} on disk" if self.spilled_bytes else ""
        caveat = f" ({self.caveat})" if self.caveat else ""
        return (
            f"plan: {_counted(self.batches, 'batch', 'batches')} through "
            f"{_counted(self.segments, 'segment', 'segments')}, {work}; "
            f"{_amount(self.working_bytes)} for a running batch, up to "
            f"{_amount(self.kept_bytes)} between segments{spill}{caveat}"
        )


def predict(
    budget: Budget,
    segments: Sequence[Segment],
    counts: Sequence[int],
    disk_bytes: int,
) -> Prediction:
    """Predict the memory, disk space and work of a sweep.

    Args:
        budget: the memory.
        segments: the sweep's.
        counts: samples in each of this process's batches.
        disk_bytes: free space for what memory has no room for.
    """
    working = budget.working_bytes(max(counts, default=0))
    prediction = Prediction(len(segments), len(counts), working, caveat=budget.caveat)
    positions = [0] * len(counts)
    places: list[tuple[int, int]] = [(0, 0)] * len(counts)  # bytes in memory, and on disk
    memory = disk = 0
    nodes = [segment.node_count for segment in segments]
    for number, segment in enumerate(segments):
        sizes = {
            samples: sum(budget.bytes(name, samples) for name in segment.leaving)
            for samples in set(counts)
        }
        for batch, samples in enumerate(counts):
            start, size, (in_memory, on_disk) = positions[batch], sizes[samples], places[batch]
            prediction.executions += sum(nodes[start : number + 1])
            prediction.repeated += sum(nodes[start:number])
            if memory - in_memory + size <= budget.live_bytes + budget.device_live_bytes:
                places[batch] = size, 0
            elif disk - on_disk + size <= disk_bytes:
                places[batch] = 0, size
            else:
                continue
            positions[batch] = number + 1
            memory += places[batch][0] - in_memory
            disk += places[batch][1] - on_disk
            prediction.kept_bytes = max(prediction.kept_bytes, memory)
            prediction.spilled_bytes = max(prediction.spilled_bytes, disk)
    return prediction


def tell_plan(
    budget: Budget,
    counts: Sequence[int],
    disk_bytes: int,
    events: Events,
    segments: Sequence[Segment],
) -> None:
    """Report what a sweep is expected to take, before it begins.

    Args:
        budget: the memory.
        counts: samples in each of this process's batches.
        disk_bytes: free space for what memory has no room for.
        events: receives the prediction, and a warning where work is done again.
        segments: the sweep's.
    """
    prediction = predict(budget, segments, counts, disk_bytes)
    events.detail(prediction.sentence())
    if prediction.repeated:
        share = prediction.executions / (prediction.executions - prediction.repeated)
        events.warn(
            f"neither --memory nor the disk can hold the values between segments, so the sweep "
            f"does {share:.1f} times the work; raise --memory, or give a larger --spill-dir"
        )


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _amount(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
