"""Degrees of homogeneity: the power of p by which a value grows where some others grow by p.

A value of degree d becomes p^d times what it was where each of some parameters is multiplied by
p > 0. The rules here say how the degree of a node's outputs follows from those of its inputs. They
are exact: a value of which nothing is known has no degree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx

from lsuv_cli.graph.nodes import FLOAT_TYPES, attributes

# The degree of a value; None where it has none, EVERY_DEGREE for one that is zero everywhere.
Degree = float | None
EVERY_DEGREE = math.inf

# Returns the degree of a node's outputs, given those of its inputs: in order, 0 for one left out.
DegreeRule = Callable[[onnx.NodeProto, Sequence[Degree]], Degree]


def is_constant(degree: Degree) -> bool:
    """Return whether a value stays what it was."""
    return degree in (0, EVERY_DEGREE)


def common_degree(degrees: Sequence[Degree]) -> Degree:
    """Return the degree that all values have; None where they have not one in common."""
    different = set(degrees) - {EVERY_DEGREE}
    if not different:
        return EVERY_DEGREE
    return different.pop() if len(different) == 1 else None


def product_degree(degrees: Sequence[Degree]) -> Degree:
    """Return the degree of a product: the sum of those of its factors."""
    known = [degree for degree in degrees if degree is not None]
    return sum(known) if len(known) == len(degrees) else None


def of_first(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the first input's degree, where the others are constant."""
    return degrees[0] if all(map(is_constant, degrees[1:])) else None


def of_cast(node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of what is cast to a floating-point type; integers are rounded."""
    to_float = attributes(node)["to"] in FLOAT_TYPES
    return degrees[0] if to_float or is_constant(degrees[0]) else None


def of_product(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of the product of the first two inputs, to which a third is added."""
    product = product_degree(degrees[:2])
    return common_degree([product, *degrees[2:]]) if len(degrees) > 2 else product


def of_factors(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of the product of all inputs."""
    return product_degree(degrees)


def of_quotient(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of the first input divided by the second."""
    above, below = degrees
    if above is None or below in (None, EVERY_DEGREE):
        return None
    return above - below


def of_power(exponent: float) -> DegreeRule:
    """Return the rule for a power of the first input, or a sum of such powers."""

    def rule(node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
        degree = of_first(node, degrees)
        if degree == EVERY_DEGREE:
            return EVERY_DEGREE if exponent > 0 else None
        return None if degree is None else degree * exponent

    return rule


def of_chosen(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of what Where chooses from; its condition must be constant."""
    return common_degree(degrees[1:]) if is_constant(degrees[0]) else None


def of_normalised(_node: onnx.NodeProto, degrees: Sequence[Degree]) -> Degree:
    """Return the degree of a normalised constant times a gain, plus a shift."""
    x, *gain_and_shift = degrees[:3]
    constant = is_constant(x) and all(map(is_constant, degrees[3:]))
    return common_degree(gain_and_shift) if constant else None
