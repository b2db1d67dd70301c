"""Attention whose queries, keys and values come from different sources: layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn.functional import linear

from lsuv_cli.core.choices import Bias
from support.graphs import i64, node, random_weight, save_graph
from support.layer_outputs import TOLERANCE, Probe, off_target, outputs_by_layer
from support.promise import Initialised, initialised, load_strictly
from support.roads import Inputs, by_road, save_samples

WIDTH = 12
PARTS = [f"in_proj_weight[{start}:{start + WIDTH}]" for start in (0, WIDTH, 2 * WIDTH)]


def attention(**options: Any) -> nn.MultiheadAttention:
    """Return an attention with biases, which the exporters would leave out if they were zero."""
    made = nn.MultiheadAttention(WIDTH, 2, **{"batch_first": True, **options})
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return made


class Sources(nn.Module):
    """Keys and values of one source, queries and keys of one, and three sources."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed, self.positioned, self.three = (attention() for _ in range(3))
        self.positions = nn.Parameter(torch.randn(5, WIDTH))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Sequences as long as the first."""
        crossed, _ = self.crossed(x, memory, memory)
        placed = x + self.positions
        positioned, _ = self.positioned(placed, placed, x, need_weights=False)
        three, _ = self.three(x, memory, torch.tanh(memory), need_weights=False)
        return torch.cat((crossed, positioned, three), -1)


class Variants(nn.Module):
    """Without biases, with more keys and values than the source has, and with the batch second."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = attention(bias=False)
        self.extended = attention(add_bias_kv=True, add_zero_attn=True)
        self.turned = attention(batch_first=False)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Sequences as long as the first."""
        plain, _ = self.plain(x, memory, memory, need_weights=False)
        extended, _ = self.extended(x, memory, memory, need_weights=False)
        queries, keys = x.transpose(0, 1), memory.transpose(0, 1)
        turned, _ = self.turned(queries, keys, keys, need_weights=False)
        return torch.cat((plain, extended, turned.transpose(0, 1)), -1)


class Latents(nn.Module):
    """Learned queries: expanded and normalised, as in Perceiver, or repeated, as in SigLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(3, WIDTH))
        self.probe = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.expanded, self.repeated = attention(), attention()
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Four numbers for each latent."""
        latents = self.norm(self.latents.expand(x.shape[0], -1, -1))
        expanded, _ = self.expanded(latents, x, x, need_weights=False)
        probe = self.probe.repeat(x.shape[0], 1, 1)
        repeated, _ = self.repeated(probe, x, x, need_weights=False)
        result: Tensor = self.head(expanded + repeated)
        return result


class Written(nn.Module):
    """Attention written out: a packed parameter sliced by hand, and a Linear of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.randn(3 * WIDTH) * 0.1)
        self.q, self.kv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Sequences as long as the first."""
        width = x.shape[-1]
        matrices = self.in_proj_weight.view(3, width, -1)
        query = linear(x, matrices[0], self.in_proj_bias[:width])
        both = linear(memory, self.in_proj_weight[width:], self.in_proj_bias[width:])
        key, value = both.view(*both.shape[:2], 2, width).unbind(-2)
        attended = torch.softmax(query @ key.transpose(1, 2) / width**0.5, -1) @ value
        key, value = self.kv(memory).chunk(2, -1)
        result: Tensor = torch.softmax(self.q(attended) @ key.transpose(1, 2), -1) @ value
        return result


def written_out(module: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return the three projections of `Written` to its packed parameter."""
    assert isinstance(module, Written)
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    sources = (inputs[0], inputs[1], inputs[1])
    return {
        f"in_proj {index}": linear(source, weight, bias)
        for index, (source, weight, bias) in enumerate(zip(sources, weights, biases, strict=True))
    }


class Translator(nn.Module):
    """PyTorch's encoder and decoder as they are made: layers are copies, biases are zero."""

    def __init__(self) -> None:
        super().__init__()
        width = 48  # the newer exporter stores equal matrices once if they are smaller
        self.transformer = nn.Transformer(width, 2, 1, 2, 24, batch_first=True)
        for name, parameter in self.transformer.named_parameters():
            if name.endswith("out_proj.bias"):
                nn.init.normal_(parameter, std=0.1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Sequences as long as the second."""
        result: Tensor = self.transformer(x, y)
        return result


def two(width: int = WIDTH) -> Inputs:
    return torch.randn(16, 5, width), torch.randn(16, 7, width) * 1.5


def one() -> Inputs:
    return (torch.randn(16, 7, WIDTH),)


MODULES: dict[type[nn.Module], Callable[[], Inputs]] = {
    Sources: two,
    Variants: two,
    Latents: one,
    Written: two,
    Translator: lambda: two(48),
}


def built(kind: type[nn.Module], seed: int = 0) -> tuple[nn.Module, Inputs]:
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(seed)
    return kind().eval(), MODULES[kind]()


def initialise(kind: type[nn.Module], road: str, folder: Path, **options: Any) -> Initialised:
    module, inputs = built(kind)
    model = by_road(module, inputs, road, folder)
    return initialised(model, save_samples(model, inputs), **options)


def outputs(kind: type[nn.Module], run: Initialised) -> dict[str, list[Tensor]]:
    """Return the outputs of a module's layers with the weights that were written."""
    module = load_strictly(run, lambda: built(kind, 1)[0])
    probe: Probe | None = written_out if kind is Written else None
    return outputs_by_layer(module, built(kind)[1], probe)


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("kind", "roads"),
    [
        (Sources, "unopt trace"),
        pytest.param(Sources, "script dynamo", marks=pytest.mark.thorough),
        (Variants, "script unopt"),
        pytest.param(Variants, "trace", marks=pytest.mark.thorough),
        (Latents, "folded trace"),
        pytest.param(Latents, "script unopt", marks=pytest.mark.thorough),
        (Written, "script unopt trace"),
        (Translator, "dynamo"),
        pytest.param(Translator, "script folded trace unopt", marks=pytest.mark.thorough),
    ],
)
def test_each_projection_is_a_layer(tmp_path: Path, kind: type[nn.Module], roads: str) -> None:
    for road in roads.split():
        run = initialise(kind, road, tmp_path)
        assert run.code == 0, run.texts
        assert set(run.statuses.values()) == {"converged"}, road
        found = outputs(kind, run)
        assert len(found) == len(run.report["layers"]), road
        assert not off_target(found), road


def test_projections_have_the_names_that_self_attention_gives_them(tmp_path: Path) -> None:
    run = initialise(Sources, "script", tmp_path)
    named = {layer["weight"]: layer["node"] for layer in run.report["layers"]}
    for name in ("crossed", "positioned", "three"):
        assert [f"{name}.{part}" in named for part in PARTS] == [True] * 3
    key, value = (named[f"crossed.{part}"] for part in PARTS[1:])
    assert (key, value) == ("/crossed/MatMul_1.key", "/crossed/MatMul_1.value")
    written = run.tensors["crossed.in_proj_weight"]
    scales = {layer["weight"]: layer["scale"] for layer in run.report["layers"]}
    for part, matrix in zip(PARTS, np.split(written, 3), strict=True):
        drawn = matrix / scales[f"crossed.{part}"]
        np.testing.assert_allclose(drawn @ drawn.T, np.eye(WIDTH), atol=1e-5)


def test_keys_and_values_are_centered_each(tmp_path: Path) -> None:
    run = initialise(Sources, "script", tmp_path, bias=Bias.CENTER)
    found = outputs(Sources, run)
    projections = {name: values for name, values in found.items() if not name.endswith("proj")}
    assert len(projections) == 9
    for name, (values,) in projections.items():
        assert values.double().flatten(0, 1).mean(0).abs().max() <= TOLERANCE, name


def test_a_model_of_copied_decoders_is_written_with_weights_of_their_own(tmp_path: Path) -> None:
    """The newer exporter stores the biases of all decoders once."""
    out_model = tmp_path / "new.onnx"
    run = initialise(Translator, "dynamo", tmp_path, out_model=out_model, bias=Bias.CENTER)
    assert run.code == 0, run.texts
    module, inputs = load_strictly(run, lambda: built(Translator, 1)[0]), built(Translator)[1]
    session = onnxruntime.InferenceSession(out_model, providers=["CPUExecutionProvider"])
    feeds = {f"x{index}": value.numpy() for index, value in enumerate(inputs)}
    with torch.no_grad():
        expected = module(*inputs).numpy()
    np.testing.assert_allclose(session.run(None, feeds)[0], expected, atol=1e-4)


def test_queries_of_parameters_alone_are_a_layer_without_a_bias(tmp_path: Path) -> None:
    """As in a file of a fixed batch, in which the learned queries are folded into a constant."""
    nodes = [
        helper.make_node("Split", ["in_proj_weight", "parts"], ["q", "k", "v"], axis=0),
        *(node("Transpose", name, f"{name}t") for name in "qkv"),
        node("MatMul", "latents qt", "queries"),
        node("MatMul", "x kt", "keys"),
        node("MatMul", "x vt", "values"),
        node("Transpose", "keys", "turned", perm=[0, 2, 1]),
        node("MatMul", "queries turned", "scores"),
        node("Softmax", "scores", "shares"),
        node("MatMul", "shares values", "y"),
    ]
    weights = {
        "latents": random_weight(3, WIDTH),
        "in_proj_weight": random_weight(3 * WIDTH, WIDTH),
        "parts": i64(WIDTH, WIDTH, WIDTH),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 7, WIDTH))
    run = initialised(path, save_samples(path, one()))
    assert run.code == 0, run.texts
    assert set(run.statuses) == set(PARTS)
    np.testing.assert_array_equal(run.tensors["latents"], weights["latents"])
    queries = weights["latents"] @ run.tensors["in_proj_weight"][:WIDTH].T
    assert queries.var() == pytest.approx(1, abs=1e-5)
    (left,) = run.report["left_alone"]
    assert left.startswith("MatMul_scores (MatMul): it multiplies by the output of a layer")
