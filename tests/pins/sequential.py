"""Models of sequences: recurrent, with attention, and with control flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto

from pins.graphs import Graph, make_body, make_node, save_samples, save_tokens

COUNT, STEPS, WIDTH, HEADS = 25, 5, 8, 2
HIDDEN = 6


def lstm(folder: Path) -> None:
    """A bidirectional LSTM on (steps, n, width), and a head."""
    _recurrent(folder, "LSTM", gates=4, directions=2)


def gru(folder: Path) -> None:
    """A GRU on (steps, n, width), and a head."""
    _recurrent(folder, "GRU", gates=3, directions=1)


def _recurrent(folder: Path, op: str, gates: int, directions: int) -> None:
    graph = Graph(op, ("n", STEPS, WIDTH))
    weights = [
        graph.weight("cell.w", directions, gates * HIDDEN, WIDTH),
        graph.weight("cell.r", directions, gates * HIDDEN, HIDDEN),
        graph.weight("cell.b", directions, 2 * gates * HIDDEN, std=0.1),
    ]
    x = graph.node("Transpose", "x", "steps_first", perm=[1, 0, 2])
    direction = "bidirectional" if directions == 2 else "forward"
    inputs = " ".join([x, *weights])
    x = graph.node(op, inputs, "cell", hidden_size=HIDDEN, direction=direction)
    x = graph.node("ReduceMean", x, "mean", axes=[0, 1], keepdims=0)
    graph.save(folder, graph.layer("Gemm", x, "head", 3, HIDDEN))
    save_samples(folder, COUNT, STEPS, WIDTH)


def control_flow(folder: Path) -> None:
    """A layer, one in a branch that is taken, one in the other branch, and one in a loop."""
    graph = Graph("control flow", ("n", WIDTH))
    for name in ("yes", "no", "cell"):
        graph.weight(f"{name}.weight", WIDTH, WIDTH)
    x = graph.node("Relu", graph.layer("Gemm", "x", "first", WIDTH, WIDTH), "relu")
    total = graph.node("ReduceSum", x, "total", keepdims=0)
    graph.node("Greater", f"{total} {graph.fixed('zero', 0, np.float32)}", "is_positive")
    branches = {
        f"{kind}_branch": make_body(
            [
                make_node("MatMul", f"{x} {name}.weight", name),
                make_node("Tanh", name, f"{name}.tanh"),
            ],
            [f"{name}.tanh"],
        )
        for kind, name in (("then", "yes"), ("else", "no"))
    }
    x = graph.node("If", "is_positive", "branch", **branches)
    body = make_body(
        [
            make_node("Identity", "go", "go_on"),
            make_node("MatMul", "state cell.weight", "cell"),
            make_node("Tanh", "cell", "next"),
        ],
        ["go_on", "next"],
        {
            "index": (TensorProto.INT64, []),
            "go": (TensorProto.BOOL, []),
            "state": (TensorProto.FLOAT, None),
        },
    )
    times, true = graph.fixed("times", 3), graph.fixed("true", True, np.bool_)
    x = graph.node("Loop", f"{times} {true} {x}", "loop", body=body)
    graph.save(folder, graph.layer("Gemm", x, "head", 3, WIDTH))
    save_samples(folder, COUNT, WIDTH)


def transformer(folder: Path) -> None:
    """A block with PyTorch's packed projections, on token ids, whose head is the embedding."""
    vocabulary = 11
    graph = Graph("transformer", ("n", STEPS), TensorProto.INT64)
    embedding = graph.weight("embedding.weight", vocabulary, WIDTH)
    x = graph.node("Gather", f"{embedding} x", "embed")
    attended = _attention(graph, _layer_norm(graph, x, "norm1"))
    x = graph.node("Add", f"{x} {attended}", "sum1")
    hidden = _linear(graph, _layer_norm(graph, x, "norm2"), "mlp1", WIDTH, 2 * WIDTH)
    error = graph.node("Erf", hidden, "erf")
    hidden = graph.node("Mul", f"{hidden} {error}", "gate")
    hidden = _linear(graph, hidden, "mlp2", 2 * WIDTH, WIDTH)
    x = _layer_norm(graph, graph.node("Add", f"{x} {hidden}", "sum2"), "norm3")
    transposed = graph.node("Transpose", embedding, "embedding.transposed", perm=[1, 0])
    graph.save(folder, graph.node("MatMul", f"{x} {transposed}", "head"))
    save_tokens(folder, COUNT, STEPS, vocabulary)


def _linear(graph: Graph, data: str, name: str, inputs: int, outputs: int) -> str:
    weight = graph.weight(f"{name}.weight", inputs, outputs)
    bias = graph.weight(f"{name}.bias", outputs, std=0.1)
    product = graph.node("MatMul", f"{data} {weight}", f"{name}.product")
    return graph.node("Add", f"{bias} {product}", name)


def _layer_norm(graph: Graph, data: str, name: str) -> str:
    weight = graph.weight(f"{name}.weight", WIDTH, std=0.2, mean=1)
    bias = graph.weight(f"{name}.bias", WIDTH, std=0.1)
    return graph.node("LayerNormalization", f"{data} {weight} {bias}", name)


def _attention(graph: Graph, data: str) -> str:
    """Self-attention of one head, with queries, keys and values from one product."""
    packed = graph.weight("attention.in_proj_weight", 3 * WIDTH, WIDTH)
    bias = graph.weight("attention.in_proj_bias", 3 * WIDTH, std=0.1)
    transposed = graph.node("Transpose", packed, "in_proj.transposed", perm=[1, 0])
    product = graph.node("MatMul", f"{data} {transposed}", "in_proj")
    graph.node("Add", f"{product} {bias}", "in_proj.sum")
    graph.node("Split", "in_proj.sum", "query key value", axis=2)
    keys = graph.node("Transpose", "key", "key.transposed", perm=[0, 2, 1])
    scores = graph.node("MatMul", f"query {keys}", "scores")
    shares = graph.node("Softmax", scores, "shares", axis=-1)
    attended = graph.node("MatMul", f"{shares} value", "attended")
    return _linear(graph, attended, "attention.out", WIDTH, WIDTH)


def fused_attention(folder: Path) -> None:
    """ONNX Runtime's Attention, with queries, keys and values of one weight."""
    graph = Graph("fused attention", ("n", STEPS, WIDTH))
    x = graph.node("Tanh", _linear(graph, "x", "first", WIDTH, 6), "tanh")
    qkv, bias = graph.weight("qkv.weight", 6, 3 * WIDTH), graph.weight("qkv.bias", 3 * WIDTH)
    inputs = f"{x} {qkv} {bias}"
    graph.node("Attention", inputs, "attention", domain="com.microsoft", num_heads=HEADS)
    graph.save(folder, _linear(graph, "attention", "last", WIDTH, 4))
    save_samples(folder, COUNT, STEPS, WIDTH)


def einsum(folder: Path) -> None:
    """Products written as Einsum: into heads, out of them, and one of each head's own."""
    graph = Graph("einsum", ("n", STEPS, WIDTH))
    into = graph.weight("into.weight", WIDTH, HEADS, 4)
    x = graph.node("Einsum", f"x {into}", "into", equation="btd,dhk->bthk")
    each = graph.weight("each.weight", HEADS, 4, 4)
    x = graph.node(
        "Einsum", f"{graph.node('Relu', x, 'relu')} {each}", "each", equation="bthk,hkj->bthj"
    )
    out = graph.weight("out.weight", HEADS, 4, WIDTH)
    x = graph.node(
        "Einsum", f"{graph.node('Tanh', x, 'tanh')} {out}", "out", equation="bthk,hkd->btd"
    )
    graph.save(folder, x)
    save_samples(folder, COUNT, STEPS, WIDTH)
