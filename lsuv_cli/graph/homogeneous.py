"""Sets of parameters in which a computed value is homogeneous of degree 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import onnx

from lsuv_cli.graph.operators.degrees import (
    EVERY_DEGREE,
    Degree,
    common_degree,
    is_constant,
    of_factors,
    of_first,
)
from lsuv_cli.graph.operators.operator import Homogeneity
from lsuv_cli.graph.operators.table import homogeneity_of, operator_of

# Larger sets are not looked for: no known weight is a sum of so many terms.
MAX_SET = 4


def scaling_set(
    value: str,
    nodes: Sequence[onnx.NodeProto],
    candidates: Sequence[str],
    preferred: str,
    numbers: Mapping[str, float],
) -> tuple[str, ...]:
    """Return a smallest set of values by which another one grows in proportion.

    Args:
        value: the value that is to grow by p where each of the set grows by p > 0.
        nodes: that compute it, in execution order.
        candidates: the values that may be in the set.
        preferred: of sets of the same size, one that holds this value comes first.
        numbers: what other values are, where that is one number.

    Returns:
        The set, in the order of the candidates; empty where none is known to have that property.
    """
    for size in range(1, min(MAX_SET, len(candidates)) + 1):
        sets = list(combinations(candidates, size))
        for chosen in sorted(sets, key=lambda one: preferred not in one):
            if degree_in(value, nodes, chosen, numbers) == 1:
                return chosen
    return ()


def degree_in(
    value: str,
    nodes: Sequence[onnx.NodeProto],
    scaled: Collection[str],
    numbers: Mapping[str, float],
) -> Degree:
    """Return the degree of a value in some others; None where it has none that is known.

    Args:
        value: the value.
        nodes: that compute it, in execution order.
        scaled: the others, which grow by p.
        numbers: what other values are, where that is one number.

    Example:
        >>> from onnx import helper
        >>> nodes = [
        ...     helper.make_node("ReduceL2", ["v"], ["norm"]),
        ...     helper.make_node("Div", ["v", "norm"], ["direction"]),
        ...     helper.make_node("Mul", ["direction", "g"], ["w"]),
        ... ]
        >>> degree_in("w", nodes, {"g"}, {}), degree_in("w", nodes, {"v"}, {})
        (1.0, 0.0)
    """
    degrees: dict[str, Degree] = dict.fromkeys(scaled, 1.0)
    degrees |= {name: EVERY_DEGREE for name, number in numbers.items() if number == 0}
    for node in nodes:
        if any(name in numbers for name in node.output):
            continue
        found = _degree(node, [degrees.get(name, 0.0) for name in node.input], numbers)
        degrees.update(dict.fromkeys(filter(None, node.output), found))
    return degrees.get(value, 0.0)


def _degree(
    node: onnx.NodeProto, degrees: Sequence[Degree], numbers: Mapping[str, float]
) -> Degree:
    """Return the degree of a node's outputs, given those of its inputs."""
    operator = operator_of(node)
    if node.op_type == "Pow":
        exponent = numbers.get(node.input[1])
        base = degrees[0]
        if exponent is not None and base is not None:
            return base * exponent if exponent > 0 or base != EVERY_DEGREE else None
    elif operator.degree is not None:
        return operator.degree(node, degrees)
    else:
        match homogeneity_of(node):
            case Homogeneity.FIRST_INPUT:
                return of_first(node, degrees)
            case Homogeneity.JOINT:
                return common_degree(degrees)
            case Homogeneity.EACH_INPUT:
                return of_factors(node, degrees)
            case _:
                pass
    return 0.0 if all(map(is_constant, degrees)) else None
