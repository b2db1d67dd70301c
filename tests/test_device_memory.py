"""Values that stay in an accelerator's memory; the host plays its part, and a GPU where one is."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, ValueInfoProto, helper
from test_batches import SAMPLES, convolutional, scales
from test_oracle import run, save_samples

from lsuv_cli.jobs import opening
from lsuv_cli.sweep.device_array import DeviceArray
from lsuv_cli.sweep.devices import CPU, Device, _cuda_problem
from lsuv_cli.sweep.session import Session
from lsuv_cli.sweep.store import ValueStore

HAS_GPU = _cuda_problem(ort.get_available_providers()) is None


def on_device(value: np.ndarray) -> DeviceArray:
    return DeviceArray(ort.OrtValue.ortvalue_from_numpy(value))


def tensor(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])


@pytest.mark.parametrize("device_memory", [4, 40_000, 10**9])
def test_bound_runs_give_what_unbound_ones_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device_memory: int
) -> None:
    model = convolutional(tmp_path)
    samples = save_samples(tmp_path, (3, 4, 4), SAMPLES)
    options: dict[str, Any] = {"count": SAMPLES, "batch_size": 5}
    _, expected = run(model, samples, **options)
    kept: list[str] = []
    keep = ValueStore.keep

    def watch(store: ValueStore, batch: int, position: int, made: Any, wanted: Any) -> bool:
        kept.extend(type(value).__name__ for value in made.values())
        return keep(store, batch, position, made, wanted)

    monkeypatch.setattr(ValueStore, "keep", watch)
    device = Device(((CPU, {}),), "bound", 0, memory="cpu")
    monkeypatch.setattr(opening, "select_device", lambda *_, **__: device)
    _, written = run(model, samples, device_memory_bytes=device_memory, **options)
    assert "DeviceArray" in kept
    for name, value in written.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_a_value_that_stays_keeps_nothing_else_alive() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "g", [tensor("x")], [tensor("y"), tensor("z")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    device = Device(((CPU, {}),), "bound", 0, memory="cpu")
    with Session(model.SerializeToString(), {}, device) as session:
        native = weakref.ref(session._session._sess)
        fetched = session.run(["y", "z"], {"x": np.ones(3, np.float32)}, {"y"})
    assert native() is None
    assert isinstance(fetched["y"], DeviceArray)
    np.testing.assert_array_equal(fetched["y"].numpy(), np.ones(3, np.float32))


def test_a_store_moves_what_the_device_has_no_room_for() -> None:
    values = {name: on_device(np.full(100, i, np.float32)) for i, name in enumerate("abc")}
    store = ValueStore(400, None, device_bytes=800)
    assert store.keep(0, 1, values, set("abc"))
    loaded = store.load(0)
    assert sorted(type(value).__name__ for value in loaded.values()) == [
        "DeviceArray",
        "DeviceArray",
        "ndarray",
    ]
    assert not store.keep(1, 1, {"d": on_device(np.zeros(1, np.float32))}, {"d"})
    store.clear()
    assert store.keep(1, 1, {"d": on_device(np.zeros(1, np.float32))}, {"d"})


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no GPU that ONNX Runtime can use")
@pytest.mark.parametrize("batch_size", [None, 5])
def test_a_gpu_agrees_with_the_cpu(tmp_path: Path, batch_size: int | None) -> None:
    model = convolutional(tmp_path)
    samples = save_samples(tmp_path, (3, 4, 4), SAMPLES)
    options: dict[str, Any] = {"count": SAMPLES, "batch_size": batch_size}
    expected, _ = run(model, samples, **options)
    report, _ = run(model, samples, device="cuda", **options)
    assert report.device.startswith("cuda")
    np.testing.assert_allclose(scales(report), scales(expected), rtol=1e-4)
