"""How much longer the sweep takes than a plain forward pass of the same batch.

    python benchmarks/sweep_overhead.py             # every sample model
    python benchmarks/sweep_overhead.py fitnet4     # some

Plain: the original model file in a session with ONNX Runtime's defaults, the outputs those of the
model. Sweep: the graph that `lsuv init` runs, on orthonormal weights. Both are timed in turn.
"""

from __future__ import annotations

import argparse

import common
import onnxruntime as ort

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.state import SweepState, SweptModel
from lsuv_cli.instrument.sweep_graph import sweep_graph
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime.devices import select_device
from lsuv_cli.runtime.session import Session

GOAL = 1.15


def sweep_of(model: OnnxModel, weights: Parameters, feeds: Feeds) -> InstrumentedGraph:
    """The graph of the sweep over one batch, with the command's default options.

    Args:
        model: the model.
        weights: its; drawn anew.
        feeds: the batch.
    """
    work = common.work_on(model, GivenBatches([feeds]))
    common.draw(work, weights)
    whole = Sweeper(work, weights, common.Silent().advance).segments[0]
    about = SweptModel(model, work.layer_nodes, work.plan, work.norms, work.single_batch)
    specs = {
        name: InputSpec(name, value.dtype.name, (None, *value.shape[1:]))
        for name, value in feeds.items()
    }
    return sweep_graph(about, weights, whole, specs, SweepState())[0]


def measure(name: str, rounds: int, openings: int) -> list[str]:
    """One row of the table."""
    case = common.case(name)
    model, weights = read_model(case.model)
    feeds = case.feeds(model.inputs)
    graph = sweep_of(model, weights, feeds)
    taps = [tap.output for tap in graph.taps.values()]
    device = select_device("cpu", None, 0, print)
    plain: list[ort.InferenceSession] = []
    sweep: list[Session] = []

    def open_plain() -> None:
        plain[:] = [ort.InferenceSession(case.model, providers=["CPUExecutionProvider"])]

    def open_sweep() -> None:
        sweep[:] = [Session(graph.model, graph.initializers, device)]

    def run_plain() -> None:
        plain[0].run(None, feeds)

    def run_sweep() -> None:
        sweep[0].run(taps, feeds)

    # A session's first run is slower: it allocates what the later ones reuse.
    opened = common.interleaved(
        [
            ("open plain", open_plain),
            ("cold plain", run_plain),
            ("open sweep", open_sweep),
            ("cold sweep", run_sweep),
        ],
        openings,
    )
    warm = common.interleaved([("plain", run_plain), ("sweep", run_sweep)], rounds)
    ratio = min(warm["sweep"]) / min(warm["plain"])
    return [
        name,
        str(case.count),
        f"{min(warm['plain']):.3f}",
        f"{min(warm['sweep']):.3f}",
        f"{ratio:.2f}",
        f"{common.median_ratio(warm['sweep'], warm['plain']):.2f}",
        common.verdict(ratio <= GOAL),
        f"{min(opened['cold sweep']) / min(opened['cold plain']):.2f}",
        f"{min(opened['open plain']):.3f}",
        f"{min(opened['open sweep']):.3f}",
    ]


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description="Time the sweep against a plain forward pass.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="warm runs of each")
    parser.add_argument("--openings", type=int, default=5, help="sessions of each")
    options = parser.parse_args()
    rows = [
        measure(name, options.rounds, options.openings)
        for name in options.names or common.model_names()
    ]
    common.print_table(
        f"Sweep and plain forward pass, seconds: the least of {options.rounds} warm runs "
        f"(and the median of the ratios run by run), of {options.openings} openings and "
        f"{options.openings} first runs; goal <= {GOAL}",
        [
            *("model", "batch", "plain", "sweep", "sweep / plain", "median"),
            *("goal", "cold ratio", "open plain", "open sweep"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
