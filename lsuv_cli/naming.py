"""Which names the written file uses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lsuv_cli.core.choices import Names
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.names import folded_norms, torch_names
from lsuv_cli.model.onnx_file import OnnxModel
from lsuv_cli.model.stored import Naming, onnx_names

UNFOLDED = (
    "export with torch.onnx.export(..., training=torch.onnx.TrainingMode.PRESERVE, "
    "do_constant_folding=False, dynamo=False) to keep it"
)


def choose_names(
    model: OnnxModel, sites: Sequence[LayerSite], names: Names, events: Events
) -> Naming:
    """The written file's names, and a word to the user where they are not the ONNX file's.

    Args:
        model: the model.
        sites: its layers.
        names: what the user asked for.
        events: told what was chosen, and why.

    Raises:
        ModelError: PyTorch's names were asked for and can't be told.
    """
    parameters = model.written(
        name for site in sites for name in (site.layer.weight, site.layer.bias) if name
    )
    by_onnx = onnx_names(parameters)
    if names is Names.ONNX or (names is Names.AUTO and not model.is_from_torch):
        return by_onnx
    by_torch, lost = torch_names(model, sites, parameters)
    folded = folded_norms(sites)
    reasons = []
    if folded:
        reasons.append(f"BatchNorm was folded into {_some(folded)}; {UNFOLDED}")
    lost = [name for name in lost if name not in folded]
    if lost:
        reasons.append(f"nothing tells where {_some(lost)} came from")
    if reasons and names is Names.TORCH:
        raise ModelError(f"{model.path} does not tell PyTorch's names: {'; '.join(reasons)}")
    if reasons:
        events.warn(f"the written names are the ONNX file's, not PyTorch's: {'; '.join(reasons)}")
        return by_onnx
    new = [name for name, stored in by_torch.items() if stored.parameter not in ("", name)]
    if new:
        events.note(f"names as in PyTorch: {len(new)} recovered ({_some(new)})")
    written = {stored.parameter for stored in by_torch.values()}
    left_out = [
        f"{name} {list(info.shape)}"
        for name, info in parameters.items()
        if name not in written and math.prod(info.shape) > 1
    ]
    if left_out:
        events.warn(
            f"not written, being constants without a name in PyTorch: {_some(left_out)}; if a "
            f"parameter is among them, {UNFOLDED}"
        )
    return by_torch


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(names[:3])
    return f"{listed} and {len(names) - 3} more" if len(names) > 3 else listed
