"""The row of an operator: everything that the program may know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import onnx

from lsuv_cli.graph.operators.products import ProductRule
from lsuv_cli.graph.operators.slopes import ActiveElements


class Homogeneity(Enum):
    """The inputs in which an operator is positively homogeneous: f(p x) = p f(x) for p > 0.

    A layer's scale need not be multiplied into its output at once. Behind it, everything that is
    positively homogeneous (ReLU, pooling, reshaping, sums of equally scaled values) can run on the
    unscaled values, the scale being remembered as pending, and the next layer's variance is known
    all the same. So the activations of a ReLU network are never multiplied at all, which is what
    makes the instrumented run cost little more than a plain one.
    """

    NONE = auto()  # every input must have its scale multiplied in first
    FIRST_INPUT = auto()  # in the first input; the others must have their scales multiplied in
    JOINT = auto()  # in all inputs together, where they have the same pending scale
    EACH_INPUT = auto()  # in each input: the pending scales multiply


HomogeneityRule = Homogeneity | Callable[[onnx.NodeProto], Homogeneity]


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table of operators; every default is safe for an operator of any kind.

    Attributes:
        homogeneity: the inputs whose pending scale the output takes over, or a function that tells
            them for one node.
        scaled_outputs: how many of the outputs, from the first on, take the pending scale over;
            None for all of them.
        activation: for an activation, the function that marks the elements at which its slope is
            not flat; `flat_nowhere` where there is nothing to mark. None for any other operator.
        precedes_activation: whether the operator may stand between a layer and its activation:
            channels stay where they are.
        product: for an operator that may be a layer, the function that says how its weight lies.
        optional_addend_opset: the version of the operator set from which on a node may leave out
            its third input, the addend of its product.
        left_alone: whether a node with a matrix among its inputs looks like a layer, but is not
            initialised; the reports name it.
        integer_weights: whether it reads quantised weights.
        rearranges: whether it only rearranges or casts its first input.
        owns_parameters: whether its parameters belong to the module that it was exported from, by
            whose path they are named.
        float32_only: whether ONNX Runtime has it on the CPU in float32 but not in float64.
        makes_sequences: whether its outputs are sequences of tensors, which ONNX Runtime can't be
            fed.
        gates: the gates of a recurrent operator in the order in which its weights hold them, each
            by ONNX's letter.
    """

    homogeneity: HomogeneityRule = Homogeneity.NONE
    scaled_outputs: int | None = None
    activation: ActiveElements | None = None
    precedes_activation: bool = False
    product: ProductRule | None = None
    optional_addend_opset: int = 1
    left_alone: bool = False
    integer_weights: bool = False
    rearranges: bool = False
    owns_parameters: bool = False
    float32_only: bool = False
    makes_sequences: bool = False
    gates: str = ""

    @property
    def looks_like_a_layer(self) -> bool:
        """Whether a node of this operator multiplies by a weight, be it initialised or not."""
        return self.product is not None or self.left_alone
