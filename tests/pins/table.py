"""Table of what the pinned cases give on every machine, up to rounding.

For each case: the commands' exit codes; of each report by `init` the status and the scale of each
layer, of any other report all of it but what rounding decides; and of each tensor written its
dtype, shape, root mean square, and first, middle and last value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pins.contents import read_contents, root_mean_square, spacing
from pins.running import Outcome

Array = NDArray[Any]

EXPECTED = Path(__file__).with_name("expected.json")
DIGITS = 8
NEXT_TO_ZERO = 1e-6  # of numbers whose scale is 1: standardised outputs, and what follows from them

# Of the machine or the version, of the file format's padding, or of rounding alone.
LEFT_OUT = frozenset(("version", "sha256", "device", "bytes", "deviation", "distribution"))


def summary(outcome: Outcome) -> dict[str, Any]:
    """A case's entry, as JSON has it."""
    return {
        "codes": [step.code for step in outcome.steps],
        "reports": [_report(step.document) for step in outcome.steps],
        "files": {name: _tensors(path) for name, path in outcome.files.items()},
    }


def _report(document: Any) -> Any:
    if isinstance(document, Mapping) and document["schema"].startswith("lsuv.report/"):
        return {
            "layers": [[one["name"], one["status"], one["scale"]] for one in document["layers"]]
        }
    return _reduced(document)


def _reduced(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _reduced(one) for key, one in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        return [_reduced(one) for one in value]
    return value


def _tensors(path: Path) -> dict[str, Any]:
    return {name: _tensor(value) for name, value in read_contents(path).tensors.items()}


def _tensor(values: Array) -> list[Any]:
    flat = values.reshape(-1).astype(np.float64)
    chosen = [float(flat[index]) for index in sorted({0, flat.size // 2, flat.size - 1})]
    return [str(values.dtype), list(values.shape), root_mean_square(values), chosen]


def deviations(expected: Any, found: Any, rounding: float) -> Iterator[str]:
    """Where a case's entry is not what the table says.

    Args:
        expected: the table's entry.
        found: the entry of a new outcome.
        rounding: relative difference of numbers that is allowed.
    """
    for key in ("codes", "reports"):
        yield from _deviations(expected[key], found[key], rounding, NEXT_TO_ZERO, key)
    if expected["files"].keys() != found["files"].keys():
        yield f"files: {list(expected['files'])} -> {list(found['files'])}"
        return
    for file, tensors in expected["files"].items():
        others = found["files"][file]
        if list(tensors) != list(others):
            yield f"{file}: tensors {list(tensors)} -> {list(others)}"
            continue
        for name, (dtype, shape, rms, chosen) in tensors.items():
            other_dtype, other_shape, other_rms, other_chosen = others[name]
            place = f"{file}, tensor {name}"
            if (dtype, shape) != (other_dtype, other_shape):
                yield f"{place}: {dtype} {shape} -> {other_dtype} {other_shape}"
                continue
            # A value next to zero is rounded as those are that it was computed from.
            relative = max(rounding, 2 * spacing(np.dtype(dtype)))
            absolute = 5 * relative * rms + NEXT_TO_ZERO
            yield from _deviations(rms, other_rms, relative, NEXT_TO_ZERO, f"{place}: size")
            yield from _deviations(chosen, other_chosen, relative, absolute, f"{place}: values")


def _deviations(
    expected: Any, found: Any, relative: float, absolute: float, place: str
) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if expected.keys() != found.keys():
            yield f"{place}: keys {sorted(expected)} -> {sorted(found)}"
        for key in expected.keys() & found.keys():
            yield from _deviations(expected[key], found[key], relative, absolute, f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{place}: {len(expected)} -> {len(found)} elements"
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            name = one[0] if isinstance(one, list) and one and isinstance(one[0], str) else index
            yield from _deviations(one, other, relative, absolute, f"{place}[{name}]")
    elif isinstance(expected, float) and isinstance(found, float):
        if not math.isclose(expected, found, rel_tol=relative, abs_tol=absolute):
            yield f"{place}: {expected} -> {found}"
    elif expected != found:
        yield f"{place}: {expected!r} -> {found!r}"


def read_table() -> dict[str, Any]:
    """The entries by the cases' names."""
    table: dict[str, Any] = json.loads(EXPECTED.read_bytes())
    return table


def write_table(table: Mapping[str, Any]) -> None:
    """Write the entries, in lines that show in a diff what changed."""
    lines = []
    for case, entry in table.items():
        files = [
            f"   {json.dumps(file)}: {{\n"
            + ",\n".join(f"    {json.dumps(n)}: {_text(one)}" for n, one in tensors.items())
            + "}"
            for file, tensors in entry["files"].items()
        ]
        reports = ",\n".join(f"   {_report_text(one)}" for one in entry["reports"])
        lines.append(
            f' {json.dumps(case)}: {{\n  "codes": {_text(entry["codes"])},\n'
            f'  "reports": [\n{reports}],\n  "files": {{\n' + ",\n".join(files) + "}}"
        )
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "}\n")


def _report_text(report: Any) -> str:
    if report is None or "layers" not in report:
        return _text(report)
    layers = ",\n".join(f"     {_text(one)}" for one in report["layers"])
    rest = [f"{_text(key)}: {_text(one)}" for key, one in report.items() if key != "layers"]
    return "{" + ",\n    ".join([*rest, f'"layers": [\n{layers}]']) + "}"


def _text(value: Any) -> str:
    return json.dumps(_rounded(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
