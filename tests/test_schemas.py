"""The JSON schemas in docs/, made from the documents' types; `make schemas` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from lsuv_cli.report.compare_json import CompareDocument
from lsuv_cli.report.init_json import InitDocument
from lsuv_cli.report.inspect_json import InspectDocument
from lsuv_cli.report.verify_json import VerifyDocument
from support.paths import ROOT

Schema = dict[str, Any]

DOCUMENTS = {
    "report": InitDocument,
    "verify": VerifyDocument,
    "compare": CompareDocument,
    "inspect": InspectDocument,
}


class SchemaMaker(GenerateJsonSchema):
    """Makes schemas that allow no other members, and have no titles made of names."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Schema:
        made = super().typed_dict_schema(schema) | {"additionalProperties": False}
        del made["title"]
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base decides by it
        return False


def schema_text(document: Any) -> str:
    """The schema of a document, as it is in its file."""
    made = TypeAdapter(document).json_schema(schema_generator=SchemaMaker)
    head = {
        "$schema": SchemaMaker.schema_dialect,
        "$id": made["properties"]["schema"]["const"],
        "title": made.pop("description").rstrip("."),
    }
    return json.dumps(head | made, indent=2) + "\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schemas_are_those_of_the_types(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.schema.json").read_text()
    assert text == schema_text(DOCUMENTS[name]), "run `make schemas`"
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


MODEL = {"path": "m.onnx", "sha256": "0" * 64, "opset": 17}
LAYER = {
    "index": 0,
    "name": "conv1",
    "node": "/conv1/Conv",
    "op": "Conv",
    "weight": "w",
    "computed": None,
    "bias": None,
    "dtype": "float32",
    "shape": [8, 3, 3, 3],
    "groups": 1,
    "parameters": 216,
    "onnx_weight": "w",
    "shares_weight_with": [],
    "recurrent": False,
    "samples_decide": False,
    "target_std": 1.0,
    "skipped": None,
    "skipped_status": None,
}
INSPECTION = {
    "schema": "lsuv.inspect/1",
    "version": "1",
    "model": MODEL | {"producer": None, "nodes": 1, "parameters": 216},
    "inputs": [],
    "layers": [LAYER],
    "left_alone": [],
    "plan": None,
}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(schema="lsuv.inspect/2"),
        lambda document: document.update(more=1),
        lambda document: document.pop("plan"),
        lambda document: document["model"].update(sha256="0"),
        lambda document: document["layers"].clear(),
        lambda document: document["layers"][0].update(groups=0),
        lambda document: document["layers"][0].update(target_std=0),
        lambda document: document["layers"][0].update(dtype="int8"),
        lambda document: document["layers"][0].update(name=None),
        lambda document: document["layers"][0].update(more=1),
    ],
)
def test_a_wrong_document_is_refused(spoil: Callable[[Any], object]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(InspectDocument)))
    document = json.loads(json.dumps(INSPECTION))
    assert validator.is_valid(document)
    spoil(document)
    assert not validator.is_valid(document)


if __name__ == "__main__":
    for name, document in DOCUMENTS.items():
        (ROOT / "docs" / f"{name}.schema.json").write_text(schema_text(document))
