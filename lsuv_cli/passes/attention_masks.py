"""Shapes of attention masks, by which ONNX Runtime's operators tell their meaning."""

from __future__ import annotations

from functools import cached_property

import onnx

from lsuv_cli.graph.onnx_library import infer_shapes

# A size that is not a number has a name; two sizes of one name are equal.
MaskSizes = tuple[int | str, ...]


class AttentionMasks:
    """The shapes of attention's masks, as far as a graph tells."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    def fits(self, mask: str) -> bool:
        """Say whether MultiHeadAttention takes a mask for what Attention takes it for.

        Both know lengths (batch), (batch, keys) and (batch, queries, keys). Attention alone knows
        (batch, 1) and (1, 1), which mask nothing, (2 batch), and four axes.
        """
        sizes = self._sizes.get(mask)
        if sizes is None:
            return False
        if len(sizes) == 1:
            return sizes[0] in self._batch_sizes
        return len(sizes) == 3 or (len(sizes) == 2 and sizes[1] != 1)

    # Inference takes time in a large graph, and few graphs have a mask.
    @cached_property
    def _sizes(self) -> dict[str, MaskSizes]:
        graph = infer_shapes(self._model) or self._model.graph
        sizes: dict[str, MaskSizes] = {t.name: tuple(t.dims) for t in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                sizes[value.name] = tuple(_size(value.name, d) for d in kind.shape.dim)
        return sizes

    @property
    def _batch_sizes(self) -> set[int | str]:
        """The sizes of the inputs' first axes; an input of one axis may be the mask itself."""
        inputs = (self._sizes.get(value.name, ()) for value in self._model.graph.input)
        return {sizes[0] for sizes in inputs if len(sizes) > 1}


def _size(value: str, dimension: onnx.TensorShapeProto.Dimension) -> int | str:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    # A size without a name equals no other.
    return str(dimension.dim_param) or f"unknown size of {value}"
