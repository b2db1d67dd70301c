"""One model of the zoo by one road: made, given to `lsuv`, loaded strictly and run in PyTorch."""

from __future__ import annotations

import math
import re
import resource
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from zoo_entry import Inputs, ZooModel, flatten

from support.accounting import products, unaccounted
from support.eager_products import EagerProduct, eager_products
from support.layer_outputs import LAYERS, TOLERANCE
from support.promise import (
    Initialised,
    emptied,
    initialised,
    initialised_in_place,
    written_state,
)
from support.roads import by_road, save_samples, silenced

ROADS = ("module", "pt2", "dynamo", "unopt", "script", "trace", "like", "lsuv")
# What follows the module's name in that of a parameter which a weight is computed from.
COMPUTED_BY = re.compile(r"(\.parametrizations\.\w+)?\.\w+(\[.*\])?$")
LISTED = 12  # of names in a line of JSON

Steps = Iterator[tuple[str, dict[str, Any]]]


def run_steps(model: ZooModel, road: str, folder: Path) -> Steps:
    """Yield the name of the step that comes next, and what has been found so far."""
    if road == "lsuv":
        yield from _package_steps(model)
        return
    yield "make", {"start_mb": peak_mb()}
    module, inputs = made(model, 0)
    if road == "module":
        yield "init", {}
        started = time.perf_counter()
        with silenced():
            run = initialised_in_place(module, as_batch(inputs))
        more: dict[str, Any] = {}
    else:
        yield "export", {}
        values = flatten(module, inputs)
        path = by_road(module, values, "trace" if road == "like" else road, folder)
        data = save_samples(path, values)
        options: dict[str, Any] = {}
        if road == "like":
            options["like"] = folder / "like.pth"
            torch.save(module.state_dict(), options["like"])
        yield "init", {}
        started = time.perf_counter()
        run = initialised(path, data, **options)
        if run.report and path.suffix == ".onnx":
            found = unaccounted(products(path, values), run.report)
            more = {"unaccounted": [f"{one.name} ({one.op})" for one in found][:LISTED]}
        else:
            more = {}
    seconds = round(time.perf_counter() - started, 2)
    yield "load", {"code": run.code, "init_seconds": seconds, "peak_mb": peak_mb(), **more}
    if not run.report:
        yield "done", {"refusal": " ".join(run.texts[-1].split())}
        return
    left_alone = run.report["left_alone"]
    yield "load", {"statuses": dict(Counter(run.statuses.values())), "left_alone": left_alone}
    yield from _loaded_steps(model, run)


def _loaded_steps(model: ZooModel, run: Initialised) -> Steps:
    """Load what was written into a new model and run it."""
    _, inputs = made(model, 0)
    loaded = emptied(lambda: made(model, 1)[0])
    state: Any = OrderedDict(written_state(run))
    # A file of weights has no metadata, without which mnasnet loads no file, whoever wrote it.
    state._metadata = getattr(loaded.state_dict(), "_metadata", {})  # noqa: SLF001
    keys = loaded.load_state_dict(state, strict=False)
    lost = {"missing": keys.missing_keys, "unexpected": keys.unexpected_keys}
    yield (
        "measure",
        {"strict": not any(lost.values())}
        | {name: names[:LISTED] for name, names in lost.items() if names},
    )
    values = flatten(loaded, inputs)
    with torch.no_grad():
        complete = all(bool(out.isfinite().all()) for out in loaded(*values))
    found = eager_products(loaded, values, run.statuses)
    yield "done", {"complete": complete, **compared(run, found)}


def _package_steps(model: ZooModel) -> Steps:
    """Run the `lsuv` package of PyPI on a model, as its users do."""
    import lsuv

    yield "make", {"start_mb": peak_mb()}
    module, inputs = made(model, 0)
    data = as_batch(inputs)
    called = module if isinstance(data, Tensor) else _Called(module)
    yield "init", {}
    started = time.perf_counter()
    lsuv.lsuv_with_singlebatch(called, data, verbose=False)
    seconds = round(time.perf_counter() - started, 2)
    yield "measure", {"init_seconds": seconds, "peak_mb": peak_mb()}
    own = {f"{name}.weight" for name, one in module.named_modules() if isinstance(one, LAYERS)}
    found = eager_products(module, flatten(module, inputs))
    deviations = [abs(one.variances[0] - 1) for one in found.values() if one.weight in own]
    off = sum(not deviation <= TOLERANCE for deviation in deviations)
    worst = figure(max(deviations, key=lambda one: (math.isnan(one), one), default=0.0))
    yield "done", {"products": len(found), "layers": len(deviations), "worst": worst, "off": off}


class _Called(nn.Module):
    """Calls a module that takes more than the one argument which the package gives."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, given: Any) -> Any:
        return self.net(**given) if isinstance(given, dict) else self.net(*given)


def as_batch(inputs: Inputs) -> Any:
    """Return samples as a loader gives them: a tensor alone is in no tuple."""
    return inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs


def made(model: ZooModel, seed: int) -> tuple[nn.Module, Inputs]:
    """Make a model in eval mode and its samples, which are the same for every seed."""
    with silenced():
        torch.manual_seed(7)
        _, inputs = model.make()
        torch.manual_seed(seed)
        module, _ = model.make()
    return module.eval(), inputs


def figure(value: float) -> float | str:
    """Return a number as JSON can hold it."""
    return float(f"{value:.2e}") if math.isfinite(value) else str(value)


def peak_mb() -> int:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def compared(run: Initialised, found: Mapping[str, EagerProduct]) -> dict[str, Any]:
    """Return what PyTorch says of the rows: the worst of the layers that are said to be right."""
    worst, off, silent = 0.0, [], []
    free = rows_by_module(run, found)
    # Nodes are named after modules, with slashes.
    rows = {row["name"]: row["status"] for row in run.report["layers"]}
    told = " ".join(run.report["left_alone"]).replace("/", ".")
    for product in found.values():
        variance = product.variances[0]
        # A weight without a name in the state_dict has its module's.
        module = product.weight.rpartition(".")[0]
        status = status_of(product, run.statuses, free) or rows.get(module)
        if status is None:
            owner = COMPUTED_BY.sub("", product.weight.removesuffix("(computed)").strip())
            if not owner or owner not in told:
                silent.append([product.weight, round(variance, 4)])
        elif status == "converged":
            deviation = abs(variance - 1)
            worst = max(worst, deviation)
            if not deviation <= TOLERANCE:
                off.append([product.weight, round(variance, 4)])
    lists = {"off": off[:LISTED], "silent": silent[:LISTED]}
    more = {name: rows for name, rows in lists.items() if rows}
    return {"products": len(found), "worst": figure(worst), **more}


def rows_by_module(run: Initialised, found: Mapping[str, EagerProduct]) -> dict[str, str]:
    """Return the statuses of the rows that no product belongs to by name, by their modules."""
    taken = {product.weight.partition("[")[0] for product in found.values()}
    return {
        COMPUTED_BY.sub("", weight): status
        for weight, status in run.statuses.items()
        if weight.partition("[")[0] not in taken
    }


def status_of(
    product: EagerProduct, statuses: Mapping[str, str], free: Mapping[str, str]
) -> str | None:
    """Return the status of the row that a product belongs to, or None."""
    if product.computed:
        return free.get(product.weight.removesuffix("(computed)").strip())
    if product.weight in statuses:
        return statuses[product.weight]
    whole = product.weight.partition("[")[0]
    parts = [status for weight, status in statuses.items() if weight.partition("[")[0] == whole]
    return parts[0] if parts else None


def is_broken(line: Mapping[str, Any]) -> bool:
    """Return whether a run promised more than PyTorch sees, or ended as no run should."""
    if line["road"] == "lsuv":
        return False
    if "code" not in line:
        return line.get("step") not in {"make", "export"}
    if line["code"] not in {0, 4}:
        return False
    # What is missing does no harm if the module computes without it: no ONNX file has it then.
    wrong = ("unexpected", "off", "silent", "unaccounted", "problem")
    in_full = line["road"] in {"module", "pt2", "like"}
    return (
        any(line.get(key) for key in wrong)
        or not line.get("complete")
        or (in_full and not line.get("strict"))
    )
