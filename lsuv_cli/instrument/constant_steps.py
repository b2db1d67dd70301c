"""Steps that do not depend on the samples: they run in each segment that reads what they make.

A weight that is computed from parameters, or arithmetic on shapes, costs little. Passed on from one
segment to the next, it would be kept for every batch, and a weight would be computed with the
scales that its parameters had before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from lsuv_cli.graph.nodes import bodies
from lsuv_cli.instrument.steps import StepKind, SweepStep
from lsuv_cli.reading.model import OnnxModel

# Operators that make another value at each run.
RANDOM = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)


class ConstantSteps:
    """The steps of a sweep that do not depend on the samples, apart from the others.

    Attributes:
        others: the other steps, in execution order; among them what nothing else reads.
    """

    def __init__(
        self, model: OnnxModel, steps: Sequence[SweepStep], later: Collection[str]
    ) -> None:
        """Divide steps.

        Args:
            model: the model they belong to.
            steps: in execution order.
            later: values that are read once all steps are done.
        """
        known = {tensor.name for tensor in model.skeleton.graph.initializer}
        known |= model.weight_values.keys()
        read = {name for step in steps for name in step.reads}.difference(later)
        self._order: dict[str, int] = {}
        self._steps: dict[str, SweepStep] = {}
        self.others: list[SweepStep] = []
        for position, step in enumerate(steps):
            if _is_constant(step, known, model.activations) and not read.isdisjoint(step.makes):
                known.update(step.makes)
                # A step is there once for each segment that the steps have been in before.
                for name in step.makes:
                    self._steps.setdefault(name, step)
                    self._order.setdefault(name, position)
            else:
                self.others.append(step)

    def missing(self, step: SweepStep, present: Iterable[SweepStep]) -> list[SweepStep]:
        """Return the constant steps that a step depends on and that are not present, in order."""
        pending = [name for name in step.reads if name in self._steps]
        if not pending:
            return []
        made = {name for one in present for name in one.makes}
        needed: dict[int, SweepStep] = {}
        while pending:
            name = pending.pop()
            if name in made:
                continue
            made.add(name)
            needed[self._order[name]] = self._steps[name]
            pending += [other for other in self._steps[name].reads if other in self._steps]
        return [needed[position] for position in sorted(needed)]


def _is_constant(step: SweepStep, known: Collection[str], activations: Collection[str]) -> bool:
    return (
        step.kind is StepKind.NODE
        and step.node.op_type not in RANDOM
        and not bodies(step.node)
        and all(name in known for name in step.reads)
        and not any(name in activations for name in step.makes)
    )
