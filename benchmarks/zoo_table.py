"""Write docs/zoo.md from the lines of JSON that zoo.py makes.

    python benchmarks/zoo_table.py [zoo.jsonl]

Run in the environment of the zoo, whose versions it names.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo_run import ROADS, is_broken

HERE = Path(__file__).parent
LIBRARIES = (
    *("torch", "onnx", "onnxscript", "onnxruntime-gpu", "timm", "torchvision"),
    *("transformers", "diffusers", "ultralytics", "lsuv"),
)
OURS = tuple(road for road in ROADS if road != "lsuv")
HEADINGS = {
    "module": "`initialize_(module, batch)`",
    "pt2": "`.pt2`, of `torch.export.save`",
    "dynamo": "ONNX, `torch.onnx.export(dynamo=True)`",
    "unopt": "ONNX, `dynamo=True, optimize=False`",
    "script": "ONNX, `dynamo=False`, not folded",
    "trace": "TorchScript, traced",
    "like": "TorchScript, traced, with `--like`",
}
DOUBT = (
    "right, but the file has buffers that are not the module's, and a strict load fails: a warning "
    "names them, since TorchScript does not tell"
)
# The kinds of results, the best first, and what is written of them.
KINDS = {
    "right": ("yes", "exit 0, loads strictly, every layer has unit variance, nothing is silent"),
    "said": ("said", "the same but exit code 4: the table says of some layers that they are not"),
    "lax": (
        "lax",
        "right, but a strict load wants what the file has lost: tied names, unused parameters",
    ),
    "doubt": ("doubt", DOUBT),
    "refused": ("refused", "one sentence, exit code 2 or 3, nothing written"),
    "export": ("export", "PyTorch could not write the file: `lsuv` never saw it"),
    "slow": ("slow", "not done within the time limit"),
    "broken": ("**broken**", "a promise that does not hold, or an error of the tool"),
}
Line = Mapping[str, Any]


def kind(line: Line) -> str:
    """Return the kind of a result."""
    if str(line.get("problem", "")).startswith("over "):
        return "slow"
    in_doubt = line["road"] == "trace" and bool(line.get("unexpected"))
    if is_broken({**line, "unexpected": []} if in_doubt else line):
        return "broken"
    if "code" not in line:
        return "export"
    if line["code"] not in {0, 4}:
        return "refused"
    if not line.get("strict"):
        return "doubt" if in_doubt else "lax"
    return "right" if line["code"] == 0 else "said"


def reason(line: Line) -> str:
    """Return why a result is not right."""
    words = [
        f"{key}: {', '.join(str(one[0] if isinstance(one, list) else one) for one in line[key])}"
        for key in ("unexpected", "off", "silent", "unaccounted")
        if line.get(key)
    ]
    words += [str(line[key]) for key in ("refusal", "problem") if line.get(key)]
    if line.get("missing"):
        words.append(f"missing: {', '.join(line['missing'][:4])}")
    text = "; ".join(words) or "not strictly"
    # The folder is another one at each run, and exporters write in colour.
    shown = re.sub(r"\S*/lsuv-zoo[^/]*/\d+/|\x1b?\[\d+m", "", text)
    return shown.replace("|", "\\|").replace("<", "&lt;")[:300]


def totals(lines: Sequence[Line]) -> list[str]:
    """Return the table of totals by road."""
    words = " | ".join(word for word, _ in KINDS.values())
    heads = ("road", "runs", words, "right", "worst \\|Var - 1\\|", "median s", "median MB")
    rows = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(KINDS) + 5)}"]
    for road in OURS:
        mine = [line for line in lines if line["road"] == road]
        if not mine:
            continue
        counts = Counter(map(kind, mine))
        given = sum(counts[name] for name in ("right", "said", "lax", "doubt", "broken"))
        good = counts["right"] + counts["said"]
        done = [line for line in mine if isinstance(line.get("worst"), float)]
        worst = max((line["worst"] for line in done), default=0.0)
        cells = [str(counts[name] or "") for name in KINDS]
        share = f"{good} of {given}, {100 * good / given:.0f} %" if given else ""
        rows.append(
            f"| {HEADINGS[road]} | {len(mine)} | {' | '.join(cells)} | {share} | {worst:.1e} "
            f"| {median(done, 'init_seconds'):.1f} | {median(done, 'peak_mb'):.0f} |"
        )
    return rows


def median(lines: Iterable[Line], key: str) -> float:
    """Return the median of a figure."""
    values: list[float] = [float(line[key]) for line in lines if key in line]
    return statistics.median(values) if values else 0.0


def beside(lines: Sequence[Line]) -> list[str]:
    """Return what the package of PyPI does on the same modules."""
    theirs = {line["model"]: line for line in lines if line["road"] == "lsuv"}
    ours = {line["model"]: line for line in lines if line["road"] == "module"}
    both = [name for name in theirs if "worst" in theirs[name] and "worst" in ours.get(name, {})]
    ended = sum("worst" in line for line in theirs.values())
    if not both:
        return ["Not run."]
    within = sum(theirs[name].get("off", 0) == 0 for name in both)
    text = (
        f"`lsuv` 0.3.0 was run on {len(theirs)} of the modules and ended on {ended}. On the "
        f"{len(both)} that both ended on, the layers of its kinds (`nn.Linear`, `nn.Conv*d`) all "
        f"had a variance within 1e-3 in {within}; its own tolerance is 0.1 on the standard "
        "deviation. Median seconds: "
        f"{median([theirs[name] for name in both], 'init_seconds'):.1f}, and "
        f"{median([ours[name] for name in both], 'init_seconds'):.1f} by `initialize_`, most of "
        "which is the conversion. Median of the worst |Var - 1|: "
        f"{median([theirs[name] for name in both], 'worst'):.1e} and "
        f"{median([ours[name] for name in both], 'worst'):.1e}."
    )
    ends = [
        f"- {name}: {reason(line)}" for name, line in sorted(theirs.items()) if "worst" not in line
    ]
    return [text, "", "What ended it:", "", *ends] if ends else [text]


def matrix(lines: Sequence[Line]) -> list[str]:
    """Return the table of models by roads."""
    by_model: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        by_model[line["model"]][line["road"]] = line
    rows = [
        f"| model | {' | '.join(OURS)} | s | MB | `lsuv` 0.3.0: s | worst |",
        f"| --- |{' --- |' * len(OURS)} ---: | ---: | ---: | ---: |",
    ]
    for name, roads in sorted(by_model.items()):
        cells = [KINDS[kind(roads[road])][0] if road in roads else "" for road in OURS]
        module, theirs = roads.get("module", {}), roads.get("lsuv", {})
        cells += [figure(module, "init_seconds", ".1f"), figure(module, "peak_mb", "d")]
        cells += [figure(theirs, "init_seconds", ".1f"), figure(theirs, "worst", ".1e")]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def figure(line: Line, key: str, form: str) -> str:
    """Return a figure of a line, or nothing."""
    value = line.get(key, "")
    return value if isinstance(value, str) else format(value, form)


def failures(lines: Sequence[Line]) -> list[str]:
    """Return every result that is not right, with its reason, alike ones together."""
    rows: list[str] = []
    for road in OURS:
        alike: dict[tuple[str, str], list[str]] = defaultdict(list)
        for line in lines:
            if line["road"] == road and kind(line) not in {"right", "said"}:
                alike[KINDS[kind(line)][0], reason(line)].append(line["model"])
        if alike:
            rows += [
                "",
                f"### {HEADINGS[road]}",
                "",
                "| models | result | reason |",
                "| --- | --- | --- |",
            ]
            rows += [
                f"| {', '.join(names)} | {word} | {text} |" for (word, text), names in alike.items()
            ]
    return rows


def versions() -> str:
    """Return the versions of what is installed."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Python {python}, {', '.join(found)}"


def main() -> None:
    """Write the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "zoo.jsonl"
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    text = (HERE / "zoo_page.md").read_text(encoding="utf-8")
    parts = {
        "MODELS": str(len({line["model"] for line in lines})),
        "VERSIONS": versions(),
        "LEGEND": "\n".join(f"- {word}: {what}" for word, what in KINDS.values()),
        "TOTALS": "\n".join(totals(lines)),
        "BESIDE": "\n".join(beside(lines)),
        "MATRIX": "\n".join(matrix(lines)),
        "FAILURES": "\n".join(failures(lines)),
        "NOT_RUN": not_run(lines),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    (HERE.parent / "docs" / "zoo.md").write_text(text, encoding="utf-8")


def not_run(lines: Sequence[Line]) -> str:
    """Return how many models of the zoo each road has not been run on, in a sentence."""
    from zoo import MODELS

    done = Counter(line["road"] for line in lines)
    counts = [f"`{road}` {done[road]}" for road in ROADS]
    return f"Of {len(MODELS)} models, run by road: {', '.join(counts)}."


if __name__ == "__main__":
    main()
