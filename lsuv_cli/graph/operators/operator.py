"""A row of the table of operators, and the kinds of homogeneity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import onnx

from lsuv_cli.graph.operators.degrees import DegreeRule
from lsuv_cli.graph.operators.products import ProductRule
from lsuv_cli.graph.operators.slopes import ActiveElements


class Homogeneity(Enum):
    """The inputs in which an operator is positively homogeneous: f(p x) = p f(x) for p > 0.

    A layer's scale need not be multiplied into its output at once. Behind it, everything that is
    positively homogeneous (ReLU, pooling, reshaping, sums of equally scaled values) can run on the
    unscaled values while the scale is pending, and the next layer's variance is known all the same.
    So the activations of a ReLU network are never multiplied at all, which is why the instrumented
    run costs little more than a plain one.
    """

    NONE = auto()  # in no input: pending scales are applied to all inputs before it runs
    FIRST_INPUT = auto()  # in the first input; pending scales are applied to the others before
    JOINT = auto()  # in all inputs at once, brought to one pending scale (sums, concatenation)
    EACH_INPUT = auto()  # in each input by itself: pending scales multiply (products)


HomogeneityRule = Homogeneity | Callable[[onnx.NodeProto], Homogeneity]


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table; the defaults are those of an operator of which nothing is known.

    Attributes:
        homogeneity: the inputs whose pending scale the outputs take over, or a function that
            returns them for a node. Not used where a node is a layer.
        degree: the function that returns the degree of homogeneity of a node's outputs where that
            does not follow from `homogeneity`: of operators in the subgraphs that compute weights.
        scaled_outputs: the number of outputs, from the first on, that take the pending scale over;
            None for all of them.
        activation: for an activation, the function that marks its active elements, those with a
            slope that is not flat, from which reports count dead and saturated units;
            `flat_nowhere` for one that has a slope everywhere. None for any other operator.
        precedes_activation: whether the operator may stand between a layer and its activation; it
            must leave the channels where they are.
        product: for an operator that may be a layer, the function that returns a node's data,
            weight and the meaning of the weight's axes. None for any other operator.
        optional_addend_opset: the version of the operator set from which on a node may leave out
            its third input, the addend of its product.
        left_alone: whether a node with a matrix among its inputs looks like a layer but is not
            initialised; reports name it.
        integer_weights: whether it reads quantised weights.
        rearranges: whether it only rearranges or casts its first input.
        owns_parameters: whether its parameters are those of the module that it was exported from,
            as those of every convolution and fully connected layer are: where an exporter stored
            equal parameters of several modules once, each such operator gets its own again.
        float32_only: whether ONNX Runtime has it on the CPU in float32 but not in float64.
        makes_sequences: whether its outputs are sequences of tensors, which can't be passed on from
            one segment to the next.
        gates: for a recurrent operator, ONNX's letters of its gates in the order of its weights.
        sized_by: the positions of the inputs on whose values the sizes of its outputs depend. Those
            of an operator with a body (If, Loop, Scan) depend on all that it reads, in any case.
    """

    homogeneity: HomogeneityRule = Homogeneity.NONE
    degree: DegreeRule | None = None
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
    sized_by: tuple[int, ...] = ()

    @property
    def looks_like_a_layer(self) -> bool:
        """True where nodes of this operator multiply by a weight, initialised or not."""
        return self.product is not None or self.left_alone
