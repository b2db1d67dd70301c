"""Load the samples that the user named, as batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lsuv_cli.core.batches import Batches, declared_batch
from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import InputSpec
from lsuv_cli.memory.budget import Budget
from lsuv_cli.samples.batch import SampleBatches
from lsuv_cli.samples.fed_inputs import fed_inputs
from lsuv_cli.samples.open_samples import FindSamples
from lsuv_cli.samples.statistics import describe_input, normalisation_advice

# A first guess, where the model is only known once samples have been seen.
PROVISIONAL_BATCH = 128

# The model is tried on one sample, and on two.
TRIED_SAMPLES = 2


# Divides the memory, given a batch of a few samples to try the model on.
BudgetOf = Callable[[Batches], Budget]


class LoadedSamples:
    """The samples of this process, opened and read once.

    Attributes:
        batches: the samples.
        files: every file that was found.
    """

    def __init__(
        self,
        inputs: Sequence[InputSpec],
        options: WorkOptions,
        group: Group,
        events: Events,
        find: FindSamples,
        budget_of: BudgetOf | None,
    ) -> None:
        """Find, choose and read samples.

        Args:
            inputs: the model's inputs.
            options: what the user asked for.
            group: the processes that share the samples.
            events: receives progress events.
            find: finds the samples.
            budget_of: divides the memory; None where the model is not known yet, and `fit` is
                called later.

        Raises:
            LsuvError: there are none, they can't be used, or an output is one of them.
        """
        events.stage("reading the samples", options.samples.count)
        self._options = options
        fed = fed_inputs(inputs, options.samples)
        self._declared = declared_batch(fed.specs)
        source, self.files = find(fed.sampled, options.samples, options.threads)
        try:
            self.refuse_overwriting(options.outputs)
            wanted = min(options.samples.count or source.available, source.available)
            units = -(-wanted // (self._declared or 1))
            self._share = -(-units // group.size) * (self._declared or 1)
            self._budget: Budget | None = None
            self.batches = SampleBatches(
                source, options.samples, *self._limits(), self._declared, fed
            )
            if budget_of is not None:
                self.fit(budget_of)
            self.batches.read(group, events.advance)
        except BaseException:
            source.close()
            raise
        self._report(options, events)

    def fit(self, budget_of: BudgetOf) -> Budget:
        """Return the budget, after the size of the batches has been made to fit it.

        Args:
            budget_of: divides the memory; called once.
        """
        if self._budget is None:
            self._budget = budget_of(self.batches.few(TRIED_SAMPLES))
            self.batches.regroup(*self._limits())
        return self._budget

    def _limits(self) -> tuple[int, int]:
        """Return the size of a batch, and the bytes of samples that are kept in memory."""
        size = min(self._share, self._options.batch_size or PROVISIONAL_BATCH)
        if self._declared is not None:
            size = self._declared
        elif self._budget is not None and self._options.batch_size is None:
            size = self._budget.batch_size(self._share)
        return size, sys.maxsize if size == self._share else self._options.memory_bytes // 4

    def refuse_overwriting(self, outputs: Iterable[Path]) -> None:
        """Refuse outputs that are samples.

        Raises:
            OutputError: one is.
        """
        for path in outputs:
            if self.files.holds(path):
                raise OutputError(f"the output {path} is one of the samples itself; choose another")

    def _report(self, options: WorkOptions, events: Events) -> None:
        for text in self.files.remarks.notes:
            events.note(text)
        for text in self.files.remarks.warnings:
            events.warn(text)
        for path, reason in self.batches.skipped:
            events.warn(f"skipped {path}: {reason}")
        wanted, used = options.samples.count, self.batches.total
        if wanted is not None and used + self.batches.passed_over < wanted:
            events.note(f"using all {used} samples ({wanted} were asked for)")
        self._report_declared(options, events)
        real = [one for one in self.batches.statistics if "float" in one.dtype]
        for statistics in self.batches.statistics:
            events.note(describe_input(statistics))
            advice = normalisation_advice(statistics, options.samples, alone=len(real) == 1)
            if advice:
                events.warn(advice)

    def _report_declared(self, options: WorkOptions, events: Events) -> None:
        """Say what follows from a number of samples that the model declares."""
        declared, left = self._declared, self.batches.passed_over
        if left:
            events.note(
                f"{left} of the samples are passed over: the model takes {declared} at a time, and "
                "they do not fill a batch"
            )
        if declared is not None and options.batch_size not in (None, declared):
            events.note(
                f"--batch-size {options.batch_size} has no effect: the model takes exactly "
                f"{declared} samples at a time, as its file declares"
            )
