"""Graphs of mixtures whose experts' matrices an index chooses from one parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from support.graphs import Array, i64, node, random_weight, save_graph

INPUTS, OUTPUTS = 6, 7
FORMS = ("left", "right", "turned", "einsum", "einsum turned", "rows")


@dataclass(frozen=True)
class Mixture:
    """A layer of experts, between a gate and another layer.

    Attributes:
        form: how the product with the chosen matrices is written, of `FORMS`. With "rows", each
            sample has several rows, which one expert takes.
        experts: their number.
        choices: the number of experts for each sample; 0 for one, without an axis for it.
        biased: whether each has a bias.
        shared: whether that is one for all.
        gather: the operator that chooses.
        deserted: whether the last expert is never chosen.
    """

    form: str = "left"
    experts: int = 3
    choices: int = 0
    biased: bool = False
    shared: bool = False
    gather: str = "Gather"
    deserted: bool = False
    rows: int = field(default=4, repr=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample."""
        return (self.rows, INPUTS) if self.form == "rows" else (INPUTS,)

    def save(self, path: Path, opset: int = 17) -> dict[str, Array]:
        """Save the graph; return its weights.

        `index` holds the choices, and `h` what the experts make, its first axes those of the index;
        `z` is the output of the layer behind.
        """
        nodes = [*self._gate(), *self._product(), *self._bias(), node("Tanh", "h", "t")]
        nodes += [node("Flatten", "t", "f"), node("MatMul", "f v", "z")]
        across = max(self.choices, 1) * OUTPUTS * (self.rows if self.form == "rows" else 1)
        first = (
            (OUTPUTS, INPUTS) if self.form in ("left", "turned", "einsum") else (INPUTS, OUTPUTS)
        )
        weights = {
            "gate": random_weight(INPUTS, self.experts, seed=5),
            "far": np.where(np.arange(self.experts) < self.experts - self.deserted, 0, 1e4).astype(
                np.float32
            ),
            "w": random_weight(self.experts, *first),
            "b": random_weight(*([] if self.shared else [self.experts]), OUTPUTS),
            "v": random_weight(across, 3),
            "number": i64(self.choices),
            "last": i64(-1),
            "one": i64(1),
            "second_last": i64(-2),
        }
        read = {name for one in nodes for name in one.input}
        weights = {name: value for name, value in weights.items() if name in read}
        save_graph(path, nodes, weights, ("n", *self.input_shape), opset=opset)
        return weights

    def _gate(self) -> list[onnx.NodeProto]:
        """Return the nodes that choose; those of all rows of a sample have one expert."""
        data = "x"
        nodes = []
        if self.form == "rows":
            nodes.append(node("ReduceMean", "x", "mean", axes=[1], keepdims=0))
            data = "mean"
        nodes += [node("MatMul", f"{data} gate", "logits"), node("Sub", "logits far", "scores")]
        if not self.choices:
            return [*nodes, node("ArgMax", "scores", "index", axis=-1, keepdims=0)]
        top = onnx.helper.make_node("TopK", ["scores", "number"], ["shares", "index"])
        return [*nodes, top]

    def _chosen(self, parameter: str, output: str) -> list[onnx.NodeProto]:
        if self.gather == "Gather":
            return [node("Gather", f"{parameter} index", output)]
        lifted = node("Unsqueeze", "index last", f"{output}_places")
        return [lifted, node("GatherND", f"{parameter} {output}_places", output)]

    def _product(self) -> list[onnx.NodeProto]:
        nodes = self._chosen("w", "chosen")
        ids = "abe" if self.choices else "ab"
        labels = ids[0] + ids[2:]
        if self.form.startswith("einsum"):
            matrix = "oi" if self.form == "einsum" else "io"
            equation = f"{labels}{matrix},ai->{labels}o"
            return [*nodes, node("Einsum", "chosen x", "made", equation=equation)]
        if self.form == "rows":
            data = "x"
            if self.choices:
                nodes.append(node("Unsqueeze", "x one", "spread"))
                data = "spread"
            return [*nodes, node("MatMul", f"{data} chosen", "made")]
        data = "x"
        if self.choices:
            nodes.append(node("Unsqueeze", "x one", "spread"))
            data = "spread"
        if self.form == "left":
            nodes += [node("Unsqueeze", f"{data} last", "column")]
            return [*nodes, node("MatMul", "chosen column", "p"), node("Squeeze", "p last", "made")]
        factor = "chosen"
        if self.form == "turned":
            perm = [0, 1, 3, 2] if self.choices else [0, 2, 1]
            nodes.append(node("Transpose", "chosen", "turned", perm=perm))
            factor = "turned"
        nodes += [node("Unsqueeze", f"{data} second_last", "row")]
        product = node("MatMul", f"row {factor}", "p")
        return [*nodes, product, node("Squeeze", "p second_last", "made")]

    def _bias(self) -> list[onnx.NodeProto]:
        if not self.biased:
            return [node("Identity", "made", "h")]
        if self.shared:
            return [node("Add", "made b", "h")]
        nodes, bias = self._chosen("b", "vectors"), "vectors"
        if self.form == "rows":
            nodes.append(node("Unsqueeze", "vectors second_last", "lifted"))
            bias = "lifted"
        return [*nodes, node("Add", f"{bias} made", "h")]
