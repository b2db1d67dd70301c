"""Initialise real architectures by every road, and check in PyTorch what exit code 0 promises.

    PYTHONPATH=tests python benchmarks/zoo.py [--models timm/,swin] [--roads pt2] [--out FILE]

Every run has a process of its own, with a time limit, and makes a line of JSON. What --out has
already is not run again. `zoo_table.py` makes docs/zoo.md of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import zoo_diffusers
import zoo_timm
import zoo_torchvision
import zoo_transformers
from torch.onnx._internal.exporter._registration import ONNXRegistry
from zoo_entry import ZooModel
from zoo_models import HAND_MADE, prepare_libraries
from zoo_run import ROADS, is_broken, peak_mb, run_steps

from support.roads import registry, silenced

SECONDS = 120
SHOWN = 8
TEXT = 200
# Run beforehand, so that every run has it as it forks.
WARM = ("onnxruntime", "lsuv_cli.jobs.init", "lsuv_cli.api.calls", "torch.onnx", "onnxscript")
TABLES = (
    zoo_timm.MODELS,
    zoo_torchvision.MODELS,
    zoo_transformers.MODELS,
    zoo_diffusers.MODELS,
    HAND_MADE,
)
# In turn, so that the first ones are a bit of everything.
MODELS = [model for model in chain.from_iterable(zip_longest(*TABLES)) if model is not None]

Run = tuple[ZooModel, str]


def main() -> int:
    """Run what the command line asks for; return the number of broken promises."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="", help="parts of their names, by commas")
    parser.add_argument("--roads", default=",".join(ROADS))
    parser.add_argument("--out", type=Path, help="append the lines of JSON here, too")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of a run")
    options = parser.parse_args()
    done = set(known(options.out)) if options.out else set()
    runs = [
        (model, road)
        for model in MODELS
        if any(part in model.name for part in options.models.split(","))
        for road in options.roads.split(",")
        if (model.name, road) not in done
    ]
    broken = 0
    for line in run_all(runs, options.seconds):
        text = json.dumps(line, separators=(",", ":"))
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        print(summary(line), flush=True)
        broken += is_broken(line)
    return min(broken, 100)


def known(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the runs that a file has the results of."""
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            yield line["model"], line["road"]


def run_all(runs: Sequence[Run], seconds: float) -> Iterator[dict[str, Any]]:
    """Run models by roads; yield the results."""
    with silenced():
        prepare_libraries()
        libraries = dict.fromkeys(name for model, _ in runs for name in model.libraries)
        for name in (*WARM, *libraries):
            importlib.import_module(name)
        registry()
        # Seconds are those of a process that has converted before.
        vars_of: Any = ONNXRegistry
        vars_of.from_torchlib = staticmethod(registry)
    with tempfile.TemporaryDirectory(prefix="lsuv-zoo-") as root:
        for number, (model, road) in enumerate(runs):
            folder = Path(root, str(number))
            folder.mkdir()
            yield {"model": model.name, "road": road} | forked(model, road, folder, seconds)
            for path in folder.iterdir():
                path.unlink()


def forked(model: ZooModel, road: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a model by a road in a process of its own; return the result."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(there, model, road, folder))
    started = time.perf_counter()
    process.start()
    there.close()
    result: dict[str, Any] = {}
    while "problem" not in result and result.get("step") != "done":
        if not here.poll(max(0.0, started + seconds - time.perf_counter())):
            result["problem"] = f"over {seconds:g} s"
            break
        try:
            result |= here.recv()
        except EOFError:
            result["problem"] = "the process died"
    process.kill()
    process.join()
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def answer(there: Connection, model: ZooModel, road: str, folder: Path) -> None:
    """Send the results of a run step by step, and what ended it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT), 2)
    try:
        for step, more in run_steps(model, road, folder):
            there.send({"step": step, **more})
    except Exception as error:  # noqa: BLE001 # of any library
        frames = traceback.extract_tb(error.__traceback__)
        where = ", ".join(f"{Path(one.filename).name}:{one.lineno}" for one in frames[-2:])
        text = " ".join(f"{type(error).__name__}: {error}".split())[:TEXT]
        there.send({"problem": f"{text} ({where})", "peak_mb": peak_mb()})
    there.close()


def summary(line: dict[str, Any]) -> str:
    """Return a result in one row of a table."""
    mark = "BROKEN" if is_broken(line) else ""
    code = line.get("code", "-")
    cells = [f"{line['model']:32} {line['road']:7} {code!s:>2} {line['seconds']:6.1f} s {mark}"]
    if "statuses" in line:
        cells.append(", ".join(f"{count} {word}" for word, count in line["statuses"].items()))
    if "worst" in line:
        cells.append(f"worst {line['worst']:.1e} of {line['products']}")
    for key in ("missing", "unexpected", "off", "silent", "unaccounted"):
        if isinstance(line.get(key), list) and line[key]:
            shown = [str(one) for one in line[key][:SHOWN]]
            cells.append(f"{key} {len(line[key])}: {' '.join(shown)}")
    if "problem" in line:
        cells.append(f"{line.get('step')}: {line['problem']}")
    if "refusal" in line:
        cells.append(line["refusal"][:TEXT])
    return " | ".join(cells)


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
