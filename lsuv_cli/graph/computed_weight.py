"""Weights that a graph computes from parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComputedWeight:
    """A weight that the graph computes from parameters alone.

    Attributes:
        value: the graph value.
        shape: its shape.
        makes: the values that the nodes which compute it make, itself among them.
        parameters: the parameters, or views of them, that it is computed from.
        matrix: the view of a parameter whose elements, in the weight's shape, become those of the
            weight one by one, and which therefore holds the matrix to draw; "" where there is none.
        scaled: a smallest set of the parameters that scales the weight: multiplied by p > 0 each,
            they multiply it by p. Empty where no such set is known.
        operators: the operators that compute it, in order, each once; without those that only make
            constants or change shapes.
    """

    value: str
    shape: tuple[int, ...]
    makes: frozenset[str]
    parameters: tuple[str, ...]
    matrix: str
    scaled: tuple[str, ...]
    operators: tuple[str, ...]
