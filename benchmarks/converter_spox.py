"""Graphs that spox builds, with all weights in Constant nodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from converter_entry import Converter, Written


def write() -> Iterator[Written]:
    """Yield a convolutional network with InstanceNormalization, and a perceptron."""
    import spox
    import spox.opset.ai.onnx.v17 as op

    rng = np.random.default_rng(0)

    def constant(*shape: int) -> spox.Var:
        return op.const(rng.standard_normal(shape).astype(np.float32))

    def normalised(value: spox.Var, channels: int) -> spox.Var:
        # Its BatchNormalization fails in onnx's shape inference: it has outputs for training only.
        scale, shift = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return op.instance_normalization(value, op.const(scale), op.const(shift))

    image = spox.argument(spox.Tensor(np.float32, ("n", 3, 16, 16)))
    value = op.relu(normalised(op.conv(image, constant(8, 3, 3, 3)), 8))
    value = op.relu(normalised(op.conv(value, constant(8, 8, 3, 3)), 8))
    value = op.reduce_mean(value, axes=[2, 3], keepdims=False)
    scores = op.gemm(value, constant(10, 8), constant(10), transB=1)
    model = spox.build({"image": image}, {"scores": scores})
    yield Written("convolutions, InstanceNorm", model, {"image": (3, 16, 16)})

    row = spox.argument(spox.Tensor(np.float32, ("n", 12)))
    hidden = op.tanh(op.add(op.matmul(row, constant(12, 20)), constant(20)))
    model = spox.build({"row": row}, {"scores": op.matmul(hidden, constant(20, 5))})
    yield Written("perceptron", model, {"row": (12,)})


CONVERTER = Converter("spox", ("spox",), write)
