"""Decompositions of operators that PyTorch's exporter converts wrongly.

It gives a Conv3d without a bias one that ONNX Runtime refuses, leaves out the projections of an
LSTM, makes of an EmbeddingBag nested loops that crash ONNX Runtime, squeezes axes of other sizes
than one, which PyTorch leaves as they are, and fails at a view of what an attention with a mask
computes, at an attention with more axes than a batch and its heads, at integers that are subtracted
from a float, and at rows that are multiplied in groups. To be imported only where a program is at
hand: it imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

EMBEDDING_BAGS = frozenset((aten.embedding_bag.padding_idx, aten.embedding_bag.default))
# Returned by a decomposition that is for other arguments.
NOT_HERE: Any = NotImplemented
# Products of rows that are sorted by their matrix: PyTorch's own, and the transformers package's.
GROUPED_PRODUCTS = frozenset(
    ("aten._grouped_mm.default", "transformers.grouped_mm_fallback.default")
)
BATCH_AND_HEADS = 4  # the axes of attention that the exporter converts
SUM, MEAN = 0, 1  # the modes of an EmbeddingBag; 2 is the maximum


def with_exportable_operators(
    program: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram:
    """Return a program without the operators that the exporter converts wrongly.

    Args:
        program: the program; not modified.
    """
    table: dict[Any, Callable[..., Any]] = {}
    for node in program.graph.nodes:
        if node.target in EMBEDDING_BAGS:
            table[node.target] = embedding_bag
        elif node.target == aten.lstm.input and _has_projections(node):
            from torch._decomp.decompositions import lstm_impl

            table[node.target] = lstm_impl
        elif node.target == aten.scaled_dot_product_attention.default:
            table |= _for_attention(node)
        elif str(node.target) in GROUPED_PRODUCTS:
            table[node.target] = grouped_product
        elif node.target == aten.conv3d.default and _has_no_bias(node):
            table[node.target] = conv3d
        elif node.target == aten.rsub.Scalar:
            table[node.target] = subtract_from
        elif node.target == aten.squeeze.dim and _has_no_unit_axis(node):
            table[node.target] = squeeze
    return program.run_decompositions(table) if table else program


def _for_attention(node: torch.fx.Node) -> dict[Any, Callable[..., Any]]:
    if _axes(node) != BATCH_AND_HEADS:
        return {node.target: attention}
    return {aten.view.default: view} if _has_mask(node) else {}


def _has_projections(node: torch.fx.Node) -> bool:
    """Return whether an LSTM projects its states: each of its layers has one more weight then."""
    arguments: Any = node.args
    _, _, weights, has_biases, layers, _, _, is_bidirectional, _ = arguments
    return bool(len(weights) / (layers * (1 + is_bidirectional)) > (4 if has_biases else 2))


def _has_no_bias(node: torch.fx.Node) -> bool:
    """Return whether a convolution is given no bias, by position or by name."""
    return (node.args[2:3] or (node.kwargs.get("bias"),))[0] is None


def _has_mask(node: torch.fx.Node) -> bool:
    """Return whether an attention is given a mask, by position or by name."""
    return (node.args[3:4] or (node.kwargs.get("attn_mask"),))[0] is not None


def _axes(node: torch.fx.Node) -> int:
    """Return the number of axes of an attention's queries."""
    query: Any = node.args[0]
    return int(query.meta["val"].dim())


def _has_no_unit_axis(node: torch.fx.Node) -> bool:
    """Return whether the axis that is to be squeezed is known to have another size than one."""
    arguments: Any = node.args
    value = arguments[0].meta.get("val")
    size = value.shape[arguments[1]] if value is not None and value.dim() else 1
    return isinstance(size, int) and size != 1


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """Return the output of `aten.conv3d`, shape (n, out channels, depth, height, width).

    Args:
        x: shape (n, in channels, depth, height, width).
        weight: shape (out channels, in channels / groups, 3 sizes of the kernel).
        bias: shape (out channels,); None for none.
        stride: one number, or one an axis.
        padding: likewise.
        dilation: likewise.
        groups: of channels.
    """
    if bias is not None:
        return NOT_HERE  # type: ignore[no-any-return]
    sizes = [list(one) * 3 if len(one) == 1 else list(one) for one in (stride, padding, dilation)]
    made: Tensor = aten.convolution.default(x, weight, None, *sizes, False, [0, 0, 0], groups)
    return made


def squeeze(x: Tensor, dim: int) -> Tensor:
    """Return the output of `aten.squeeze.dim`.

    Args:
        x: any tensor.
        dim: the axis, which stays if its size is not one.
    """
    if x.dim() and isinstance(x.shape[dim], int) and x.shape[dim] != 1:
        same: Tensor = aten.alias.default(x)
        return same
    return NOT_HERE  # type: ignore[no-any-return]


def subtract_from(x: Tensor, other: float, alpha: float = 1) -> Tensor:
    """Return the output of `aten.rsub.Scalar`: other - alpha x."""
    value = x.to(torch.result_type(x, other))
    return value * -alpha + other


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return the output of `aten.scaled_dot_product_attention`, shape (..., queries, values).

    Args:
        query: shape (..., queries, features).
        key: shape (..., keys, features).
        value: shape (..., keys, values).
        attn_mask: added to the scores, or false where they don't count; None for none.
        dropout_p: the share of weights that is dropped.
        is_causal: whether a query sees only the keys up to its own position.
        scale: of the scores; None for one over the root of the features.
        enable_gqa: whether one head of the keys serves several of the queries.
    """
    if query.dim() == BATCH_AND_HEADS or dropout_p:
        return NOT_HERE  # type: ignore[no-any-return]
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * factor
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        scores = torch.where(seen, scores, -torch.inf)
    if attn_mask is not None:
        is_shown = attn_mask.dtype == torch.bool
        scores = torch.where(attn_mask, scores, -torch.inf) if is_shown else scores + attn_mask
    return torch.softmax(scores, -1) @ value


def grouped_product(
    rows: Tensor,
    matrices: Tensor,
    ends: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return rows times their matrices, shape (rows, outputs); `aten._grouped_mm` for 2-d rows.

    Args:
        rows: shape (rows, inputs), sorted by their matrix.
        matrices: shape (matrices, inputs, outputs).
        ends: where each matrix's rows end, shape (matrices,).
        bias: not used by PyTorch so far.
        out_dtype: the dtype of the result; None for that of the rows.
    """
    if rows.dim() != 2 or matrices.dim() != 3 or ends is None or bias is not None:
        return NOT_HERE  # type: ignore[no-any-return]
    places = torch.arange(rows.shape[0], device=rows.device)
    # Rows beyond the last end have no matrix; what PyTorch returns for them is undefined.
    index = (places[:, None] >= ends).sum(1).clamp(max=matrices.shape[0] - 1)
    made = (rows[:, None] @ matrices[index])[:, 0]
    return made if out_dtype is None else made.to(out_dtype)


def view(x: Tensor, size: list[int]) -> Tensor:
    """Return the output of `aten.view`, whatever strides its input will get.

    The kernels of an attention lay out their outputs so that its heads can be merged by a view; the
    products that the exporter makes of it do not.

    Args:
        x: any tensor.
        size: its new shape.
    """
    if len(size) >= x.dim():
        return NOT_HERE  # type: ignore[no-any-return]
    whole = aten.clone.default(x, memory_format=torch.contiguous_format)
    merged: Tensor = aten._unsafe_view.default(whole, size)  # noqa: SLF001
    return merged


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,  # noqa: ARG001 - the signature is the operator's
    mode: int = SUM,
    sparse: bool = False,  # noqa: ARG001
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the outputs of `aten.embedding_bag`; the last three are for its gradient.

    Args:
        weight: the table, shape (rows, features).
        indices: rows of the table, bag after bag, shape (n,).
        offsets: where each bag begins among them, shape (bags,), and with `include_last_offset`
            the end of the last.
        scale_grad_by_freq: of no effect here.
        mode: 0 for the sum of a bag's rows, 1 for their mean, 2 for their maximum.
        sparse: of no effect here.
        per_sample_weights: multiplies each row, shape (n,).
        include_last_offset: see `offsets`.
        padding_idx: the row that is left out, from the end if negative; None for none.

    Returns:
        The bags, shape (bags, features), the bag of each index, the number of rows in each bag, and
        the offsets.
    """
    starts = offsets[:-1] if include_last_offset else offsets
    places = torch.arange(indices.shape[0], device=indices.device)
    bag = (places[:, None] >= starts).sum(1) - 1  # (n,)
    counted = torch.ones_like(indices, dtype=weight.dtype)
    if padding_idx is not None:
        counted = (indices != padding_idx % weight.shape[0]).to(weight.dtype)
    rows = weight[indices]  # (n, features)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    sizes = weight.new_zeros(starts.shape[0]).scatter_add(0, bag, counted)
    empty = weight.new_zeros(starts.shape[0], weight.shape[1])
    targets = bag[:, None].expand(-1, weight.shape[1])
    if mode in (SUM, MEAN):
        result = empty.scatter_add(0, targets, rows * counted[:, None])
        if mode == MEAN:
            result = result / sizes.clamp(min=1)[:, None]
    else:
        rows = torch.where(counted[:, None] > 0, rows, -torch.inf)
        result = (empty - torch.inf).scatter_reduce(0, targets, rows, "amax")
        result = torch.where(sizes[:, None] > 0, result, 0)
    return result, bag, sizes.to(indices.dtype), offsets
