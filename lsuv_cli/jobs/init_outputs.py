"""The files that `lsuv init` writes: refused before the work, written during it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import InitOptions
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.loading import LoadedSamples
from lsuv_cli.jobs.model_output import refuse_model_name, writing_model
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.jobs.planning import ModelPlan
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.formats import writer_for
from lsuv_cli.weights.header import Scales, header_texts
from lsuv_cli.weights.onnx_output import model_files
from lsuv_cli.weights.output_checks import check_output, refuse_overwriting
from lsuv_cli.weights.shards import ShardPlan, check_shards, plan_shards
from lsuv_cli.weights.weights_output import WeightsOutput, open_weights_output


@contextmanager
def checked_outputs(options: InitOptions, group: Group) -> Iterator[InitOptions]:
    """Refuse outputs that can't be written; only the first process writes to those of the user.

    Yields:
        The options, with the outputs of this process. The others need a file of weights only as
        long as they work.

    Raises:
        LsuvError: an output can't be written.
    """
    with ExitStack() as stack:
        if not group.is_first:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lsuv-"))
            options = replace(options, out=Path(folder, "out.safetensors"), out_model=None)
        if options.out_model is not None and options.out_model.resolve() == options.out.resolve():
            raise UsageError("--out and --out-model are the same file; give two")
        for path in options.outputs:
            _check_output(options, path)
        writer_for(options.out)  # refuses a name that no format of weights has
        yield options


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The files of one run, planned.

    Attributes:
        options: what the user asked for.
        inputs: the model that the weights are of.
        plan: what is written.
        shards: the files of the weights.
        model_files: the files of the model; none where it is not written.
    """

    options: InitOptions
    inputs: OpenedInputs
    plan: ModelPlan
    shards: ShardPlan
    model_files: Sequence[Path]

    def refuse_samples(self, samples: LoadedSamples) -> None:
        """Refuse files that are samples.

        Raises:
            OutputError: one is.
        """
        samples.refuse_overwriting([*self.shards.files, *self.model_files])

    @contextmanager
    def open(self, settings: Mapping[str, object]) -> Iterator[OpenOutputs]:
        """Open the files; they have their names, whole, once the context is left without an error.

        Args:
            settings: the options that decide the numbers, for the headers.

        Raises:
            OutputError: a file exists, or can't be written.
        """
        options, plan, model = self.options, self.plan, self.inputs.model
        describe = header_texts(model, plan.layers, settings, {})
        # The stack is closed last, so that the model gets its name when the weights have theirs.
        with (
            ExitStack() as stack,
            open_weights_output(
                self.shards, model, plan.naming, plan.others, describe=describe, force=options.force
            ) as file,
        ):
            yield OpenOutputs(self, settings, file, stack)


@dataclass(frozen=True, slots=True)
class OpenOutputs:
    """The files of one run, while they are being written.

    Attributes:
        files: the files.
        settings: the options that decide the numbers.
        weights_output: the file of weights, or the shards.
        stack: gives the model its name when it is closed.
    """

    files: OutputFiles
    settings: Mapping[str, object]
    weights_output: WeightsOutput
    stack: ExitStack

    def write_final(self, parameters: frozenset[str], weights: Parameters) -> None:
        """Write parameters that a sweep does not change any more.

        Args:
            parameters: their names.
            weights: their values, read from the file from now on.
        """
        self.weights_output.put_final(parameters, weights)

    def write_rest(self, weights: Parameters, scales: Scales, events: Events) -> None:
        """Write the parameters that have not been written, and the header.

        Args:
            weights: the parameters' values, read from the file from now on.
            scales: for the first use of each scaled weight its scale.
            events: receives progress events.
        """
        model = self.files.inputs.model
        events.stage("writing", len(model.parameters))
        self.weights_output.put_rest(weights, events.advance)
        header = header_texts(model, self.files.plan.layers, self.settings, scales)
        self.weights_output.writer.set_metadata(header)

    def write_model(self, weights: Parameters) -> None:
        """Write the model with the written weights, if it was asked for.

        Raises:
            LsuvError: it can't be written, or what was written can't be run.
        """
        options, inputs = self.files.options, self.files.inputs
        out = options.out_model
        if out is None:
            return
        if inputs.state is not None:
            read = self.weights_output.writer.read
            values = {name: read(name) for name in self.files.plan.naming}
            model_file, _ = self.stack.enter_context(replacing_file(out, force=options.force))
            model_file.write(inputs.state.with_values(values))
            return
        self.stack.enter_context(
            writing_model(
                inputs.model,
                options.content,
                weights,
                out,
                inputs.events,
                force=options.force,
                threads=options.threads,
            )
        )


def plan_outputs(options: InitOptions, inputs: OpenedInputs, plan: ModelPlan) -> OutputFiles:
    """Plan the files that will be written.

    Args:
        options: what the user asked for.
        inputs: the opened model.
        plan: the tensors to write.

    Raises:
        LsuvError: one of the files can't be written.
    """
    model = inputs.model
    tensors = {name: stored.info for name, stored in plan.naming.items()}
    shards = plan_shards(options.out, tensors, options.max_shard_bytes)
    check_shards(shards, force=options.force)
    # The target itself too: shards take its place.
    weights_files = (options.out, *shards.files)
    for path in weights_files:
        refuse_overwriting(path, "the model's external data", model.external_files)
    if options.out_model is None:
        return OutputFiles(options, inputs, plan, shards, ())
    files = [options.out_model]
    if inputs.state is None:
        files = model_files(model, options.out_model)
    refuse_model_name(options.out_model, inputs.state)
    for path in files:
        _check_output(options, path)
        refuse_overwriting(path, "the model's external data", model.external_files)
        if path.resolve() in {other.resolve() for other in weights_files}:
            raise UsageError(f"--out and --out-model would both write {path}; give other names")
    return OutputFiles(options, inputs, plan, shards, files)


def _check_output(options: InitOptions, path: Path) -> None:
    if options.resume is not None and path.resolve() == options.resume.resolve():
        raise UsageError(f"--resume and an output are both {path}; give two names")
    for role, given in options.inputs.items():
        refuse_overwriting(path, role, [given])
    check_output(path, force=options.force)
