"""Checks of a file that another tool wrote, by the command and by ONNX Runtime."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import load_file

from support.accounting import products, unaccounted
from support.command import Run
from support.onnx_variances import layer_outputs, layer_variances, values_of, with_tensors

CLAIMED = ("converged", "max_iterations")
# A gate of a recurrent operator, and the rows of the operator's matrix that are its own.
GATE = re.compile(r"(?P<node>.+)\.W_\w")
ROWS = re.compile(r".+\[(\d+):\d+, (\d+):(\d+)\]")

# Added to the name of a product whose activation is fused with it.
PLAIN = "/plain"


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that another tool wrote, and what became of it.

    Attributes:
        code: the exit code of `init` as a user runs it.
        refusal: the sentence it ends with, if it does; the rest is then with `--names onnx`.
        statuses: the status of each layer.
        left_alone: what the report names, with reasons.
        unsaid: products that are neither.
        deviations: |variance - 1| of each layer claimed, in the original file with what was
            written, and in the file that `apply` wrote, whichever is larger.
        disagreements: what other commands say otherwise.
    """

    code: int
    refusal: str
    statuses: tuple[str, ...]
    left_alone: tuple[str, ...]
    unsaid: tuple[str, ...]
    deviations: Mapping[str, float]
    disagreements: tuple[str, ...]


def checked(model: Path, data: Path, folder: Path, run: Run) -> Checked:
    """Run init, verify, apply and inspect on a file, and measure what they wrote.

    Args:
        model: the file.
        data: an `.npz` with an array for each input.
        folder: where outputs go.
        run: runs the command.
    """
    given = ("--data", data, "--samples", "all", "--device", "cpu")
    out, applied = folder / "named.safetensors", folder / "applied.onnx"
    first = run("init", model, *given, "--out", out, "--force", "--json", "--quiet")
    refusal = first.stderr.strip().rpartition("\n")[2] if first.returncode not in (0, 4) else ""
    plain = folder / "onnx.safetensors"
    names = ("--names", "onnx")
    second = run("init", model, *given, *names, "--out", plain, "--force", "--json", "--quiet")
    if second.returncode not in (0, 4):
        return Checked(first.returncode, refusal, (), (), (), {}, ())
    report = json.loads(second.stdout)
    layers = [one for one in report["layers"] if one["status"] in CLAIMED]
    proto, batch = onnx.load(model), dict(np.load(data))
    deviations = measured(proto, load_file(plain), batch, layers)
    source = plain if refusal else out
    done = run("apply", model, source, "--out", applied, "--force", *(names if refusal else ()))
    problems = [f"apply: {done.stderr}"] if done.returncode else []
    if not done.returncode:
        again = measured(onnx.load(applied), {}, batch, layers)
        deviations = {name: max(value, again[name]) for name, value in deviations.items()}
    asked = names if refusal else ()
    problems += _disagreements(model, source, given, report, asked, run)
    return Checked(
        first.returncode,
        refusal,
        tuple(one["status"] for one in report["layers"]),
        tuple(report["left_alone"]),
        tuple(one.name for one in unaccounted(products(model, ()), report)),
        deviations,
        tuple(problems),
    )


def _disagreements(
    model: Path, weights: Path, given: Sequence[object], report: Any, names: Sequence[str], run: Run
) -> Iterator[str]:
    rows = [one["node"] for one in report["layers"]]
    done = run("verify", model, weights, *given, *names, "--json", "--quiet")
    if done.returncode not in (0, 4):
        yield f"verify: {done.stderr}"
    elif [one["node"] for one in json.loads(done.stdout)["layers"]] != rows:
        yield "verify: other layers"
    done = run("inspect", model, *names, "--json", "--quiet")
    if done.returncode:
        yield f"inspect: {done.stderr}"
    elif [one["node"] for one in json.loads(done.stdout)["layers"]] != rows:
        yield "inspect: other layers"


def measured(
    model: onnx.ModelProto,
    weights: Mapping[str, NDArray[Any]],
    batch: Mapping[str, NDArray[Any]],
    layers: Sequence[Mapping[str, Any]],
) -> dict[str, float]:
    """Return |variance - 1| of layers of the main graph, in ONNX Runtime.

    Args:
        model: the file.
        weights: the written tensors, by the file's names.
        batch: what the file is fed.
        layers: rows of a report.

    Raises:
        KeyError: a layer is not in the main graph.
    """
    model = with_plain_products(model)
    plain = [one["node"] for one in layers if not GATE.fullmatch(one["node"])]
    outputs = layer_outputs(model, plain)
    made = {value for node in model.graph.node for value in node.output}
    outputs = {
        name: f"{value}{PLAIN}" if f"{value}{PLAIN}" in made else value
        for name, value in outputs.items()
    }
    variances = layer_variances(model, weights, [batch], outputs.values())
    found = {name: abs(variances[output] - 1) for name, output in outputs.items()}
    changed = with_tensors(model, weights)
    tensors = {one.name: numpy_helper.to_array(one) for one in changed.graph.initializer}
    nodes = {one.name: one for one in model.graph.node}
    for layer in layers:
        gate, rows = GATE.fullmatch(layer["node"]), ROWS.fullmatch(layer["weight"])
        if gate is not None and rows is not None:
            node = nodes[gate["node"]]
            direction, start, stop = map(int, rows.groups())
            matrix = tensors[node.input[1]][direction, start:stop].astype(np.float64)
            (sequence,) = values_of(changed, [batch], [node.input[0]])
            found[layer["node"]] = abs(float((sequence.astype(np.float64) @ matrix.T).var()) - 1)
    return found


def with_plain_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that also makes the products on which fused activations act."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for node in model.graph.node:
        changed.graph.node.append(node)
        if node.op_type in ("FusedConv", "FusedGemm"):
            product = changed.graph.node.add()
            product.CopyFrom(node)
            product.domain, product.name = "", f"{node.name}{PLAIN}"
            product.op_type = node.op_type.removeprefix("Fused")
            product.output[0] += PLAIN
            kept = [one for one in node.attribute if not one.name.startswith("activation")]
            del product.attribute[:]
            product.attribute.extend(kept)
    return changed
