"""What every job begins with: the model, in whatever form it came, and the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeVar

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.engine.branches import along, common_way
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters, ParameterSources
from lsuv_cli.jobs.loading import Loaded
from lsuv_cli.jobs.storing import refuse_missing_folder
from lsuv_cli.memory.budget import Budget
from lsuv_cli.passes.control_flow import Decisions, controlling_nodes
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.runtime.devices import Device, Notify, select_device
from lsuv_cli.samples.open_samples import FindSamples

# New weights may lead the samples another way, where others are drawn, and so on; but hardly often.
MAX_WAYS = 10

Result = TypeVar("Result")


class WayChangedError(Exception):
    """With the new weights the samples go another way through the model.

    Attributes:
        decisions: that way.
    """

    def __init__(self, decisions: Sequence[Decisions]) -> None:
        super().__init__()
        self.decisions = decisions


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave, opened.

    Attributes:
        options: what the user asked for.
        group: the processes that share the samples.
        device: where sessions run.
        events: told how the work goes.
        stack: closes what must be closed in the end.
        find: finds the samples.
        state: the model file's own tensors and names; None for ONNX.
        loaded: the samples, if they have been read.
        source: the model as it was before it was unrolled; None where it was not.
        decisions: along which way that was done.
    """

    options: WorkOptions
    group: Group
    device: Device
    events: Events
    stack: ExitStack
    find: FindSamples
    state: ModelState | None = None
    loaded: Loaded | None = None
    source: ModelSource | None = None
    decisions: Sequence[Decisions] = ()

    def load(
        self, inputs: Sequence[InputSpec], budget_of: Callable[[Feeds], Budget] | None = None
    ) -> Loaded:
        """Read the samples."""
        loaded = Loaded(inputs, self.options, self.group, self.events, self.find, budget_of)
        self.stack.callback(loaded.batches.close)
        return loaded

    def way(
        self, source: ModelSource, weights: ParameterSources, loaded: Loaded
    ) -> list[Decisions]:
        """Which way the samples go through a model's If, Loop and Scan."""
        most = self.options.max_segment_bytes
        return common_way(source, weights, loaded.batches, self.group, self.device, most)

    def refuse_other_way(self, weights: ParameterSources, loaded: Loaded) -> None:
        """Have the job done again where some weights lead the samples another way.

        Args:
            weights: where they differ from the file's.
            loaded: the samples.

        Raises:
            WayChangedError: they do.
        """
        now = self.other_way(weights, loaded)
        if now is not None:
            raise WayChangedError(now)

    def other_way(self, weights: ParameterSources, loaded: Loaded) -> Sequence[Decisions] | None:
        """Where some weights lead the samples, if that is not the way that was unrolled.

        Args:
            weights: where they differ from the file's.
            loaded: the samples.
        """
        if self.source is None:
            return None
        now = self.way(self.source, weights, loaded)
        return None if now == self.decisions else now


Job = Callable[[Given, OnnxModel, Parameters], Result]


def with_model(
    options: WorkOptions,
    events: Events,
    group: Group | None,
    find: FindSamples,
    job: Job[Result],
) -> Result:
    """Open what the user gave, and do a job with it.

    Args:
        options: what the user asked for.
        events: told how the work goes.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.
        job: done with the model, all of whose layers stand in the main graph; again where its
            weights lead the samples another way through If, Loop and Scan.

    Raises:
        LsuvError: the model or the samples can't be used.
    """
    refuse_missing_folder(options.spill_dir)
    device = device_of(options, events.note)
    with ExitStack() as stack:
        return _opened(Given(options, group or SingleProcess(), device, events, stack, find), job)


def device_of(options: WorkOptions, notify: Notify) -> Device:
    """Where the user wants the model to run; see `select_device`."""
    return select_device(
        options.device,
        options.provider,
        options.threads,
        notify,
        options.local_rank,
        tf32=options.tf32,
    )


def _opened(given: Given, job: Job[Result]) -> Result:
    """Read the model, and whatever of the samples that takes."""
    options, events = given.options, given.events
    events.stage("reading the model")
    file = open_model_file(options.model, options.content)
    examples: Feeds = {}
    if file.example_inputs:
        # It does not tell its inputs' shapes, and the exporter wants to see them.
        loaded = given.load(file.example_inputs)
        given = replace(given, state=file.state, loaded=loaded)
        events.stage("converting to ONNX")
        examples = loaded.batches.example()
    source = file.source(examples)
    source = hoist_constants(source)
    if not controlling_nodes(source):
        model, weights = model_of(source)
        # It holds the file's weights, which need not stay in memory once others are drawn.
        del source
        return job(given, model, weights)
    # Which layers the samples meet is only known once they are there.
    loaded = given.loaded or given.load(model_of(source)[0].inputs)
    return _along_the_way(replace(given, loaded=loaded, source=source), source, loaded, job)


def _along_the_way(given: Given, source: ModelSource, loaded: Loaded, job: Job[Result]) -> Result:
    """Do a job with the layers that the samples meet in a model with If, Loop or Scan."""
    given.events.stage("following the samples through If, Loop and Scan")
    decisions: Sequence[Decisions] = given.way(source, {}, loaded)
    for _ in range(MAX_WAYS):
        model, weights = model_of(along(source, decisions))
        try:
            return job(replace(given, decisions=decisions), model, weights)
        except WayChangedError as changed:
            given.events.note(
                "with the new weights the samples take another branch; starting again"
            )
            decisions = changed.decisions
    raise ModelError(
        f"{given.options.model}: which branches the samples take changes with every "
        "initialisation, so that their layers can't be measured; export the model with one of them"
    )
