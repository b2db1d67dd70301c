"""PyTorch's names for an ONNX file's parameters.

Both of PyTorch's exporters keep the names of most parameters. The weight of a Linear on an input of
more than two axes becomes a transposed constant with a made-up name (`onnx::MatMul_289`, `val_17`);
what remains of its module's path is in its bias's name, in the node's metadata (dynamo) or in the
node's name (script).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lsuv_cli.core.layout import Order, TensorInfo
from lsuv_cli.model.exporter import MADE_UP, scopes
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.norms import find_norms
from lsuv_cli.model.onnx_file import OnnxModel
from lsuv_cli.model.stored import Naming, Stored, stored_as
from lsuv_cli.model.views import Step, Transposed


def torch_names(
    model: OnnxModel, sites: Sequence[LayerSite], parameters: Mapping[str, TensorInfo]
) -> tuple[Naming, list[str]]:
    """The parameters under PyTorch's names, in PyTorch's shapes.

    Constants with made-up names that no layer uses are left out: they are no parameters there. A
    BatchNorm's step counter, which ONNX files don't hold, is added.

    Args:
        model: the model.
        sites: its layers.
        parameters: what is to be written.

    Returns:
        The names, and the names of layers whose weight's or bias's own could not be recovered.
    """
    recovered: dict[str, tuple[str, tuple[Step, ...]]] = {}
    lost: list[str] = []
    for site in sites:
        for name in filter(None, (site.layer.weight, site.layer.bias)):
            source = model.view(name).source
            if source in recovered or not MADE_UP.fullmatch(source):
                continue
            found = _recover(site, is_bias=name == site.layer.bias)
            if found is None:
                lost.append(site.layer.name)
            else:
                recovered[source] = found
    kept = [name for name in parameters if not MADE_UP.fullmatch(name)]
    uses = Counter([*kept, *(name for name, _ in recovered.values())])
    for site in sites:
        name, _ = recovered.get(model.view(site.layer.weight).source, ("", ()))
        if uses[name] > 1:
            lost.append(site.layer.name)
    naming: dict[str, Stored] = {}
    for source, info in parameters.items():
        if source in recovered or not MADE_UP.fullmatch(source):
            name, steps = recovered.get(source, (source, ()))
            naming[name] = stored_as(source, info, (steps,))
    for name in _step_counters(model, naming):
        naming[name] = Stored("", (), TensorInfo((), np.dtype(np.int64)))
    return naming, list(dict.fromkeys(lost))


def folded_norms(sites: Sequence[LayerSite]) -> list[str]:
    """Names of convolutions into which an exporter has folded a BatchNorm.

    The script exporter makes up new names for their weights. The dynamo exporter keeps the names,
    but the node then comes from the BatchNorm.
    """
    return [
        site.layer.name
        for site in sites
        if re.match(r"onnx::Conv(Transpose)?_\d+$", site.layer.parameter)
        or (site.layer.layout.is_convolution and "batch_norm" in "".join(scopes(site.node)[-1:]))
    ]


def renamed(model: OnnxModel, sites: Sequence[LayerSite], naming: Naming) -> list[LayerSite]:
    """The layers with their parameters called as they are written."""
    written = _written_names(naming)

    def name(value: str) -> str:
        view = model.view(value)
        return written.get(view.source, view.source) + view.part

    return [
        replace(
            site,
            layer=replace(
                site.layer,
                parameter=name(site.layer.weight),
                bias_parameter=name(site.layer.bias) if site.layer.bias else None,
            ),
        )
        for site in sites
    ]


def _written_names(naming: Naming) -> dict[str, str]:
    """For each parameter its name in the written file."""
    return {stored.parameter: name for name, stored in naming.items()}


def _step_counters(model: OnnxModel, naming: Naming) -> list[str]:
    written = _written_names(naming)
    names = []
    for site in find_norms(model):
        name = written.get(model.view(site.running_mean).source, "")
        if name.endswith(".running_mean"):
            names.append(name.removesuffix("running_mean") + "num_batches_tracked")
    return names


def _recover(site: LayerSite, *, is_bias: bool) -> tuple[str, tuple[Step, ...]] | None:
    """The name of a layer's parameter, and what PyTorch has done with it."""
    layer = site.layer
    known = (layer.bias_parameter or "").partition("[")[0]  # without the part it is
    prefix = ""
    if not is_bias and known.endswith("bias") and not MADE_UP.fullmatch(known):
        prefix = known.removesuffix("bias")  # also of in_proj_bias
    elif scope := scopes(site.node)[:-1]:
        prefix = f"{scope[-1]}."
    elif path := _path(site.node.name):
        prefix = f"{path}."
    if prefix in ("", "."):
        return None
    if is_bias:
        return f"{prefix}bias", ()
    steps = (Transposed((1, 0)),) if layer.layout.order is Order.IN_OUT else ()
    return f"{prefix}weight", steps


def _path(name: str) -> str:
    """The module's path in a node's name by the script exporter, `/enc/layers.0/fc/MatMul`.

    A child of a Sequential or ModuleList repeats its parent's name: `/body/body.0/MatMul`.
    """
    path: list[str] = []
    for part in name.split("/")[1:-1]:
        if path and part.startswith(path[-1] + "."):
            path.pop()
        path.append(part)
    return ".".join(path)
