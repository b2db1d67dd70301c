"""Variances of a file's layers by ONNX Runtime alone: the original file with other weights by name.

Nothing of `lsuv_cli` takes part: the written tensors replace initializers and Constant nodes of
the same names, and ONNX Runtime runs the file without optimisations, as it declares its batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]
Feeds = Mapping[str, Array]


def layer_variances(
    model: onnx.ModelProto,
    weights: Mapping[str, Array],
    batches: Sequence[Feeds],
    values: Iterable[str],
) -> dict[str, float]:
    """Return the population variance of values of the main graph over all batches, in float64.

    Args:
        model: the original file.
        weights: the written tensors.
        batches: what the file is fed, as it declares it.
        values: the values.
    """
    wanted = list(dict.fromkeys(values))
    found = values_of(with_tensors(model, weights), batches, wanted)
    return {
        name: float(value.astype(np.float64).var())
        for name, value in zip(wanted, found, strict=True)
    }


def values_of(
    model: onnx.ModelProto, batches: Sequence[Feeds], wanted: Sequence[str]
) -> list[Array]:
    """Return values of the main graph over all batches, flat unless there is only one."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    # Converters leave notes on types behind that are no longer true.
    del changed.graph.output[:], changed.graph.value_info[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    fetched = [session.run(wanted, dict(feeds)) for feeds in batches]
    if len(fetched) == 1:
        return list(fetched[0])
    return [np.concatenate([np.ravel(one[i]) for one in fetched]) for i in range(len(wanted))]


def with_tensors(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a model whose initializers, constants and copies have other values, by their names.

    Raises:
        AssertionError: a tensor has no place in the file.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    placed = set()
    for graph in _graphs(changed.graph):
        for tensor in graph.initializer:
            if tensor.name in weights:
                placed.add(tensor.name)
                tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
        for node in graph.node:
            # PyTorch's exporter stores equal weights once, and the others behind an Identity.
            if node.op_type in ("Constant", "Identity") and node.output[0] in weights:
                placed.add(node.output[0])
                del node.attribute[:], node.input[:]
                node.op_type = "Constant"
                value = numpy_helper.from_array(weights[node.output[0]])
                node.attribute.append(onnx.helper.make_attribute("value", value))
    assert placed == weights.keys(), f"no place for {weights.keys() - placed}"
    return changed


def layer_outputs(model: onnx.ModelProto, layers: Iterable[str]) -> dict[str, str]:
    """Return the value that each of some nodes of the main graph makes, by the nodes' names."""
    made = {node.name: node.output[0] for node in model.graph.node}
    return {name: made[name] for name in layers}


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
