"""The column of pictures in a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsuv_cli.core.errors import DataError

USUAL = "image"
# Hugging Face's other types that are stored as the bytes of a file, such as Audio, are no pictures.
PICTURE_TYPES = (None, "Image", "Value")


def picture_column(schema: Any, path: Path) -> str:
    """Return the path in the schema of the column's bytes: `image.bytes`, or `jpg`.

    Pictures are binary values, or structs with a binary field named bytes; with several such
    columns, those that the metadata of Hugging Face's datasets call images, or else the one named
    `image`.

    Args:
        schema: a pyarrow.Schema.
        path: the file's, for messages.

    Raises:
        DataError: there is no such column, or several.
    """
    declared = _declared_types(schema)
    columns = {
        field.name: leaf
        for field in schema
        if (leaf := _bytes_leaf(field)) and declared.get(field.name) in PICTURE_TYPES
    }
    images = {name: leaf for name, leaf in columns.items() if declared.get(name) == "Image"}
    columns = images or columns
    if not columns:
        raise DataError(
            f"{path} has no column of pictures, which is a binary one or a struct with a binary "
            f"field named bytes; it has {', '.join(schema.names) or 'no columns'}"
        )
    if len(columns) > 1 and USUAL not in columns:
        raise DataError(
            f"{path} has several columns that may hold the pictures, {', '.join(columns)}; "
            f"name the one to use {USUAL}, or write a file with that one alone"
        )
    return columns.get(USUAL) or next(iter(columns.values()))


def _bytes_leaf(field: Any) -> str | None:
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return bool(
            pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
            or pa.types.is_binary_view(kind)
        )

    if binary(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        if index >= 0 and binary(field.type.field(index).type):
            return f"{field.name}.bytes"
    return None


def _declared_types(schema: Any) -> dict[str, str | None]:
    """Return each column's type in the metadata of Hugging Face's datasets, if there are any."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        features = metadata["info"]["features"].items()
        return {name: feature["_type"] for name, feature in features if "_type" in feature}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
