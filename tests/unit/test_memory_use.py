"""Lines through measured bytes, the division of the memory, and the profile's reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsuv_cli.core.group import SingleProcess
from lsuv_cli.memory.budget import Budget
from lsuv_cli.memory.run_memory import read_profile
from lsuv_cli.memory.use import ARENA_FACTOR, RUNNING_BYTES, Line, MemoryUse, line_through
from support.graphs import node

MB = 10**6
NOTHING = Line(0, 0)


def use(per_sample: float, fixed: float = 0, peak: Line = NOTHING) -> MemoryUse:
    return MemoryUse(Line(fixed, per_sample), peak, NOTHING, {"a": Line(0, per_sample)})


def test_a_line_goes_through_both_points_or_through_the_origin() -> None:
    line = line_through({1: 130, 2: 160})
    assert [line.bytes(n) for n in (1, 2, 10)] == [130, 160, 400]
    assert line_through({8: 80}) == Line(0, 10)
    assert Line(-5, 1).bytes(2) == 0


@given(st.integers(1, 10**6), st.integers(0, 10**9), st.integers(1, 10**10), st.integers(1, 5000))
def test_batches_keep_within_half_of_the_memory(
    per_sample: int, fixed: int, memory: int, samples: int
) -> None:
    budget = Budget(use(per_sample, fixed), memory, None)
    size = budget.batch_size(samples)
    assert 1 <= size <= samples
    if size == samples:
        assert samples == 1 or budget.working_bytes(size) <= memory
    else:
        assert size == 1 or budget.working_bytes(size) <= memory // 2
        assert budget.working_bytes(size * 5 // 4 + 1) > memory // 2


def test_measurements_that_differ_a_little_lead_to_the_same_batch() -> None:
    sizes = {
        Budget(use(per_sample * MB), 2000 * MB, None).batch_size(10**4) for per_sample in (3, 3.1)
    }
    assert sizes == {160}


def test_memory_is_the_arena_with_what_lies_outside() -> None:
    small = MemoryUse(Line(0, 10), Line(0, 15), Line(0, 1), {})
    assert small.bytes(100) == RUNNING_BYTES + 100 + ARENA_FACTOR * 1000
    scratch = MemoryUse(Line(0, 10), Line(5000, 15), Line(0, 1), {})
    assert scratch.bytes(100) == RUNNING_BYTES + 100 + 6500


def test_a_device_with_memory_of_its_own_holds_the_batch() -> None:
    budget = Budget(use(MB), 4, 100 * MB)
    assert (budget.live_bytes, budget.device_live_bytes) == (1, 25 * MB)
    assert budget.batch_size(1000) == 20


def test_sizes_of_values() -> None:
    budget = Budget(use(4), 100, None)
    assert budget.bytes("a", 3) == 12
    assert budget.bytes("of unknown size", 3) == 0
    assert budget.total_bytes(3) == 12


class Others(SingleProcess):
    """Another process that has found other sizes."""

    def __init__(self, others: Sequence[float]) -> None:
        self._others = np.array(others)

    def gather(self, values: np.ndarray) -> list[np.ndarray]:
        """Both processes' vectors."""
        return [values, self._others]


def test_processes_agree_on_the_largest() -> None:
    mine = MemoryUse(Line(1, 10), Line(2, 20), Line(0, 3), {})
    agreed = mine.agreed(Others([5, 9, 1, 30, 0, 3]))
    assert (agreed.live, agreed.peak, agreed.fed) == (Line(5, 10), Line(2, 30), Line(0, 3))
    assert mine.agreed(SingleProcess()) == mine


def report(shapes: Sequence[Sequence[int]], **memory: int) -> dict[str, object]:
    return {
        "input_type_shape": [{"float": shapes[0]}],
        "output_type_shape": [{"float": shape} for shape in shapes[1:]],
        **{f"mem_{name}": str(size) for name, size in memory.items()},
    }


NODES = [node("Relu", "x", "a"), node("Relu", "a", "b")]
NAMES = [one.name for one in NODES]


def test_weights_in_the_arena_are_not_counted() -> None:
    marks = [
        {"bytes_requested_in_use": 1100, "requested_in_use_delta": 100, "in_use_peak": 1256},
        {"bytes_requested_in_use": 1050, "requested_in_use_delta": -50, "in_use_peak": 1512},
    ]
    ran = [(name, report([(25,), (25,)], **mark)) for name, mark in zip(NAMES, marks, strict=True)]
    memory = read_profile(ran, NODES)
    assert (memory.live_bytes, memory.peak_bytes) == (100, 512)
    assert memory.value_bytes == {"x": 100, "a": 100, "b": 100}


def test_versions_that_report_no_memory_report_shapes() -> None:
    ran = [(name, report([(25,), (25,)])) for name in NAMES]
    memory = read_profile(ran, NODES)
    assert memory.live_bytes == memory.peak_bytes == 200


@pytest.mark.parametrize(
    ("kind", "size"), [("float", 4), ("int64", 8), ("bool", 1), ("float16", 2)]
)
def test_element_types(kind: str, size: int) -> None:
    ran = [(NAMES[0], {"input_type_shape": [], "output_type_shape": [{kind: [3, 5]}]})]
    assert read_profile(ran, NODES).value_bytes == {"a": 15 * size}


def test_what_is_no_tensor_has_no_size() -> None:
    nodes = [node("SplitToSequence", "x", "s")]
    ran = [
        (nodes[0].name, {"input_type_shape": [{"float": [4]}], "output_type_shape": []}),
        ("other", {}),
    ]
    assert read_profile(ran, nodes).value_bytes == {"x": 16}
