'''The table of operators.

Rows are found by (domain, name); ONNX's own domain is "". A row says only what is known of its
operator: a field that is left out has a default that is safe for any operator. To add a row, write
it in one of the two lists below. The examples do the same at run time.

A positively homogeneous activation is one row: pending scales pass through it, and as its slope is
nowhere flat, reports count no dead or saturated units. `tests/test_homogeneity.py` checks every
homogeneous row in ONNX Runtime. (Neg stands for such an activation; the table has no row for it.)

>>> import numpy as np
>>> import onnx
>>> from lsuv_cli.graph.operators.slopes import flat_nowhere
>>> from lsuv_cli.graph.operators.operator import Homogeneity, Operator
>>> from lsuv_cli.graph.operators.table import OPERATORS, homogeneity_of, operator_of
>>> node = onnx.helper.make_node("Neg", ["x"], ["y"])
>>> homogeneity_of(node).name
'NONE'
>>> OPERATORS["", "Neg"] = Operator(Homogeneity.FIRST_INPUT, activation=flat_nowhere)
>>> homogeneity_of(node).name
'FIRST_INPUT'

A linear operator is one row as well. Its `product` is a function that says which input is the
weight and what its axes mean. Use one from `products` if it fits: `matmul`
reads a second input as (in, out), `gemm` as its `transB` says. Otherwise write one; it returns None
for a node that is no layer:

>>> from lsuv_cli.core.layout import Order, TensorInfo, WeightLayout
>>> from lsuv_cli.graph.operators.products import WeightProduct
>>> def dense(node, weights):
...     """The weight is the second input, (out, in), and the bias the third."""
...     data, weight, bias = [*node.input, ""][:3]
...     if weight not in weights or len(weights[weight].shape) != 2:
...         return None
...     layout = WeightLayout(weights[weight].shape, Order.OUT_IN)
...     return WeightProduct(data, weight, layout, channel_axis=-1, addend=bias)
>>> OPERATORS["example", "Dense"] = Operator(product=dense, owns_parameters=True)
>>> node = onnx.helper.make_node("Dense", ["x", "w"], ["y"], domain="example")
>>> product = operator_of(node).product(node, {"w": TensorInfo((8, 3), np.dtype(np.float32))})
>>> product.weight, product.layout.out_channels, product.layout.fan_in
('w', 8, 3)

This suits an operator that runs as it is and can be tapped behind its product. One that also
applies an activation, or holds several layers, needs a pass in `passes/` that takes it apart.
'''

from __future__ import annotations

from collections.abc import Callable

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, MICROSOFT_DOMAIN, attributes
from lsuv_cli.graph.operators.degrees import (
    of_cast,
    of_chosen,
    of_factors,
    of_first,
    of_normalised,
    of_power,
    of_product,
    of_quotient,
)
from lsuv_cli.graph.operators.operator import Homogeneity, Operator
from lsuv_cli.graph.operators.products import convolution, gemm, matmul, transposed_convolution
from lsuv_cli.graph.operators.slopes import (
    SELU_ALPHA,
    SELU_GAMMA,
    SIGMOID_BOUND,
    SOFTPLUS_BOUND,
    SOFTSIGN_BOUND,
    TANH_BOUND,
    between_limits,
    exponential,
    flat_nowhere,
    input_above,
    input_above_alpha,
    output_within,
)

UNKNOWN = Operator()


def operator_of(node: onnx.NodeProto) -> Operator:
    """Return the row of a node's operator; `UNKNOWN` for one that the table does not have."""
    domain = "" if node.domain in DEFAULT_DOMAINS else node.domain
    return OPERATORS.get((domain, node.op_type), UNKNOWN)


def names_of(has: Callable[[Operator], bool]) -> frozenset[str]:
    """Return the names of the operators whose rows have a property, whatever their domains.

    Use it where an operator of the same name in another domain counts as well: ONNX Runtime has a
    Conv in several domains, one for each layout.
    """
    return frozenset(name for (_, name), operator in OPERATORS.items() if has(operator))


def homogeneity_of(node: onnx.NodeProto) -> Homogeneity:
    """Return the inputs of a node whose pending scale its outputs take over."""
    rule = operator_of(node).homogeneity
    return rule if isinstance(rule, Homogeneity) else rule(node)


def scaled_outputs(node: onnx.NodeProto) -> list[str]:
    """Return the outputs of a node that take the pending scale over; MaxPool's indices do not."""
    return list(node.output)[: operator_of(node).scaled_outputs]


def _padding(node: onnx.NodeProto) -> Homogeneity:
    pads_with_zero = len(node.input) < 3 and not attributes(node).get("value", 0.0)
    return FIRST if pads_with_zero else Homogeneity.NONE


FIRST = Homogeneity.FIRST_INPUT
JOINT = Homogeneity.JOINT

_ONNX = {
    "Abs": Operator(FIRST),
    "Add": Operator(JOINT, owns_parameters=True),
    "AffineGrid": Operator(sized_by=(1,)),
    "Attention": Operator(left_alone=True),
    "AveragePool": Operator(FIRST),
    "BatchNormalization": Operator(
        precedes_activation=True, owns_parameters=True, degree=of_normalised
    ),
    "BlackmanWindow": Operator(sized_by=(0,)),
    "Cast": Operator(rearranges=True, degree=of_cast),
    "CastLike": Operator(degree=of_first),
    "Celu": Operator(activation=exponential(1.0)),
    "CenterCropPad": Operator(sized_by=(1,)),
    "Clip": Operator(activation=between_limits),
    "Col2Im": Operator(sized_by=(1, 2)),
    "Compress": Operator(sized_by=(1,)),
    "Concat": Operator(JOINT),
    "ConstantOfShape": Operator(sized_by=(0,)),
    "Conv": Operator(
        product=convolution, owns_parameters=True, float32_only=True, degree=of_product
    ),
    "ConvInteger": Operator(integer_weights=True),
    "ConvTranspose": Operator(
        product=transposed_convolution, owns_parameters=True, float32_only=True, degree=of_product
    ),
    "CumSum": Operator(degree=of_first),
    "DFT": Operator(sized_by=(1,)),
    "DeformConv": Operator(left_alone=True),
    "DepthToSpace": Operator(FIRST),
    "Div": Operator(FIRST, degree=of_quotient),
    "Dropout": Operator(FIRST, scaled_outputs=1, precedes_activation=True),
    "Einsum": Operator(left_alone=True, degree=of_factors),
    "Elu": Operator(activation=exponential(1.0)),
    "Expand": Operator(FIRST, sized_by=(1,)),
    "Flatten": Operator(FIRST, rearranges=True),
    "GRU": Operator(left_alone=True, float32_only=True, gates="zrh"),
    "Gather": Operator(FIRST),
    "GatherElements": Operator(degree=of_first),
    "GatherND": Operator(degree=of_first),
    "Gelu": Operator(activation=flat_nowhere),
    "Gemm": Operator(
        product=gemm, optional_addend_opset=11, owns_parameters=True, degree=of_product
    ),
    "GlobalAveragePool": Operator(FIRST),
    "GlobalLpPool": Operator(FIRST),
    "GlobalMaxPool": Operator(FIRST),
    "GroupNormalization": Operator(
        precedes_activation=True, owns_parameters=True, degree=of_normalised
    ),
    "HammingWindow": Operator(sized_by=(0,)),
    "HannWindow": Operator(sized_by=(0,)),
    "HardSigmoid": Operator(activation=output_within(0.0, 1.0)),
    "HardSwish": Operator(activation=input_above(-3.0)),
    "Identity": Operator(FIRST, precedes_activation=True, rearranges=True),
    "InstanceNormalization": Operator(
        precedes_activation=True, owns_parameters=True, degree=of_normalised
    ),
    "LSTM": Operator(left_alone=True, float32_only=True, gates="iofc"),
    "LayerNormalization": Operator(
        precedes_activation=True, owns_parameters=True, degree=of_normalised
    ),
    "LeakyRelu": Operator(FIRST, activation=flat_nowhere),
    "LpNormalization": Operator(degree=of_power(0)),
    "LpPool": Operator(FIRST),
    "MatMul": Operator(product=matmul, owns_parameters=True, degree=of_product),
    "MatMulInteger": Operator(integer_weights=True),
    "Max": Operator(JOINT),
    "MaxPool": Operator(FIRST, scaled_outputs=1),
    "MaxUnpool": Operator(sized_by=(2,)),
    "Mean": Operator(JOINT),
    "Min": Operator(JOINT),
    "Mish": Operator(activation=flat_nowhere),
    "Mul": Operator(Homogeneity.EACH_INPUT),
    "Neg": Operator(degree=of_first),
    "NonMaxSuppression": Operator(sized_by=(0, 1, 2, 3, 4)),
    "NonZero": Operator(sized_by=(0,)),
    "OneHot": Operator(sized_by=(1,)),
    "PRelu": Operator(FIRST, activation=flat_nowhere, owns_parameters=True),
    "Pad": Operator(_padding, sized_by=(1,)),
    "QLinearConv": Operator(integer_weights=True),
    "QLinearMatMul": Operator(integer_weights=True),
    "RNN": Operator(left_alone=True, float32_only=True, gates="i"),
    "Range": Operator(sized_by=(0, 1, 2)),
    "Reciprocal": Operator(degree=of_power(-1)),
    "ReduceL1": Operator(FIRST),
    "ReduceL2": Operator(FIRST),
    "ReduceMax": Operator(FIRST),
    "ReduceMean": Operator(FIRST),
    "ReduceMin": Operator(FIRST),
    "ReduceSum": Operator(FIRST),
    "ReduceSumSquare": Operator(degree=of_power(2)),
    "Relu": Operator(FIRST, activation=input_above(0.0)),
    "Reshape": Operator(FIRST, rearranges=True, sized_by=(1,)),
    "Resize": Operator(sized_by=(1, 2, 3)),
    "STFT": Operator(sized_by=(1, 3)),
    "Selu": Operator(activation=exponential(SELU_ALPHA, SELU_GAMMA)),
    "SequenceConstruct": Operator(makes_sequences=True),
    "SequenceEmpty": Operator(makes_sequences=True),
    "SequenceErase": Operator(makes_sequences=True),
    "SequenceInsert": Operator(makes_sequences=True),
    "SequenceMap": Operator(makes_sequences=True),
    "Sigmoid": Operator(activation=output_within(SIGMOID_BOUND, 1 - SIGMOID_BOUND)),
    "Slice": Operator(FIRST, rearranges=True, sized_by=(1, 2, 4)),
    "Softplus": Operator(activation=input_above(SOFTPLUS_BOUND)),
    "Softsign": Operator(activation=output_within(-SOFTSIGN_BOUND, SOFTSIGN_BOUND)),
    "SpaceToDepth": Operator(FIRST),
    "Split": Operator(FIRST, sized_by=(1,)),
    "SplitToSequence": Operator(makes_sequences=True, sized_by=(1,)),
    "Sqrt": Operator(degree=of_power(0.5)),
    "Squeeze": Operator(FIRST, rearranges=True),
    "Sub": Operator(JOINT),
    "Sum": Operator(JOINT),
    "Swish": Operator(activation=flat_nowhere),
    "Tanh": Operator(activation=output_within(-TANH_BOUND, TANH_BOUND)),
    "ThresholdedRelu": Operator(activation=input_above_alpha),
    "Tile": Operator(FIRST, sized_by=(1,)),
    "TopK": Operator(sized_by=(1,)),
    "Transpose": Operator(FIRST, rearranges=True),
    "Trilu": Operator(degree=of_first),
    "Unique": Operator(sized_by=(0,)),
    "Unsqueeze": Operator(FIRST, rearranges=True),
    "Upsample": Operator(sized_by=(1,)),
    "Where": Operator(degree=of_chosen),
}

# ONNX Runtime's own operators. Those that do several things at once are taken apart by a pass, such
# as `fused_products`; `left_alone` applies to nodes that the pass could not take apart. An operator
# that only multiplies can have a `product`, as in ONNX's own domain.
_MICROSOFT = {
    "Attention": Operator(left_alone=True),
    "DynamicQuantizeMatMul": Operator(integer_weights=True),
    "FusedConv": Operator(left_alone=True),
    "FusedGemm": Operator(left_alone=True),
    "FusedMatMul": Operator(left_alone=True),
    "GatherBlockQuantized": Operator(integer_weights=True),
    "GemmFastGelu": Operator(left_alone=True),
    "MatMulBnb4": Operator(integer_weights=True),
    "MatMulInteger16": Operator(integer_weights=True),
    "MatMulIntegerToFloat": Operator(integer_weights=True),
    "MatMulNBits": Operator(integer_weights=True),
    "NhwcConv": Operator(left_alone=True),
    "QAttention": Operator(integer_weights=True),
    "QGemm": Operator(integer_weights=True),
    "Unique": Operator(sized_by=(0,)),
}

OPERATORS: dict[tuple[str, str], Operator] = {
    **{("", name): operator for name, operator in _ONNX.items()},
    **{(MICROSOFT_DOMAIN, name): operator for name, operator in _MICROSOFT.items()},
}
