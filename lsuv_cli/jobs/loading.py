"""Load the samples that the user named, as batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.memory.budget import Budget
from lsuv_cli.samples.batch import SampleBatches
from lsuv_cli.samples.open_samples import FindSamples
from lsuv_cli.samples.statistics import describe_input, normalisation_advice

# A first guess, where the model is only known once samples have been seen.
PROVISIONAL_BATCH = 128

# The model is tried on one sample, and on two.
TRIED_SAMPLES = 2


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
        budget_of: Callable[[Feeds], Budget] | None,
    ) -> None:
        """Find, choose and read samples.

        Args:
            inputs: the model's inputs.
            options: what the user asked for.
            group: the processes that share the samples.
            events: receives progress events.
            find: finds the samples.
            budget_of: divides the memory, given a few samples to try the model on; None where the
                model is not known yet, and `fit` is called later.

        Raises:
            LsuvError: there are none, they can't be used, or an output is one of them.
        """
        events.stage("reading the samples", options.samples.count)
        self._options = options
        source, self.files = find(inputs, options.samples, options.threads)
        try:
            self.refuse_overwriting(options.outputs)
            wanted = min(options.samples.count or source.available, source.available)
            self._share = -(-wanted // group.size)
            self._budget: Budget | None = None
            self.batches = SampleBatches(source, options.samples, *self._limits())
            if budget_of is not None:
                self.fit(budget_of)
            self.batches.read(group, events.advance)
        except BaseException:
            source.close()
            raise
        self._report(options, events)

    def fit(self, budget_of: Callable[[Feeds], Budget]) -> Budget:
        """Return the budget, after the size of the batches has been made to fit it.

        Args:
            budget_of: divides the memory, given a few samples; called once.
        """
        if self._budget is None:
            self._budget = budget_of(self.batches.few(TRIED_SAMPLES))
            self.batches.regroup(*self._limits())
        return self._budget

    def _limits(self) -> tuple[int, int]:
        """Return the size of a batch, and the bytes of samples that are kept in memory."""
        size = min(self._share, self._options.batch_size or PROVISIONAL_BATCH)
        if self._budget is not None and self._options.batch_size is None:
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
        for path, reason in self.batches.skipped:
            events.warn(f"skipped {path}: {reason}")
        wanted = options.samples.count
        if wanted is not None and self.batches.total < wanted:
            events.note(f"using all {self.batches.total} samples ({wanted} were asked for)")
        real = [one for one in self.batches.statistics if "float" in one.dtype]
        for statistics in self.batches.statistics:
            events.note(describe_input(statistics))
            advice = normalisation_advice(statistics, options.samples, alone=len(real) == 1)
            if advice:
                events.warn(advice)
