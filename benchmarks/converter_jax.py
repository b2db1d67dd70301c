"""Flax networks that jax2onnx converts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converter_entry import Converter, Written


def write() -> Iterator[Written]:
    """Yield a convolutional network with BatchNorm, a perceptron and a block with attention."""
    import jax2onnx
    from flax import nnx

    class Convolutional(nnx.Module):  # type: ignore[misc]
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
            self.second = nnx.Conv(8, 8, (3, 3), strides=2, rngs=rngs)
            self.head = nnx.Linear(8, 10, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.norm(self.first(x)))
            return self.head(nnx.relu(self.second(x)).mean((1, 2)))

    class Perceptron(nnx.Module):  # type: ignore[misc]
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(12, 20, rngs=rngs)
            self.second = nnx.Linear(20, 5, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.second(nnx.gelu(self.first(x)))

    class Block(nnx.Module):  # type: ignore[misc]
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norm = nnx.LayerNorm(16, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs)
            self.up = nnx.Linear(16, 32, rngs=rngs)
            self.down = nnx.Linear(32, 16, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = x + self.attention(self.norm(x))
            return x + self.down(nnx.gelu(self.up(x)))

    networks: list[tuple[str, Any, tuple[int, ...]]] = [
        ("convolutions, BatchNorm", Convolutional, (16, 16, 3)),
        ("perceptron", Perceptron, (12,)),
        ("attention", Block, (6, 16)),
    ]
    for name, network, shape in networks:
        module = network(nnx.Rngs(0))
        module.eval()
        model = jax2onnx.to_onnx(module, [("B", *shape)])
        yield Written(name, model, {model.graph.input[0].name: shape})


CONVERTER = Converter("jax2onnx, of Flax", ("jax", "flax", "jax2onnx"), write)
