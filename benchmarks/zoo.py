"""Initialise real architectures by every road, and check in PyTorch what exit code 0 promises.

PYTHONPATH=tests python benchmarks/zoo.py [--models nfnet,bit] [--roads script,trace] [--out FILE]

Every run has a process of its own, with a time limit, and makes a line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from zoo_models import MODELS, ZooModel, prepare_libraries

from support.accounting import products, unaccounted
from support.eager_products import EagerProduct, eager_products
from support.layer_outputs import TOLERANCE
from support.promise import Initialised, emptied, initialised, written_state
from support.roads import ROADS, Inputs, by_road, save_samples, silenced

SECONDS = 300
# What follows the module's name in that of a parameter which a weight is computed from.
COMPUTED_BY = re.compile(r"(\.parametrizations\.\w+)?\.\w+(\[.*\])?$")
SHOWN = 8
TEXT = 200

# Run beforehand, so that every run has it as it forks.
WARM = ("onnxruntime", "lsuv_cli.jobs.init", "torch.onnx", "onnxscript")


def main() -> int:
    """Run what the command line asks for; return the number of broken promises."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(model.name for model in MODELS))
    parser.add_argument("--roads", default=",".join(ROADS))
    parser.add_argument("--out", type=Path, help="write the lines of JSON here, too")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of a run")
    options = parser.parse_args()
    wanted = options.models.split(",")
    models = [model for model in MODELS if model.name in wanted]
    broken = 0
    for line in run_all(models, options.roads.split(","), options.seconds):
        text = json.dumps(line)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        print(text, flush=True)
        print(summary(line), file=sys.stderr, flush=True)
        broken += is_broken(line)
    return min(broken, 100)


def run_all(models: list[ZooModel], roads: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Run every model by every road; yield the results."""
    with silenced():
        if any(model.libraries for model in models):
            prepare_libraries()
        for name in (*WARM, *(name for model in models for name in model.libraries)):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="lsuv-zoo-") as root:
        for model in models:
            folder = Path(root, model.name)
            folder.mkdir()
            for road in roads:
                yield {"model": model.name, "road": road} | forked(model, road, folder, seconds)


def forked(model: ZooModel, road: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a model by a road in a process of its own; return the result."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(there, model, road, folder))
    started = time.perf_counter()
    process.start()
    there.close()
    result: dict[str, Any] = {"problem": f"over {seconds:g} s"}
    if here.poll(seconds):
        try:
            result = here.recv()
        except EOFError:
            result = {"problem": "the process died"}
    process.kill()
    process.join()
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def answer(there: Connection, model: ZooModel, road: str, folder: Path) -> None:
    """Send the result of a run, or what ended it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(folder / f"{road}.log", os.O_WRONLY | os.O_CREAT), 2)
    result: dict[str, Any] = {"step": "make"}
    try:
        for step, more in run_steps(model, road, folder):
            result |= {"step": step, **more}
        result["step"] = "done"
    except Exception as error:  # noqa: BLE001 # of any library
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())[:TEXT]
        result["problem"] = f"{text} ({Path(where.filename).name}:{where.lineno})"
    there.send(result)
    there.close()


def run_steps(model: ZooModel, road: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of the step that comes next, and what has been found so far."""
    module, inputs = made(model, 0)
    yield "export", {}
    path = by_road(module, inputs, road, folder)
    data = save_samples(path, inputs)
    yield "init", {}
    started = time.perf_counter()
    run = initialised(path, data)
    seconds = round(time.perf_counter() - started, 2)
    yield "account", {"code": run.code, "texts": run.texts, "init_seconds": seconds}
    if not run.report:
        return
    missing = [f"{one.name} ({one.op})" for one in unaccounted(products(path, inputs), run.report)]
    statuses = dict(Counter(run.statuses.values()))
    left_alone = run.report["left_alone"]
    yield "load", {"statuses": statuses, "unaccounted": missing, "left_alone": left_alone}
    loaded = emptied(lambda: made(model, 1)[0])
    keys = loaded.load_state_dict(written_state(run), strict=False)
    lost = {"missing": keys.missing_keys, "unexpected": keys.unexpected_keys}
    yield "measure", lost
    with torch.no_grad():
        complete = bool(loaded(*inputs).isfinite().all())
    found = eager_products(loaded, inputs, run.statuses)
    yield "done", {"complete": complete, **compared(run, found)}


def made(model: ZooModel, seed: int) -> tuple[nn.Module, Inputs]:
    """Make a model in eval mode and its samples."""
    torch.manual_seed(seed)
    with silenced():
        module, _ = model.make()
        torch.manual_seed(7)
        return module.eval(), model.make()[1]


def compared(run: Initialised, found: dict[str, EagerProduct]) -> dict[str, Any]:
    """Return what PyTorch says of the rows: the worst of the layers that are said to be right."""
    worst, off, without = 0.0, [], []
    free = rows_by_module(run, found)
    for product in found.values():
        variance = product.variances[0]
        status = status_of(product, run.statuses, free)
        if status is None:
            without.append([product.weight, round(variance, 4)])
        elif status == "converged":
            deviation = abs(variance - 1)
            worst = max(worst, deviation)
            if not deviation <= TOLERANCE:
                off.append([product.weight, round(variance, 4)])
    return {"products": len(found), "worst": worst, "off": off, "without_row": without}


def rows_by_module(run: Initialised, found: dict[str, EagerProduct]) -> dict[str, str]:
    """Return the statuses of the rows that no product belongs to by name, by their modules."""
    taken = {product.weight.partition("[")[0] for product in found.values()}
    return {
        COMPUTED_BY.sub("", weight): status
        for weight, status in run.statuses.items()
        if weight.partition("[")[0] not in taken
    }


def status_of(product: EagerProduct, statuses: dict[str, str], free: dict[str, str]) -> str | None:
    """Return the status of the row that a product belongs to, or None."""
    if product.computed:
        return free.get(product.weight.removesuffix("(computed)").strip())
    if product.weight in statuses:
        return statuses[product.weight]
    whole = product.weight.partition("[")[0]
    parts = [status for weight, status in statuses.items() if weight.partition("[")[0] == whole]
    return parts[0] if parts else None


def is_broken(line: dict[str, Any]) -> bool:
    """Return whether a run promised more than PyTorch sees, or ended as no run should."""
    if "code" not in line:
        return line["step"] not in {"make", "export"}
    # What is missing does no harm if the module computes without it: no file has it then.
    kept = line.get("complete") and not any(
        line[key] for key in ("unexpected", "off", "unaccounted")
    )
    return line["code"] in {0, 4} and not kept


def summary(line: dict[str, Any]) -> str:
    """Return a result in one row of a table."""
    code = line.get("code", "-")
    cells = [f"{line['model']:15} {line['road']:7} {code!s:>2} {line['seconds']:6.1f} s"]
    if "statuses" in line:
        cells.append(", ".join(f"{count} {word}" for word, count in line["statuses"].items()))
    if "worst" in line:
        cells.append(f"worst {line['worst']:.1e} of {line['products']}")
    for key in ("missing", "unexpected", "off", "without_row", "unaccounted"):
        if line.get(key):
            shown = [str(one) for one in line[key][:SHOWN]]
            cells.append(f"{key} {len(line[key])}: {' '.join(shown)}")
    if "problem" in line:
        cells.append(f"{line.get('step')}: {line['problem']}")
    elif line.get("code") in {2, 3}:
        cells.append(line["texts"][-1][:TEXT])
    return " | ".join(cells)


if __name__ == "__main__":
    sys.exit(main())
