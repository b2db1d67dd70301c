"""Archives of torch.export.save: those that are data alone are told from those that run code."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.pt2_archive import archive_members, check_archive, is_program
from support.pickles import Trap
from support.roads import silenced

Members = dict[str, bytes]
PATH = Path("model.pt2")


@pytest.fixture(scope="module")
def members() -> Members:
    """The members of a real archive."""
    batch = torch.export.Dim("batch")
    buffer = io.BytesIO()
    with silenced():
        program = torch.export.export(
            nn.Sequential(nn.Linear(4, 4), nn.Flatten(0)),
            (torch.zeros(2, 4),),
            dynamic_shapes=({0: batch},),
        )
        torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def name_of(members: Members, end: str) -> str:
    return next(name for name in members if name.endswith(end))


def changed(members: Members, end: str, change: Callable[[Any], None]) -> bytes:
    """Return an archive, one of whose JSON members is changed."""
    name = name_of(members, end)
    content = json.loads(members[name])
    change(content)
    return packed({**members, name: json.dumps(content).encode()})


def refusal(content: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        check_archive(PATH, content)
    return str(caught.value)


def test_a_real_archive_passes(members: Members) -> None:
    content = packed(members)
    assert is_program(archive_members(PATH, content))
    archive = check_archive(PATH, content)
    assert archive.torch_version == torch.__version__
    assert archive.containers == {"builtins.tuple", "builtins.dict"}


@pytest.mark.parametrize(
    "target", ["torch.os.system", "_operator.call", "os.system", "torch.load", "#spam:eggs"]
)
def test_a_function_that_is_no_operator(members: Members, target: str) -> None:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    assert f"holds the function {target}" in refusal(changed(members, "model.json", change))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "exec(chr(97))",
        "Symbol('s0').__class__",
        "(1).real.__class__",
        "lambda: 0",
        "Integer(2); open",
    ],
)
def test_an_expression_that_is_no_size(members: Members, text: str) -> None:
    def change(program: Any) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values["input"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": None}}

    assert "holds the expression" in refusal(changed(members, "model.json", change))


@pytest.mark.parametrize(
    "context",
    [
        {"default_factory_module": "os", "default_factory_name": "abort", "dict_context": "[]"},
        {"default_factory_module": "builtins", "default_factory_name": "exec", "dict_context": ""},
        '{"__enum__": true, "fqn": "antigravity:X", "name": "Y"}',
    ],
)
def test_a_container_that_imports(members: Members, context: Any) -> None:
    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        spec = {"type": "collections.defaultdict", "context": context, "children_spec": []}
        signature["in_spec"] = json.dumps([1, spec])

    assert "by running code that the file names" in refusal(changed(members, "model.json", change))


def test_pickles(members: Members, tmp_path: Path) -> None:
    trap = io.BytesIO()
    torch.save((Trap(tmp_path / "sprung"),), trap)
    inputs = name_of(members, "sample_inputs/model.pt")
    assert "pickled objects that are no tensors" in refusal(
        packed({**members, inputs: trap.getvalue()})
    )
    root = inputs.partition("/")[0]
    foreign = f"{root}/data/constants/opaque_obj_0"
    content = packed({**members, foreign: pickle.dumps(Trap(tmp_path / "sprung"))})
    assert "an object that is no tensor" in refusal(content)

    def pickle_weight(config: Any) -> None:
        config["config"]["0.weight"]["use_pickle"] = True

    assert "a pickled tensor" in refusal(changed(members, "weights_config.json", pickle_weight))
    assert not (tmp_path / "sprung").exists()


def test_two_members_of_one_name(members: Members) -> None:
    name = name_of(members, "model.json")
    twice = {**members, name.replace("model.json", "MODEL.json"): members[name]}
    assert "two members of one name" in refusal(packed(twice))


def test_what_holds_no_program(members: Members) -> None:
    compiled = {**members, "archive/data/aotinductor/model/x.so": b""}
    assert "was compiled by AOTInductor" in refusal(packed(compiled))
    name = name_of(members, "model.json")
    other = {
        key.replace("models/model.json", "models/encoder.json"): members[key] for key in members
    }
    assert "holds 1 programs (models/encoder.json)" in refusal(packed(other))
    broken = {**members, name: members[name][:100]}
    assert "is a broken .pt2 file" in refusal(packed(broken))
    assert not is_program(archive_members(PATH, packed({"a/b.txt": b""})))
    whole = packed(members)
    assert all(archive_members(PATH, whole[: len(whole) * part // 8]) == [] for part in range(8))
    assert archive_members(PATH, whole[:-30]) == []
    assert archive_members(Path("missing.pt2"), None) == []
