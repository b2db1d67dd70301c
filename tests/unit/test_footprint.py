"""Predicted sizes against ONNX Runtime's own values, and memory against hand-computed cases."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.memory.arena import Arena, Chunk
from lsuv_cli.memory.footprint import ARENA_FACTOR, RUNNING_BYTES, footprint
from lsuv_cli.memory.runtime_steps import runtime_order, runtime_steps
from lsuv_cli.memory.value_sizes import Sizes, value_sizes
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import Array, in_normal_form, random_weight, save_graph

node = helper.make_node
KIB = 1024


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


# For each: nodes, weights and integers, and the shape of one sample.
Graph = tuple[list[onnx.NodeProto], dict[str, Array], tuple[int, ...]]

GRAPHS: dict[str, Graph] = {
    "convolutions": (
        [
            node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "v"], ["y"]),
        ],
        {"w": random_weight(8, 3, 3, 3), "v": random_weight(32, 5)},
        (3, 8, 8),
    ),
    "a reshape computed from a shape": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axis"], ["n1"]),
            node("Concat", ["n1", "rest"], ["to"], axis=0),
            node("Reshape", ["x", "to"], ["z"]),
            node("MatMul", ["z", "w"], ["y"]),
        ],
        {
            "zero": np.array(0, np.int64),
            "axis": ints(0),
            "rest": ints(4, -1),
            "w": random_weight(6, 7),
        },
        (8, 3),
    ),
    "a slice whose end is computed": (
        [
            node("Shape", ["x"], ["s"]),
            node("Mod", ["minus", "three"], ["m"]),
            node("Reshape", ["m", "one"], ["end"]),
            node("Slice", ["s", "start", "end"], ["head"]),
            node("Concat", ["head", "two", "minus"], ["to"], axis=0),
            node("Reshape", ["x", "to"], ["z"]),
            node("ReduceMean", ["z"], ["y"], axes=[2]),
        ],
        {
            "minus": ints(-1),
            "three": ints(3),
            "one": ints(1),
            "start": ints(0),
            "two": ints(2),
        },
        (6, 4),
    ),
    "scales of a resize": (
        [
            node("Resize", ["x", "", "scales"], ["z"], mode="nearest"),
            node("Conv", ["z", "w"], ["y"]),
        ],
        {"scales": np.array([1, 1, 2, 3], np.float32), "w": random_weight(2, 3, 1, 1)},
        (3, 5, 5),
    ),
    "a product of the batch with itself": (
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0]),
            node("MatMul", ["x", "t"], ["z"]),
            node("MatMul", ["z", "x"], ["y"]),
        ],
        {},
        (6,),
    ),
    "several outputs and types": (
        [
            node("Split", ["x"], ["a", "b"], axis=1),
            node("Greater", ["a", "b"], ["g"]),
            node("Cast", ["g"], ["d"], to=TensorProto.DOUBLE),
            node("ArgMax", ["d"], ["i"], axis=1),
            node("ReduceSum", ["d"], ["s"]),
            node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
        ],
        {},
        (4, 5),
    ),
    "a step that runs over all": (
        [
            node("Range", ["from", "to", "by"], ["r"]),
            node("Reshape", ["r", "row"], ["z"]),
            node("Cast", ["z"], ["f"], to=TensorProto.FLOAT),
            node("Add", ["x", "f"], ["y"]),
        ],
        {
            "from": np.array(0, np.int64),
            "to": np.array(6, np.int64),
            "by": np.array(1, np.int64),
            "row": ints(1, -1),
        },
        (6,),
    ),
}


def sizes_of(path: Path) -> tuple[Sizes, onnx.ModelProto]:
    model, parameters = read_model(path)
    shapes = {
        spec.name: tuple(size or 0 for size in (spec.shape or ())[1:]) for spec in model.inputs
    }
    return value_sizes(model.skeleton, shapes, model.weight_values, parameters), model.skeleton


def real_bytes(path: Path, sample: tuple[int, ...], samples: int) -> dict[str, int]:
    """What every value of a graph really takes."""
    whole = in_normal_form(path)
    names = [name for one in whole.graph.node for name in one.output if name]
    del whole.graph.output[:], whole.graph.value_info[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).standard_normal((samples, *sample), np.float32)
    made = zip(names, session.run(names, {"x": x}), strict=True)
    return {name: np.asarray(value).nbytes for name, value in made}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("batch", ["n", 1])
def test_sizes_are_those_of_onnx_runtime(name: str, batch: str | int, tmp_path: Path) -> None:
    nodes, weights, sample = GRAPHS[name]
    weights = weights | {"unused": random_weight(1)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, [batch, *sample])
    open_path = save_graph(tmp_path / "open.onnx", nodes, weights, ["n", *sample])
    sizes, _ = sizes_of(path)
    assert not sizes.guessed
    for samples in (1, 2, 7):
        for value, nbytes in real_bytes(open_path, sample, samples).items():
            if value not in sizes.weights:
                assert sizes.bytes(value, samples) == nbytes, (value, samples)


@given(
    sample=st.tuples(st.integers(1, 6), st.integers(3, 9), st.integers(3, 9)),
    out=st.integers(1, 20),
    samples=st.integers(1, 10_000),
)
def test_what_a_convolution_makes_grows_with_the_batch(
    sample: tuple[int, int, int], out: int, samples: int
) -> None:
    graph = helper.make_graph(
        [node("Conv", ["x", "w"], ["y"]), node("GlobalMaxPool", ["y"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *sample])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    weight = TensorInfo((out, sample[0], 3, 3), np.dtype(np.float32))
    sizes = value_sizes(model, {"x": sample}, {"w": weight}, {})
    assert sizes.values["y"].fixed == 0
    assert sizes.bytes("y", samples) == samples * out * (sample[1] - 2) * (sample[2] - 2) * 4
    assert sizes.bytes("z", samples) == samples * out * 4


def test_an_unknown_operator_is_guessed_and_what_follows_is_known() -> None:
    graph = helper.make_graph(
        [
            node("Strange", ["x"], ["s"], domain="com.example"),
            node("Reshape", ["s", "to"], ["r"]),
            node("MatMul", ["r", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(ints(0, -1), "to")],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    weights = {"w": TensorInfo((24, 3), np.dtype(np.float32))}
    sizes = value_sizes(model, {"x": (4, 6)}, weights, {})
    assert sizes.guessed == {"s", "r", "y"}
    assert [sizes.bytes(name, 5) for name in "sry"] == [480, 480, 60]


def test_values_of_weights_are_not_read() -> None:
    class Unreadable(dict[str, Array]):
        def __getitem__(self, name: str) -> Array:
            raise AssertionError(f"read {name}")

    nodes, weights, sample = GRAPHS["convolutions"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *sample])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    infos = {name: TensorInfo(value.shape, value.dtype) for name, value in weights.items()}
    before = model.SerializeToString()
    assert not value_sizes(model, {"x": sample}, infos, Unreadable(weights)).guessed
    assert model.SerializeToString() == before


def chain(*nodes: onnx.NodeProto, width: int = 256) -> tuple[Sequence[onnx.NodeProto], Sizes]:
    """Nodes on `x` and `other`, (n, width) float32: a kibibyte for each sample at width 256."""
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name in ("x", "other")
        ],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    shapes = {"x": (width,), "other": (width,)}
    weights = {"w": TensorInfo((width, width), np.dtype(np.float32))}
    return nodes, value_sizes(model, shapes, weights, {})


def kibibytes(nodes: Sequence[onnx.NodeProto], sizes: Sizes, samples: int = 1000) -> float:
    """The peak for each sample, of the arena and of what is outside."""
    run = footprint(nodes, [nodes[-1].output[0]], sizes)
    outside = sum(size.bytes(samples) for size in run.outside)
    arena = (run.peak_bytes(samples) - RUNNING_BYTES - outside) / ARENA_FACTOR
    return (arena + outside) / KIB / samples


@pytest.mark.parametrize(
    ("nodes", "in_arena", "outside"),
    [
        # What is fed and the copy of what is fetched lie outside.
        ([node("Exp", ["x"], ["y"])], 1, 2),
        ([node("Exp", ["x"], ["a"]), node("Relu", ["a"], ["y"])], 1, 2),
        ([node("Exp", ["x"], ["a"]), node("Exp", ["a"], ["y"])], 2, 2),
        # A freed buffer is used again.
        ([node("Exp", [a], [b]) for a, b in itertools.pairwise("xabcdy")], 2, 2),
        # Who feeds a value may read it again.
        ([node("Relu", ["x"], ["y"])], 1, 2),
        ([node("Flatten", ["x"], ["a"]), node("Relu", ["a"], ["y"])], 1, 2),
        # Another node reads it later.
        (
            [
                node("Exp", ["x"], ["a"]),
                node("Relu", ["a"], ["b"]),
                node("Add", ["a", "b"], ["y"]),
            ],
            3,
            2,
        ),
        ([node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "other"], ["y"])], 2, 3),
        ([node("Exp", ["x"], ["a"]), node("Mul", ["a", "a"], ["y"])], 2, 2),
        ([node("Sum", ["x", "x", "other"], ["y"])], 2, 3),
    ],
)
def test_peak_of_small_graphs(nodes: list[onnx.NodeProto], in_arena: int, outside: int) -> None:
    assert kibibytes(*chain(*nodes)) == pytest.approx(in_arena + outside, rel=0.01)


def test_blocked_layouts_are_copied_for_those_that_do_not_work_in_them(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("LRN", ["r"], ["l"], size=3),
        node("MaxPool", ["l"], ["y"], kernel_shape=[2, 2]),
    ]
    weights = {"w": random_weight(16, 3, 3, 3)}
    sizes, skeleton = sizes_of(save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 3, 8, 8]))
    steps, kept = runtime_steps(skeleton.graph.node, ["y"], sizes)
    copies = [step.reads[0] for step in steps if step.makes[0][0].startswith(step.reads[0])]
    assert copies == ["r", "l", "y"]
    assert kept != ["y"]
    assert [step.alias for step in steps].count(True) == 1


def test_nodes_run_in_the_order_of_onnx_runtime() -> None:
    nodes = [
        node("Exp", ["x"], ["a"]),
        node("Exp", ["a"], ["left"]),
        node("Log", ["a"], ["right"]),
        node("Add", ["left", "right"], ["y"]),
        node("Abs", ["a"], ["z"]),
    ]
    order = [one.output[0] for one in runtime_order(nodes)]
    assert order == ["a", "z", "right", "left", "y"]


def test_the_arena_splits_what_is_twice_as_large_and_joins_what_is_free() -> None:
    arena = Arena()
    large = arena.take(4 * KIB)
    arena.give_back(large)
    small = arena.take(3 * KIB)
    assert arena.resident_bytes == 4 * KIB
    arena.take(KIB)
    assert arena.resident_bytes == 5 * KIB
    arena.give_back(small)
    halves = [arena.take(2 * KIB), arena.take(2 * KIB)]
    assert arena.resident_bytes == 5 * KIB
    for half in halves:
        arena.give_back(half)
    arena.take(4 * KIB)
    assert arena.resident_bytes == 5 * KIB


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3000)), max_size=60),
)
def test_the_arena_holds_what_is_in_use(steps: list[tuple[bool, int]]) -> None:
    arena = Arena()
    held: list[Chunk | None] = []
    for takes, size in steps:
        if takes or not held:
            held.append(arena.take(size))
        else:
            arena.give_back(held.pop(size % len(held)))
        chunks = [chunk for chunk in held if chunk is not None]
        places = sorted((chunk.region, chunk.start, chunk.size) for chunk in chunks)
        assert sum(size for *_, size in places) <= arena.resident_bytes
        for (region, start, length), (other, behind, _) in itertools.pairwise(places):
            assert region != other or start + length <= behind


def test_the_largest_batch_keeps_within_the_budget() -> None:
    nodes, sizes = chain(node("Exp", ["x"], ["a"]), node("Exp", ["a"], ["y"]))
    run = footprint(nodes, ["y"], sizes)
    budget = run.peak_bytes(1234)
    assert run.largest_batch(budget, 10_000) == 1234
    assert run.largest_batch(budget - 1, 10_000) == 1233
    assert run.largest_batch(budget, 100) == 100
    assert run.largest_batch(0, 100) == 1
    assert run.largest_batch(budget, 1) == 1


def transformer(layers: int) -> tuple[onnx.ModelProto, dict[str, TensorInfo]]:
    """Attention blocks that compute their shapes, as PyTorch writes them."""
    nodes = []
    x = "x"
    for i in range(layers):
        nodes += [
            node("Shape", [x], [f"s{i}"]),
            node("Slice", [f"s{i}", "zero", "two"], [f"h{i}"]),
            node("Concat", [f"h{i}", "heads"], [f"to{i}"], axis=0),
        ]
        for part in "qkv":
            nodes += [
                node("MatMul", [x, "w"], [f"{part}m{i}"]),
                node("Add", [f"{part}m{i}", "b"], [f"{part}a{i}"]),
                node("Reshape", [f"{part}a{i}", f"to{i}"], [f"{part}r{i}"]),
                node("Transpose", [f"{part}r{i}"], [f"{part}{i}"], perm=[0, 2, 1, 3]),
            ]
        nodes += [
            node("Transpose", [f"k{i}"], [f"kt{i}"], perm=[0, 1, 3, 2]),
            node("MatMul", [f"q{i}", f"kt{i}"], [f"score{i}"]),
            node("Softmax", [f"score{i}"], [f"soft{i}"]),
            node("MatMul", [f"soft{i}", f"v{i}"], [f"mixed{i}"]),
            node("Transpose", [f"mixed{i}"], [f"back{i}"], perm=[0, 2, 1, 3]),
            node("Reshape", [f"back{i}", f"s{i}"], [f"flat{i}"]),
            node("Add", [x, f"flat{i}"], [f"sum{i}"]),
        ]
        x = f"sum{i}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 64])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(value, name)
            for name, value in {"zero": ints(0), "two": ints(2), "heads": ints(4, 16)}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    float32 = np.dtype(np.float32)
    return model, {"w": TensorInfo((64, 64), float32), "b": TensorInfo((64,), float32)}


def test_a_thousand_nodes_take_no_time_to_speak_of() -> None:
    model, weights = transformer(45)
    started = time.process_time()
    sizes = value_sizes(model, {"x": (16, 64)}, weights, {})
    run = footprint(model.graph.node, [model.graph.output[0].name], sizes)
    run.largest_batch(1 << 30, 10_000)
    seconds = time.process_time() - started
    assert len(model.graph.node) == 990
    assert not sizes.guessed
    assert sizes.bytes("score7", 3) == 3 * 4 * 16 * 16 * 4
    assert seconds < 1.5  # about 0.3 on an idle machine
