"""Prepare a run: read the samples, divide the memory, and open all that the engine needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from lsuv_cli import __version__
from lsuv_cli.core.batches import Batches
from lsuv_cli.core.journal import Journal
from lsuv_cli.engine.setup import Setup
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.jobs.loading import LoadedSamples
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.jobs.planning import ModelPlan
from lsuv_cli.jobs.storing import open_store, refuse_differing_processes
from lsuv_cli.memory.budget import Budget, tell_plan
from lsuv_cli.memory.trial import memory_use
from lsuv_cli.runtime.store import ValueStore


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A planned model whose samples have been read.

    Attributes:
        inputs: the opened model, the options, and the processes.
        plan: what is done with the model's layers.
        samples: the samples.
        budget: how the memory is divided.
        settings: the options that decide the numbers, by name.
    """

    inputs: OpenedInputs
    plan: ModelPlan
    samples: LoadedSamples
    budget: Budget
    settings: Mapping[str, object]

    @contextmanager
    def open_setup(self, more: Mapping[str, object]) -> Iterator[Setup]:
        """Open the store of values between segments, and with it all that the engine needs.

        Args:
            more: what else identifies this run, beside `identity`.

        Raises:
            LsuvError: the processes differ, or a file can't be written.
        """
        inputs, batches = self.inputs, self.samples.batches
        options = inputs.options
        identity = {**self._identity(), **more}
        # Where samples or a resume journal are may differ from machine to machine.
        alike = {"samples": batches.available, "resume": options.resume is not None}
        refuse_differing_processes({**identity, **alike}, inputs.group)
        stored = open_store(options, inputs.group, self.budget, batches, identity, inputs.events)
        with stored as (store, journal):
            yield make_setup(inputs, self.plan, batches, store, journal)

    def _identity(self) -> dict[str, object]:
        """Return what a run must have in common with another to go on from its measurements."""
        return {
            "version": __version__,
            "model": self.inputs.model.sha256,
            "settings": self.settings,
            "scale_rule": type(self.plan.layers.rule).__name__,
            # The draws of weights depend on them.
            "names": [planned.layer.weight_name for planned in self.plan.layers.layers],
            "processes": self.inputs.group.size,
            "device": self.inputs.device.label,
        }

    def report_forecast(self, setup: Setup, segments: Sequence[Segment]) -> None:
        """Say what a sweep through some segments is going to take, before it does."""
        counts, free_bytes = setup.batches.counts, setup.store.free_bytes
        tell_plan(self.budget, counts, free_bytes, self.inputs.events, segments)

    def report_fields(self) -> dict[str, Any]:
        """Return the fields of `RunReport`, which the reports of all jobs with samples have."""
        inputs, batches = self.inputs, self.samples.batches
        return {
            "version": __version__,
            "model": str(inputs.options.model),
            "model_sha256": inputs.model.sha256,
            "opset": inputs.model.opset,
            "settings": self.settings,
            "device": inputs.device.label,
            "per": inputs.options.per,
            "tol": inputs.options.tol,
            "samples": batches.total,
            "processes": inputs.group.size,
            "available_samples": batches.available,
            "skipped_samples": batches.skipped,
            "inputs": batches.statistics,
            "left_alone": tuple(self.plan.left_alone),
        }


def prepare_run(inputs: OpenedInputs, plan: ModelPlan) -> PreparedRun:
    """Read the samples, if that has not been done, and divide the memory.

    Args:
        inputs: the opened model, and what the samples are read with.
        plan: what is done with the model's layers.

    Raises:
        LsuvError: the samples can't be used.
    """
    budget_of = partial(divide_memory, inputs, plan)
    samples = inputs.load_samples(inputs.model.inputs, budget_of)
    budget = samples.fit(budget_of)
    batches = samples.batches
    settings = inputs.options.settings(batches.total, batches.batch_size)
    return PreparedRun(inputs, plan, samples, budget, settings)


def divide_memory(inputs: OpenedInputs, plan: ModelPlan, samples: Batches) -> Budget:
    """Try the model on a few samples, and divide the memory that the user allows.

    Args:
        inputs: the opened model, and the options.
        plan: the model's layers.
        samples: one batch of a few.
    """
    options = inputs.options
    on_device = options.device_memory_bytes if inputs.device.memory else None
    use = memory_use(
        inputs.model,
        plan.layer_nodes,
        inputs.weights,
        samples,
        options.threads,
        options.max_segment_bytes,
        options.memory_bytes,
    )
    return Budget(use.agreed(inputs.group), options.memory_bytes, on_device)


def make_setup(
    inputs: OpenedInputs, plan: ModelPlan, batches: Batches, store: ValueStore, journal: Journal
) -> Setup:
    """Return all that the engine needs.

    Args:
        inputs: the opened model, the options, and the processes.
        plan: what is done with the model's layers.
        batches: the samples.
        store: where batches are kept between segments.
        journal: what has been measured before.
    """
    options, model = inputs.options, inputs.model
    return Setup(
        model,
        plan.layer_nodes,
        plan.layers,
        plan.norms,
        batches,
        inputs.group,
        store,
        inputs.device,
        options.max_segment_bytes,
        journal,
    )
