"""A copy of a module to run and convert, so that the module itself stays as it is.

The copy is on the CPU and in eval mode, shares the memory of parameters that are on the CPU
already, and has its own buffers.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from lsuv_cli.core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

# PyTorch's own hooks compute weights; others only look, as a rule.
OWN_HOOKS = "torch.nn.utils"
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

# Implementations that configurations of transformers choose and no exporter of PyTorch's knows, and
# others that compute the same.
CONVERTIBLE = {
    "_experts_implementation": {"grouped_mm": "batched_mm"},
    "_attn_implementation": dict.fromkeys(
        ("flash_attention_2", "flash_attention_3", "flex_attention"), "sdpa"
    ),
}


def eval_copy(module: nn.Module, *, with_hooks: bool) -> nn.Module:
    """Return a copy of a module, on the CPU and in eval mode.

    A module of transformers computes with implementations that PyTorch's exporters know.

    Args:
        module: the module.
        with_hooks: whether hooks on its forward are copied that are not PyTorch's own.

    Raises:
        ModelError: it can't be copied, or has no values yet.
    """
    import torch

    _refuse_without_values(module)
    memo: dict[int, Any] = {}
    for one in module.modules():
        for name in HOOKS:
            hooks = vars(one).get(name)
            if hooks is not None:
                keep = with_hooks and name.startswith("_forward")
                kept = [(key, hook) for key, hook in hooks.items() if keep or _is_own(hook)]
                memo[id(hooks)] = OrderedDict(kept)
        for value in vars(one).values():
            # A weight that a hook has computed: no leaf of the graph, which can't be copied.
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    for parameter in module.parameters():
        if parameter.device.type == "cpu" and type(parameter) is torch.nn.Parameter:
            shared = torch.nn.Parameter(parameter.detach(), parameter.requires_grad)
            memo[id(parameter)] = shared
    try:
        with torch.no_grad():
            made = copy.deepcopy(module, memo).cpu().eval()
    except Exception as error:  # noqa: BLE001 - __deepcopy__ and __setstate__ may raise any
        raise ModelError(
            f"{type(module).__name__} can't be copied ({type(error).__name__}: {error}), and is "
            "not to be changed by being converted; take out of it what copy.deepcopy refuses"
        ) from None
    for one in made.modules():
        _choose_convertible(getattr(one, "config", None))
    return made


def _choose_convertible(config: object) -> None:
    """Have a configuration choose implementations that PyTorch's exporters know.

    Args:
        config: of a copied module of transformers, or None; modified.
    """
    for name, replacements in CONVERTIBLE.items():
        chosen = getattr(config, name, None)
        if isinstance(chosen, str) and chosen in replacements:
            setattr(config, name, replacements[chosen])


def has_hooks(module: nn.Module) -> bool:
    """Return whether hooks on a module's forward are registered that are not PyTorch's own."""
    return any(
        not _is_own(hook)
        for one in module.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks")
        for hook in vars(one).get(name, {}).values()
    )


def _is_own(hook: object) -> bool:
    name = str(getattr(hook, "__module__", None) or type(hook).__module__)
    return name.startswith(OWN_HOOKS)


def _refuse_without_values(module: nn.Module) -> None:
    import torch

    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(value):
            raise ModelError(
                f"{type(module).__name__}: {name} has no shape yet; run the module once on a batch"
            )
        if value.device.type == "meta":
            raise ModelError(
                f"{type(module).__name__}: {name} is on the device meta and has no values; "
                "give the module memory first, by module.to_empty(device=...)"
            )
