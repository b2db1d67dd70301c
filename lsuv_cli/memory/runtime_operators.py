"""What ONNX Runtime's operators do with memory on the CPU, found by measuring them (1.31)."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.nodes import attributes

# Whose output is the memory of the input.
ALIASES = frozenset(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))

# Who may overwrite an input that nobody reads later. Add, Mul and their like never do.
OVERWRITERS = frozenset(
    (
        *("Celu", "Clip", "Elu", "HardSigmoid", "LeakyRelu", "LogSoftmax", "Relu", "Selu"),
        *("Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
    )
)

# What becomes part of a convolution from which nobody else reads; arithmetic if with constants.
MERGED_ACTIVATIONS = frozenset(("Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"))
MERGED_ARITHMETIC = frozenset(("Add", "BatchNormalization", "Mul"))

# Who brings what it reads to the blocked layout, and who only works in it if all it reads is.
BLOCKED_POOLS = frozenset(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"))
BLOCKED_FOLLOWERS = frozenset(
    ("Add", "BatchNormalization", "Concat", "Gelu", "HardSigmoid", "Mul", "Relu", "Sigmoid", "Sum")
) | {"Tanh"}

# Channels in a block with AVX2; twice as many with AVX-512, which then pads to more.
BLOCK = 8
WIDEST_BLOCK = 16
# In channels; a convolution of another number is not blocked, unless it has fewer than a block.
ALIGNMENT = 4

# The rank of (sample, channel, row, column), which alone has a blocked layout.
PLANES_RANK = 4

# Room that an operator wants while it runs, in multiples of its output.
ROOM = {"Einsum": 1.0, "LRN": 1.0, "Sum": 1.0, "Where": 2.0}
# From so many inputs on that are no weights.
ROOM_FROM = {"Sum": 3, "Where": 2}
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def blocks_convolution(node: onnx.NodeProto, weight: Sequence[int], channels: int) -> bool:
    """Whether a convolution with a constant weight works in the blocked layout."""
    groups = attributes(node).get("group", 1)
    if len(weight) != PLANES_RANK:
        return False
    if groups == 1:
        return channels < BLOCK or channels % ALIGNMENT == 0
    of_a_group = (weight[1], weight[0] // groups)
    is_depthwise = of_a_group == (1, 1)
    return weight[0] % BLOCK == 0 and (is_depthwise or not any(n % BLOCK for n in of_a_group))
