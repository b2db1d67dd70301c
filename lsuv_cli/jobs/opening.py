"""Open the inputs of a job: the device, the model in any format, and the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from lsuv_cli.core.choices import ONNX_NAMES
from lsuv_cli.core.errors import ModelError, UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.engine.branches import BranchesChanged, common_branch_decisions, unroll_decided
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters, ParameterSources
from lsuv_cli.jobs.broken_models import explaining_broken_models
from lsuv_cli.jobs.loading import BudgetOf, LoadedSamples
from lsuv_cli.jobs.storing import refuse_missing_folder
from lsuv_cli.passes.control_flow import Decisions, controlling_nodes
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.factory import is_factory, open_factory
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import ModelFile, ModelState
from lsuv_cli.runtime.devices import Device, Notify, select_device
from lsuv_cli.samples.open_samples import FindSamples

# Opens the model that options name.
OpenModel = Callable[[WorkOptions], ModelFile]


def open_named(options: WorkOptions) -> ModelFile:
    """Open the model file that options name, or have a factory make a module.

    Raises:
        LsuvError: there is none, it is broken, or the factory raises an error.
    """
    if options.content is None and is_factory(options.model):
        return open_factory(options.model, options.model_args, options.seed)
    if options.model_args:
        raise UsageError(
            f"--model-args: {options.model} is a file; only a factory (package.module:name) takes "
            "arguments"
        )
    return open_model_file(options.model, options.content)


# New weights may change which branches run, and so which weights are drawn, and so on; but hardly
# often.
MAX_ATTEMPTS = 10


@dataclass(slots=True)
class OpenedInputs:
    """The opened model and samples, with the options and the processes that use them.

    Attributes:
        options: what the user asked for.
        events: receives progress events.
        group: the processes that share the samples.
        device: where sessions run.
        find: finds the samples.
        open_model: opens the model.
        stack: closes the samples in the end.
        state: the model file's own tensors and names; None for ONNX.
        samples: the samples, once they have been read.
        model: the model in normal form; all of its layers stand in the main graph.
        weights: the values of its parameters; changed by a job.
        keeps_ties: whether parameters are those of the ONNX file, as its own names need; else those
            that an exporter stored once, being equal, are several.
        separated: the model as it was brought to normal form, where some parameters are several;
            None where none are.
        source: the model before its If, Loop and Scan were unrolled; None where nothing was.
        decisions: the branch decisions with which it was unrolled.
        attempts: how often that was done.
    """

    options: WorkOptions
    events: Events
    group: Group
    device: Device
    find: FindSamples
    open_model: OpenModel
    stack: ExitStack
    state: ModelState | None = None
    samples: LoadedSamples | None = None
    model: OnnxModel = field(init=False)
    weights: Parameters = field(init=False)
    keeps_ties: bool = False
    separated: ModelSource | None = None
    source: ModelSource | None = None
    decisions: Sequence[Decisions] = ()
    attempts: int = 1

    def read_model(self) -> None:
        """Read the model, and the samples if it can't be read without them.

        Raises:
            LsuvError: the model or the samples can't be used.
        """
        options, events = self.options, self.events
        events.stage("reading the model")
        file = self.open_model(options)
        examples: Feeds = {}
        if file.example_inputs:
            # It does not tell its inputs' shapes, and the exporter wants to see them.
            examples = self.load_samples(file.example_inputs).batches.example()
        source = hoist_constants(self.convert(file, examples))
        self.keeps_ties = file.state is None and options.names == ONNX_NAMES
        if controlling_nodes(source):
            # Which layers the samples meet is only known once they are there.
            samples = self.load_samples(model_of(source)[0].inputs)
            events.stage("following the samples through If, Loop and Scan")
            self.source = source
            self.decisions = self._decide(source, {}, samples)
            source = unroll_decided(source, self.decisions)
        self.set_model(source)

    def set_model(self, source: ModelSource) -> None:
        """Bring the model to normal form, with its If, Loop and Scan unrolled."""
        # A source holds the file's weights: it stays in memory only where it may be needed again.
        self.model, self.weights = model_of(replace(source, keeps_ties=self.keeps_ties))
        self.separated = source if self.model.copies and self.state is None else None

    def keep_ties(self) -> None:
        """Have each parameter be one as in the file, which an exporter may have joined."""
        if self.separated is not None:
            self.keeps_ties = True
            self.set_model(self.separated)

    def convert(self, file: ModelFile, examples: Feeds) -> ModelSource:
        """Read a model file as an ONNX graph, and keep its own tensors and names.

        Args:
            file: the file.
            examples: for each of its `example_inputs` a few samples.

        Raises:
            LsuvError: it can't be read or converted.
        """
        self.state = file.state
        if self.state is not None:
            self.events.stage("converting to ONNX")
        source = file.source(examples)
        if file.road:
            self.events.detail(f"converted to ONNX by {file.road}")
        if file.doubt:
            self.events.warn(file.doubt)
        return source

    def load_samples(
        self,
        specs: Sequence[InputSpec],
        budget_of: BudgetOf | None = None,
    ) -> LoadedSamples:
        """Read the samples, unless that has been done.

        Args:
            specs: the inputs that they feed.
            budget_of: see `LoadedSamples`.

        Raises:
            LsuvError: the samples can't be used.
        """
        if self.samples is None:
            self.samples = LoadedSamples(
                specs, self.options, self.group, self.events, self.find, budget_of
            )
            self.stack.callback(self.samples.batches.close)
        return self.samples

    def changed_decisions(self, weights: Parameters) -> Sequence[Decisions] | None:
        """Return the branch decisions with some weights; None where the model is unrolled so.

        Args:
            weights: values for the model's parameters.

        Raises:
            ModelError: not all batches of samples take the same branches.
        """
        if self.source is None or self.samples is None:
            return None
        changed = weights.sources(self.model.parameters)
        decisions = self._decide(self.source, changed, self.samples)
        return None if decisions == self.decisions else decisions

    def refuse_changed_branches(self) -> None:
        """Refuse weights with which the samples take other branches than the unrolled ones.

        Raises:
            BranchesChanged: they do; see `start_again`.
            ModelError: not all batches of samples take the same branches.
        """
        decisions = self.changed_decisions(self.weights)
        if decisions is not None:
            raise BranchesChanged(decisions)

    def start_again(self, decisions: Sequence[Decisions]) -> None:
        """Go back to the file's weights, with the model unrolled along other branches.

        Args:
            decisions: those branches.

        Raises:
            ModelError: that has been done too often.
        """
        events = self.events
        events.note("with the new weights the samples take another branch; starting again")
        if self.attempts == MAX_ATTEMPTS or self.source is None:
            raise ModelError(
                f"{self.options.model}: the branches that the samples take change with "
                "every initialisation, so their layers can't be measured; export the model with "
                "only one branch"
            )
        self.attempts += 1
        self.decisions = decisions
        self.set_model(unroll_decided(self.source, decisions))

    def _decide(
        self, source: ModelSource, weights: ParameterSources, samples: LoadedSamples
    ) -> list[Decisions]:
        most = self.options.max_segment_bytes
        return common_branch_decisions(
            replace(source, keeps_ties=self.keeps_ties),
            weights,
            samples.batches,
            self.group,
            self.device,
            most,
        )


@contextmanager
def open_inputs(
    options: WorkOptions,
    events: Events,
    group: Group | None,
    find: FindSamples,
    open_model: OpenModel,
) -> Iterator[OpenedInputs]:
    """Open the device and the model, and the samples if the model can't be read without them.

    Args:
        options: what the user asked for.
        events: receives progress events.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.
        open_model: opens the model.

    Raises:
        LsuvError: the model or the samples can't be used.
    """
    refuse_missing_folder(options.spill_dir)
    device = device_of(options, events.note)
    with explaining_broken_models(options.model, options.content), ExitStack() as stack:
        inputs = OpenedInputs(
            options, events, group or SingleProcess(), device, find, open_model, stack
        )
        inputs.read_model()
        yield inputs


def device_of(options: WorkOptions, notify: Notify) -> Device:
    """Return the device that the user wants; see `select_device`."""
    return select_device(
        options.device,
        options.provider,
        options.threads,
        notify,
        options.local_rank,
        tf32=options.tf32,
    )
