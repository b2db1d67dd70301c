"""The whole `lsuv init` command beside the `lsuv` package of PyPI in a PyTorch script.

    python benchmarks/whole_command.py              # fitnet4 and googlenet
    python benchmarks/whole_command.py fitnet4      # one

Whole processes on the same picture files, timed in turn; before, a check that the PyTorch network
computes what the ONNX model does, after, how near to unit variance each came.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import common
import competitor
import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import Feeds
from lsuv_cli.engine.measure_outputs import measure_outputs
from lsuv_cli.reading.onnx_file import read_model

GOAL = 30.0
SAME_OUTPUT = 1e-4
ROUNDS = {"fitnet4": 3, "googlenet": 1}

OURS = "lsuv init"
UNVERIFIED = "lsuv init --no-verify"
THEIRS = "PyTorch + lsuv 0.3.0"
CALL = "lsuv 0.3.0, the call alone"


def check_same_network(case: common.Case, weights: Mapping[str, FloatArray], feeds: Feeds) -> float:
    """The largest difference between PyTorch's and ONNX Runtime's outputs.

    On weights that keep the signal alive: with those of a new network the outputs hardly depend
    on the input, and would agree in any case.
    """
    model = onnx.load(case.model)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(weights[tensor.name]), tensor.name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, feeds)
    build, _ = competitor.NETWORKS[case.name]
    network = build().eval()
    network.load_state_dict(
        {
            tensor.name: torch.tensor(numpy_helper.to_array(tensor))
            for tensor in model.graph.initializer
        }
    )
    (batch,) = feeds.values()
    with torch.inference_mode():
        actual = network(torch.from_numpy(batch)).numpy()
    difference = float(np.abs(actual - expected).max())
    if not difference <= SAME_OUTPUT:
        sys.exit(f"{case.name} in PyTorch is another network: outputs differ by {difference:.2g}")
    return difference


def worst_deviation(case: common.Case, weights: Mapping[str, FloatArray], feeds: Feeds) -> float:
    """The largest |Var - 1| over the layers, measured on the untouched graph."""
    model, values = read_model(case.model)
    for name, value in weights.items():
        values.set(name, value)
    work = common.work_on(model, GivenBatches([feeds]))
    moments = measure_outputs(work, values, common.Silent())
    return max(one.deviation(1.0, per_channel=False) for one in moments.values())


def compare(name: str, rounds: int) -> None:
    """Measure one network and print its table."""
    case = common.case(name)
    model, _ = read_model(case.model)
    feeds = case.feeds(model.inputs)
    _, size = competitor.NETWORKS[name]
    inside: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.safetensors"), Path(folder, "theirs.pt")
        script = [str(common.HERE / "competitor.py"), name, str(case.images), str(theirs)]

        def run_ours() -> None:
            common.captured(case.command(ours))

        def run_unverified() -> None:
            common.captured(case.command(Path(folder, "unverified.safetensors"), "--no-verify"))

        def run_theirs() -> None:
            inside.append(float(common.captured([sys.executable, *script])))

        run_ours()
        difference = check_same_network(case, load_file(ours), feeds)
        brief = [(OURS, run_ours), (UNVERIFIED, run_unverified)]
        seconds = common.interleaved([*brief, (THEIRS, run_theirs), *brief], rounds)
        seconds[CALL] = inside
        state = torch.load(theirs, weights_only=True)
        their_weights = {key: np.asarray(value) for key, value in state.items()}
        # Theirs is measured on the batch it was given: a script's own decoding may differ a little.
        their_batch = competitor.load_batch(case.images, size).numpy()
        deviations = {
            OURS: worst_deviation(case, load_file(ours), feeds),
            THEIRS: worst_deviation(case, their_weights, {model.inputs[0].name: their_batch}),
        }
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    common.print_table(
        f"{name}, {'x'.join(map(str, their_batch.shape))}: seconds of whole processes, the median "
        f"of {2 * rounds} (ours) and {rounds} (theirs), in turn; the networks' outputs differ by "
        f"{difference:.1g}",
        ["process", "seconds", f"times {OURS}", f"times {UNVERIFIED}", "max |Var - 1|"],
        [
            [
                label,
                f"{medians[label]:.2f}",
                f"{medians[label] / medians[OURS]:.1f}",
                f"{medians[label] / medians[UNVERIFIED]:.1f}",
                f"{deviations[label]:.1e}" if label in deviations else "",
            ]
            for label in (OURS, UNVERIFIED, THEIRS, CALL)
        ],
    )
    for label in (OURS, UNVERIFIED):
        ratio = medians[THEIRS] / medians[label]
        print(f"\n{label}: {ratio:.1f} times faster, goal >= {GOAL:.0f}: ", end="")
        print(common.verdict(ratio >= GOAL), flush=True)


def main() -> None:
    """Compare on the networks named on the command line."""
    parser = argparse.ArgumentParser(description="Time the whole command against lsuv 0.3.0.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ROUNDS)}")
    parser.add_argument("--rounds", type=int, help="processes of theirs, half as many as of ours")
    options = parser.parse_args()
    for name in options.names or ROUNDS:
        compare(name, options.rounds or ROUNDS[name])


if __name__ == "__main__":
    main()
