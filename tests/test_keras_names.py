"""Models out of Keras: the weights have its variables' paths and shapes, and hold in the graph.

The files in data/keras are those that Keras and tf2onnx wrote; make.py there wrote them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

from lsuv_cli.core.choices import Bias, Status
from lsuv_cli.core.errors import ModelError
from support.command import Run
from support.initialization import run

DATA = Path(__file__).parent / "data" / "keras"
BATCH = 16

# For each layer: its node in the file, or its bias where the node's name is a number that changes
# with each export; Keras' path of its weight; and Keras' axes of that.
LAYERS: dict[str, list[tuple[str, str, str]]] = {
    "convolutional": [
        ("sequential_1/conv2d_1/BiasAdd", "sequential/conv2d/kernel", "HWIO"),
        ("sequential_1/depthwise_conv2d_1/Squeeze:0", "sequential/depthwise_conv2d/kernel", "HWIM"),
        (
            "sequential_1/separable_conv2d_1/separable_conv2d/depthwise",
            "sequential/separable_conv2d/depthwise_kernel",
            "HWIM",
        ),
        (
            "sequential_1/separable_conv2d_1/BiasAdd",
            "sequential/separable_conv2d/pointwise_kernel",
            "HWIO",
        ),
        (
            "sequential_1/conv2d_transpose_1/BiasAdd",
            "sequential/conv2d_transpose/kernel",
            "HWOI",
        ),
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
    ],
    "one_dimensional": [
        ("sequential_1/conv1d_1/convolution", "sequential/conv1d/kernel", "WIO"),
        ("sequential_1/conv1d_1_2/convolution", "sequential/conv1d_1/kernel", "WIO"),
        (
            "sequential_1/depthwise_conv1d_1/depthwise",
            "sequential/depthwise_conv1d/kernel",
            "WIM",
        ),
        (
            "sequential_1/separable_conv1d_1/separable_conv2d/depthwise",
            "sequential/separable_conv1d/depthwise_kernel",
            "WIM",
        ),
        (
            "sequential_1/separable_conv1d_1/separable_conv2d",
            "sequential/separable_conv1d/pointwise_kernel",
            "WIO",
        ),
        (
            "sequential_1/conv1d_transpose_1/conv_transpose",
            "sequential/conv1d_transpose/kernel",
            "WOI",
        ),
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
    ],
    "three_dimensional": [
        ("sequential_1/conv3d_1/Squeeze:0", "sequential/conv3d/kernel", "DHWIO"),
        (
            "sequential_1/conv3d_transpose_1/conv_transpose",
            "sequential/conv3d_transpose/kernel",
            "DHWOI",
        ),
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
    ],
    "attention": [
        *(
            (
                f"functional_1/multi_head_attention_1/{name}_1/MatMul",
                f"multi_head_attention/{name}/kernel",
                "INH",
            )
            for name in ("value", "query", "key")
        ),
        (
            "functional_1/multi_head_attention_1/attention_output_1/MatMul",
            "multi_head_attention/attention_output/kernel",
            "NHO",
        ),
        ("functional_1/dense_1/Tensordot/MatMul", "dense/kernel", "IO"),
        ("functional_1/einsum_dense_1/MatMul", "einsum_dense/kernel", "IO"),
    ],
    "nested": [
        ("net_1/encoder_1/dense_1_1/MatMul", "encoder/dense_1/kernel", "IO"),
        ("net_1/backbone_1/dense_1/MatMul", "dense/kernel", "IO"),
        ("net_1/block_1/dense_2_1/MatMul", "block/dense_2/kernel", "IO"),
        ("net_1/block_1/dense_3_1/MatMul", "block/dense_3/kernel", "IO"),
        ("net_1/shared_1/MatMul", "shared/kernel", "IO"),
        ("net_1/shared_3/MatMul", "shared/kernel", "IO"),
        ("net_1/head_1/MatMul", "head/kernel", "IO"),
    ],
    "subclassed": [
        ("subclassed_1/dense_1/MatMul", "subclassed/dense/kernel", "IO"),
        ("subclassed_1/dense_1_2/MatMul", "subclassed/dense_1/kernel", "IO"),
        ("subclassed_1/dense_2_1/MatMul", "subclassed/dense_2/kernel", "IO"),
    ],
    "equal": [
        ("sequential_1/conv1d_1/convolution", "sequential/conv1d/kernel", "WIO"),
        ("sequential_1/conv1d_1_2/convolution", "sequential/conv1d_1/kernel", "WIO"),
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
        ("sequential_1/dense_1_2/MatMul", "sequential/dense_1/kernel", "IO"),
        ("sequential_1/dense_2_1/MatMul", "sequential/dense_2/kernel", "IO"),
    ],
    "fresh": [
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
        ("sequential_1/dense_1_2/MatMul", "sequential/dense_1/kernel", "IO"),
    ],
    "in_training": [
        ("sequential_1/conv2d_1/convolution", "sequential/conv2d/kernel", "HWIO"),
        ("sequential_1/dense_1/MatMul", "sequential/dense/kernel", "IO"),
    ],
    "saved_model": [
        (
            "StatefulPartitionedCall/sequential_1/dense_1/MatMul",
            "sequential/dense/kernel",
            "IO",
        ),
        (
            "StatefulPartitionedCall/sequential_1/dense_1_2/MatMul",
            "sequential/dense_1/kernel",
            "IO",
        ),
    ],
}

# The second call of a layer, whose output need not have variance 1.
REPEATED = "net_1/shared_3/MatMul"

# What a new model's file lacks: zero biases, and BatchNormalization, which is computed otherwise.
LEFT_OUT = {
    "fresh": ("dense/bias", "dense_1/bias", "batch_normalization/"),
    "saved_model": ("dense/bias", "dense_1/bias", "batch_normalization/"),
    "in_training": ("batch_normalization/",),
}


# A Keras kernel as ONNX has it: (out, in, ...), (in, out, ...) or (in, out).
ONNX_WEIGHT: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "IO": lambda k: k,
    "INH": lambda k: k.reshape(k.shape[0], -1),
    "NHO": lambda k: k.reshape(-1, k.shape[2]),
    "WIO": lambda k: k.transpose(2, 1, 0)[:, :, None],
    "WOI": lambda k: k.transpose(2, 1, 0)[:, :, None],
    "WIM": lambda k: k.transpose(1, 2, 0).reshape(-1, 1, 1, k.shape[0]),
    "HWIO": lambda k: k.transpose(3, 2, 0, 1),
    "HWOI": lambda k: k.transpose(3, 2, 0, 1),
    "HWIM": lambda k: k.transpose(2, 3, 0, 1).reshape(-1, 1, *k.shape[:2]),
    "DHWIO": lambda k: k.transpose(4, 3, 0, 1, 2),
    "DHWOI": lambda k: k.transpose(4, 3, 0, 1, 2),
}


def paths(name: str) -> dict[str, tuple[int, ...]]:
    """Keras' paths and shapes."""
    content = json.loads((DATA / f"{name}.json").read_text())
    return {path: tuple(shape) for path, shape in content.items()}


def samples(model: onnx.ModelProto) -> NDArray[Any]:
    tensor = model.graph.input[0].type.tensor_type
    shape = (BATCH, *(size.dim_value for size in tensor.shape.dim[1:]))
    generator = np.random.default_rng(3)
    if tensor.elem_type == onnx.TensorProto.INT32:
        return generator.integers(0, 20, shape, dtype=np.int32)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(1.5) + np.float32(0.25)


def adder(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that adds a layer's bias: the layer's own, or one in its scope with a constant."""
    if len(node.input) == 3:
        return node
    layer = re.match(r"(.*_\d+)/", node.name)
    names = (f"{layer[1]}/BiasAdd", f"{layer[1]}/Add") if layer else ()
    return next((other for other in graph.node if other.name in names), None)


def put_back(model: onnx.ModelProto, name: str, written: dict[str, NDArray[Any]]) -> dict[str, str]:
    """The written tensors in the file's own graph; for each layer's node, what it makes.

    Each layer reads constants of its own, since the file may hold those of several layers once.
    """
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {}

    def give(node: onnx.NodeProto, position: int, value: NDArray[Any]) -> None:
        old = initializers[node.input[position]]
        assert value.size == np.prod(old.dims)
        new = np.ascontiguousarray(value).reshape(old.dims)
        graph.initializer.append(numpy_helper.from_array(new, f"{node.name}/{position}"))
        node.input[position] = f"{node.name}/{position}"

    for node_name, path, axes in LAYERS[name]:
        (node,) = [node for node in graph.node if node_name in (node.name, *node.input)]
        weight = ONNX_WEIGHT[axes](written[path])
        assert weight.shape == tuple(initializers[node.input[1]].dims)
        give(node, 1, weight)
        outputs[node_name] = node.output[0]
        bias = path.rpartition("/")[0] + "/bias"
        if bias in written and not path.endswith("depthwise_kernel"):
            adding = adder(graph, node)
            assert adding is not None
            give(adding, len(adding.input) - 1, written[bias])
            outputs[node_name] = adding.output[0]
    return outputs


def variances(
    model: onnx.ModelProto, outputs: dict[str, str], data: NDArray[Any]
) -> dict[str, float]:
    own = {value.name for value in model.graph.output}
    for output in outputs.values():
        if output not in own:
            model.graph.output.append(helper.make_empty_tensor_value_info(output))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    values = session.run(list(outputs.values()), {session.get_inputs()[0].name: data})
    return {
        node: float(value.astype(np.float64).var())
        for node, value in zip(outputs, values, strict=True)
    }


def prepared(folder: Path, name: str) -> tuple[Path, Path]:
    """The model and its samples in an empty folder."""
    path, data = folder / f"{name}.onnx", folder / "samples.npy"
    path.write_bytes((DATA / path.name).read_bytes())
    np.save(data, samples(onnx.load(path)))
    return path, data


def save_paths(folder: Path, name: str) -> Path:
    """What a Keras user makes of `{v.path: v.numpy() for v in model.weights}`."""
    like = folder / "like.safetensors"
    save_file({path: np.zeros(shape, np.float32) for path, shape in paths(name).items()}, like)
    return like


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.KEEP])
@pytest.mark.parametrize("name", LAYERS)
def test_paths_and_shapes_are_those_of_keras(tmp_path: Path, name: str, bias: Bias) -> None:
    path, data = prepared(tmp_path, name)
    like = save_paths(tmp_path, name) if name == "nested" else None
    report, written = run(path, data, count=BATCH, names="keras", like=like, bias=bias, tol=1e-4)
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.SHARED}
    expected = {
        key: shape
        for key, shape in paths(name).items()
        if not any(part in key for part in LEFT_OUT.get(name, ()))
    }
    assert {key: tensor.shape for key, tensor in written.items()} == expected

    model = onnx.load(path)
    outputs = put_back(model, name, written)
    assert len(outputs) == len(report.layers)
    found = variances(model, outputs, np.load(data))
    for node, variance in found.items():
        if node != REPEATED:
            assert variance == pytest.approx(1, abs=2e-5), node


def test_biases_that_are_kept_stay_with_their_layers(tmp_path: Path) -> None:
    path, data = prepared(tmp_path, "attention")
    _, written = run(path, data, count=BATCH, names="keras", bias=Bias.KEEP)
    initializers = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    scope = "functional_1/multi_head_attention_1"
    for key, source in {
        "multi_head_attention/query/bias": f"{scope}/query_1/Add/ReadVariableOp:0",
        "multi_head_attention/value/bias": f"{scope}/value_1/Add/ReadVariableOp:0",
        "dense/bias": "functional_1/dense_1/BiasAdd/ReadVariableOp:0",
        "embedding/embeddings": "functional_1/embedding_1/GatherV2/ReadVariableOp:0",
        "layer_normalization/gamma": "functional_1/layer_normalization_1/Reshape:0",
        "layer_normalization/beta": "functional_1/layer_normalization_1/Reshape_1:0",
    }.items():
        stored = initializers[source]
        assert np.array_equal(written[key], stored.reshape(written[key].shape)), key


def test_layers_that_tf2onnx_has_merged_are_drawn_apart(tmp_path: Path) -> None:
    path, data = prepared(tmp_path, "equal")
    (stored,) = [t for t in onnx.load(path).graph.initializer if list(t.dims) == [6, 6, 1, 1]]
    assert "conv1d" in stored.name
    report, written = run(path, data, count=BATCH, names="keras")
    assert [r.status for r in report.layers] == [Status.CONVERGED] * 5
    for one, other in (("conv1d", "conv1d_1"), ("dense_1", "dense_2")):
        kernels = [written[f"sequential/{layer}/kernel"] for layer in (one, other)]
        assert not np.allclose(kernels[0], kernels[1])


def test_folded_batch_normalization_is_explained(tmp_path: Path, lsuv: Run) -> None:
    prepared(tmp_path, "folded")
    arguments = ("init", "folded.onnx", "--data", "samples.npy", "--out", "out")
    process = lsuv(*arguments)
    assert process.returncode == 0, process.stderr
    assert "not Keras': BatchNormalization was folded into" in process.stderr
    assert "training=True" in process.stderr
    assert "sequential_1/conv2d_1/convolution/merged_input:0" in load_file(tmp_path / "out")
    refused = lsuv(*arguments, "--force", "--names", "keras")
    assert refused.returncode == 3
    assert "can't recover Keras' names from" in refused.stderr
    assert ": BatchNormalization was folded" in refused.stderr


def test_containers_that_may_count_or_not(tmp_path: Path, lsuv: Run) -> None:
    prepared(tmp_path, "nested")
    save_paths(tmp_path, "nested")
    arguments = ("init", "nested.onnx", "--data", "samples.npy", "--out", "out", "--force")
    process = lsuv(*arguments, "--names", "keras")
    assert process.returncode == 3
    assert "nothing says whether encoder, backbone, block and 1 more counts" in process.stderr
    process = lsuv(*arguments)
    assert process.returncode == 0, process.stderr
    assert "the written names are the ONNX file's, not Keras'" in process.stderr
    process = lsuv(*arguments, "--like", "like.safetensors")
    assert process.returncode == 0, process.stderr
    assert "recovered 12 Keras names (encoder/dense_1/kernel" in process.stderr
    assert load_file(tmp_path / "out").keys() == paths("nested").keys()


def test_like_another_keras_model(tmp_path: Path, lsuv: Run) -> None:
    prepared(tmp_path, "equal")
    like = {path: np.zeros(shape, np.float32) for path, shape in paths("equal").items()}
    del like["sequential/dense_2/kernel"]
    save_file(like, tmp_path / "like.safetensors")
    arguments = ("init", "equal.onnx", "--data", "samples.npy", "--out", "out", "--names", "keras")
    process = lsuv(*arguments, "--like", "like.safetensors")
    assert process.returncode == 3
    assert "--like has no path that fits sequential_1/dense_2_1/MatMul" in process.stderr
    assert not (tmp_path / "out").exists()


def test_what_the_file_lacks_is_said(tmp_path: Path, lsuv: Run) -> None:
    prepared(tmp_path, "fresh")
    save_paths(tmp_path, "fresh")
    process = lsuv(
        *("init", "fresh.onnx", "--data", "samples.npy", "--out", "out"),
        *("--like", "like.safetensors"),
    )
    assert process.returncode == 0, process.stderr
    assert "tf2onnx has left out, as zeros or within constants: " in process.stderr
    assert "sequential/batch_normalization/moving_mean and 3 more" in process.stderr
    assert "batchnorm/mul:0 [8]" in process.stderr
    assert load_file(tmp_path / "out").keys() == {
        "sequential/dense/kernel",
        "sequential/dense_1/kernel",
    }


def test_names_as_in_the_file(tmp_path: Path) -> None:
    path, data = prepared(tmp_path, "subclassed")
    _, written = run(path, data, count=BATCH, names="onnx")
    initializers = {t.name for t in onnx.load(path).graph.initializer if t.dims}
    assert initializers <= written.keys()


def test_keras_names_of_a_file_from_elsewhere(tmp_path: Path) -> None:
    path, data = prepared(tmp_path, "fresh")
    model = onnx.load(path)
    model.producer_name = "something else"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="tf2onnx did not write it"):
        run(path, data, count=BATCH, names="keras")


def test_names_without_the_numbers_of_keras_3(tmp_path: Path) -> None:
    """Keras 2 opened a layer's scope once, and its variables had other names."""
    path, data = prepared(tmp_path, "fresh")
    model = onnx.load(path)
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [name.replace("_1/", "/") for name in values]
        node.name = node.name.replace("_1/", "/")
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("_1/", "/")
    onnx.save(model, path)
    with pytest.raises(ModelError, match="nothing tells where sequential/dense/MatMul"):
        run(path, data, count=BATCH, names="keras")


def dense_with_a_part_as_bias(path: Path, constant: NDArray[Any]) -> None:
    """A Dense layer named as tf2onnx names it, whose bias is elements 1 to 7 of a constant."""
    scope = "sequential_1/dense_1"
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", f"{scope}/Cast/ReadVariableOp:0"], ["product"]),
            helper.make_node("Slice", ["sequential_1/const_fold_opt__1", "start", "end"], ["part"]),
            helper.make_node("Add", ["product", "part"], ["y"], name=f"{scope}/BiasAdd"),
        ],
        "dense",
        [helper.make_tensor_value_info("x", float32, ["batch", 4])],
        [helper.make_tensor_value_info("y", float32, ["batch", 6])],
        [
            numpy_helper.from_array(
                np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32),
                f"{scope}/Cast/ReadVariableOp:0",
            ),
            numpy_helper.from_array(constant, "sequential_1/const_fold_opt__1"),
            numpy_helper.from_array(np.array([1]), "start"),
            numpy_helper.from_array(np.array([7]), "end"),
        ],
    )
    graph.node[0].name = f"{scope}/MatMul"
    model = helper.make_model(
        graph,
        producer_name="tf2onnx",
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.save(model, path)


def test_a_bias_that_is_part_of_a_constant_has_no_path(tmp_path: Path) -> None:
    """The part is not the variable, and the constant holds more than the variable."""
    dense_with_a_part_as_bias(tmp_path / "m.onnx", np.arange(8, dtype=np.float32) / 8)
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(1).standard_normal((16, 4), dtype=np.float32))
    with pytest.raises(ModelError, match="nothing tells where sequential_1/dense_1/MatMul came"):
        run(tmp_path / "m.onnx", data, count=16, names="keras")
    report, written = run(tmp_path / "m.onnx", data, count=16, bias=Bias.KEEP)
    assert [layer.status for layer in report.layers] == [Status.CONVERGED]
    assert written["sequential_1/const_fold_opt__1"].tolist() == [i / 8 for i in range(8)]
