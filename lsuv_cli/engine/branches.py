"""Branch decisions: which branch of each If samples take, and how often each Loop and Scan runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.group import Group
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import names_in, values_read
from lsuv_cli.graph.parameters import ParameterSources
from lsuv_cli.instrument.close import add_parameters, instrumented
from lsuv_cli.instrument.segments import cut_steps
from lsuv_cli.instrument.steps import node_step
from lsuv_cli.passes.control_flow import (
    ANY,
    Decisions,
    can_be_unrolled,
    controlling_nodes,
    probes,
)
from lsuv_cli.passes.sure_decisions import SureDecisions
from lsuv_cli.passes.unroll import unroll
from lsuv_cli.reading.model import model_of
from lsuv_cli.runtime.devices import Device
from lsuv_cli.runtime.run_once import run_once


class BranchesChanged(Exception):  # noqa: N818 - not an error: the work is done again
    """With new weights the samples take other branches.

    Attributes:
        decisions: those branches.
    """

    def __init__(self, decisions: Sequence[Decisions]) -> None:
        super().__init__()
        self.decisions = decisions


def common_branch_decisions(
    source: ModelSource,
    weights: ParameterSources,
    batches: Batches,
    group: Group,
    device: Device,
    max_segment_bytes: int,
) -> list[Decisions]:
    """Return the decisions that all batches of all processes have in common.

    Args:
        source: the model.
        weights: see `find_branch_decisions`.
        batches: the samples of this process.
        group: the processes that share the samples.
        device: where the model runs.
        max_segment_bytes: bytes of weights in one session.

    Raises:
        ModelError: the batches take different branches.
    """
    found = [
        find_branch_decisions(source, weights, batches.feeds(batch), device, max_segment_bytes)
        for batch in range(len(batches.counts))
    ]
    texts = group.gather_text(json.dumps(found))
    everyone: list[list[Decisions]] = [one for text in texts for one in json.loads(text)]
    if any(one != everyone[0] for one in everyone):
        advice = (
            "set --batch-size to the number of samples"
            if batches.declared is None
            else f"its file takes {batches.declared} at a time, so give samples of one branch alone"
        )
        raise ModelError(
            f"{source.path}: not all batches of samples take the same branches; {advice}, or "
            "export the model with only one branch"
        )
    return everyone[0]


def find_branch_decisions(
    source: ModelSource,
    weights: ParameterSources,
    feeds: Feeds,
    device: Device,
    max_segment_bytes: int,
) -> list[Decisions]:
    """Run one batch as far as the nodes that decide which layers it meets, and read them.

    Args:
        source: the model.
        weights: other values than the file's, for those parameters that are named.
        feeds: the samples.
        device: where the model runs.
        max_segment_bytes: bytes of weights in one session.

    Returns:
        The decisions of one level of nesting after the other; none where no layer is in a body.
    """
    decisions: list[Decisions] = []
    given_up: set[str] = set()
    while True:
        nodes = [n for n in controlling_nodes(source) if n.output[0] not in given_up]
        if not nodes:
            return decisions
        wanted = {node.output[0] for node in nodes}
        found = _probe(source, weights, wanted, feeds, device, max_segment_bytes)
        for node in nodes:
            if not can_be_unrolled(node, found[node.output[0]]):
                given_up.add(node.output[0])
                del found[node.output[0]]
        if found:
            decisions.append(found)
            source = unroll(source, found)


def unroll_decided(source: ModelSource, decisions: Sequence[Decisions]) -> ModelSource:
    """Return a model with its If, Loop and Scan unrolled by branch decisions.

    Args:
        source: the model; not modified.
        decisions: as `find_branch_decisions` returns them.
    """
    for level in decisions:
        source = unroll(source, level)
    return source


@dataclass(frozen=True, slots=True)
class UnrolledWithoutSamples:
    """A model with its If, Loop and Scan unrolled as far as that is possible without samples.

    Attributes:
        source: the model. What only the samples decide is all there: both branches of an If, and a
            Loop or Scan once.
        undecided: the values of which the samples decide whether and how often they are made.
    """

    source: ModelSource
    undecided: frozenset[str]


def unroll_without_samples(source: ModelSource) -> UnrolledWithoutSamples:
    """Return a model with its If, Loop and Scan unrolled.

    Its layers and names are those that it has with samples, but for the number of iterations.

    Args:
        source: the model, with the constants of its bodies hoisted; not modified.
    """
    given_up: set[str] = set()
    undecided: set[str] = set()
    while True:
        sure, unsure = _decisions_without_samples(source, given_up, undecided)
        if not sure and not unsure:
            return UnrolledWithoutSamples(source, frozenset(undecided))
        source = unroll(source, sure)
        before = _made(source)
        source = unroll(source, unsure)
        undecided |= _made(source) - before


def _decisions_without_samples(
    source: ModelSource, given_up: set[str], undecided: set[str]
) -> tuple[Decisions, Decisions]:
    """Return the decisions that the file tells, and those of nodes that are or are in others.

    Args:
        source: the model.
        given_up: nodes that can't be unrolled, by their first outputs; those found are added.
        undecided: the values of which the samples decide whether they are made.
    """
    known = SureDecisions(source)
    sure: dict[str, int] = {}
    unsure: dict[str, int] = {}
    for node in controlling_nodes(source):
        name, decision = node.output[0], known.of(node)
        if name in given_up:
            continue
        if not can_be_unrolled(node, ANY if decision is None else decision):
            given_up.add(name)
        elif decision is None or name in undecided:
            unsure[name] = ANY if decision is None else decision
        else:
            sure[name] = decision
    return sure, unsure


def _made(source: ModelSource) -> set[str]:
    return {name for node in source.skeleton.graph.node for name in node.output}


def _probe(
    source: ModelSource,
    weights: ParameterSources,
    wanted: set[str],
    feeds: Feeds,
    device: Device,
    max_segment_bytes: int,
) -> dict[str, int]:
    """Return the decisions of some controlling nodes, by running the model as far as these."""
    model, values = model_of(source)
    for name in model.parameters:
        if name in weights:
            values.read_from(name, weights[name])
    names = NewNames(names_in(model.skeleton.graph) | set(values))
    deciding: dict[str, str] = {}
    added = []
    for node in model.nodes:
        if node.output and node.output[0] in wanted:
            more, deciding[node.output[0]] = probes(node, names)
            added += more
    read = {name for node in added for name in values_read(node)}
    nodes = [*model.uses.needed(read), *added]
    fetched: dict[str, int] = {}
    fed = feeds
    steps = list(map(node_step, nodes))
    for segment in cut_steps(model, steps, max_segment_bytes):
        made = segment.makes()
        carried = {name: name for name in sorted(made & {*segment.leaving, *deciding.values()})}
        builder = GraphBuilder(model.opset)
        builder.nodes += segment.nodes
        add_parameters(builder, builder.nodes, values)
        specs = {
            name: InputSpec(name, value.dtype.name, value.shape) for name, value in fed.items()
        }
        found = run_once(instrumented(builder, model, specs, {}, carried=carried), fed, device)
        fetched |= {
            name: _decision(name, found[value])
            for name, value in deciding.items()
            if value in found
        }
        fed = {n: v for n, v in {**fed, **found}.items() if n in segment.leaving or n in feeds}
    return fetched


def _decision(output: str, value: NDArray[Any]) -> int:
    """Return a probed value as a number.

    Args:
        output: the first output of the node that it decides.
        value: the condition of an If, or the number of a loop's iterations.

    Raises:
        ModelError: there are several, one for each sample.
    """
    if value.size != 1:
        raise ModelError(
            f"the If, Loop or Scan that makes {output} takes one decision for each of its samples, "
            f"{value.size} at once, so which layers they meet is not clear; --batch-size 1 with "
            "samples that take the same branch, or an export with only one branch, can be measured"
        )
    return int(value.item())
