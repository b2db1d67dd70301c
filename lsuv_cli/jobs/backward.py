"""The backward half of `lsuv compare`: gradients of a few samples, or the reason for none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lsuv_cli.core.batches import Batches, GivenBatches, first_samples
from lsuv_cli.core.events import Silent
from lsuv_cli.core.group import SingleProcess
from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import CompareOptions
from lsuv_cli.engine.batch_statistics import measure_with_batch_statistics
from lsuv_cli.engine.gradients import Differentiator, NoGradientsError, refuse_different
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.differentiable import differentiable_graph
from lsuv_cli.jobs.preparing import PreparedRun

# Gradients are of so many samples at most: a standard deviation over a layer's outputs needs no
# more, and all activations are held at once.
GRADIENT_SAMPLES = 32

# With each value PyTorch holds its gradient, and about as much again of what operators keep.
HELD = 3


class BackwardPass:
    """The model translated to PyTorch, with the samples that go backward through it.

    Attributes:
        samples: how many samples these are; 0 where there are no gradients.
        why_not: why there are no gradients, as a sentence; "" where there are, or where they were
            not asked for.
    """

    def __init__(self, options: CompareOptions, run: PreparedRun, setup: Setup) -> None:
        """Translate the model, if gradients are asked for and this is the first process.

        Args:
            options: what the user asked for.
            run: the samples, and the memory.
            setup: the model and its layers.
        """
        self.samples = 0
        self.why_not = ""
        self._options = options
        self._setup = setup
        self._few: Batches = GivenBatches([])
        self._differentiator: Differentiator | None = None
        self._is_checked = False
        if not options.backward or not setup.group.is_first:
            return
        try:
            self._translate(run)
        except NoGradientsError as error:
            self._give_up(error)

    @property
    def is_possible(self) -> bool:
        """True unless it is known that there are no gradients."""
        return self._differentiator is not None

    def gradients(
        self, weights: Parameters, forward: Mapping[LayerIndex, Moments]
    ) -> Mapping[LayerIndex, float]:
        """Return the standard deviation of the gradient with respect to each layer's output.

        Args:
            weights: the parameters' values.
            forward: the moments of each layer's output with them, on all samples.

        Returns:
            It by layer index; nothing where the model can't be differentiated, which `why_not` then
            explains.
        """
        if self._differentiator is None:
            return {}
        try:
            signal = self._differentiator.run(weights, self._few.feeds(0), self._options.seed)
            if not self._is_checked:
                # Once is enough: the translated graph is the same for all.
                names = [planned.layer.name for planned in self._setup.plan.layers]
                refuse_different(signal, self._measured(weights, forward), names)
                self._is_checked = True
        except NoGradientsError as error:
            self._give_up(error)
            return {}
        return signal.backward

    def _translate(self, run: PreparedRun) -> None:
        setup, batches = self._setup, run.samples.batches
        if not batches.counts:
            raise NoGradientsError("the first process has no samples")
        run.inputs.events.stage("translating to PyTorch")
        samples = batches.declared or min(GRADIENT_SAMPLES, sum(batches.counts))
        while (
            batches.declared is None
            and samples > 1
            and HELD * run.budget.total_bytes(samples) > self._options.memory_bytes
        ):
            samples -= 1
        graph = differentiable_graph(setup.model, setup.layer_nodes, setup.norms, setup.measurable)
        self._differentiator = Differentiator(graph, self._options.threads)
        self._few = GivenBatches([first_samples(batches, samples)], batches.specs)
        self.samples = samples

    def _give_up(self, error: NoGradientsError) -> None:
        self.samples, self.why_not = 0, str(error)
        self._differentiator = None

    def _measured(
        self, weights: Parameters, forward: Mapping[LayerIndex, Moments]
    ) -> Mapping[LayerIndex, Moments]:
        """Return what ONNX Runtime measures on the samples of the gradients."""
        setup = self._setup
        if setup.single_batch and setup.batches.total == self.samples:
            return forward
        few = replace(setup, batches=self._few, group=SingleProcess())
        return measure_with_batch_statistics(few, weights, Silent(), lambda _segments: None)
