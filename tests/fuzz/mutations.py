"""Random damage to bytes, archives, protobuf messages and text."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Sizes, counts and offsets at which arithmetic goes wrong.
SIZES = (0, 1, -1, 2, 7, 127, 255, 256, 2**15, 2**16, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1)
FLOATS = (0.0, -0.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan"), -1.0)
TEXTS = ("", "x", "\0", "é" * 40, "../x", "/", "%s", "[bold]", "a" * 5000, "-1", "nan", " ")
TOKEN = re.compile(r"[\w.+-]+|\s+|.", re.DOTALL)

Damage = Callable[[bytes, random.Random], bytes]


def damaged(content: bytes, rng: random.Random, *more: Damage) -> bytes:
    """Return a file's content with random damage.

    Args:
        content: the file's.
        rng: decides.
        more: ways of damaging that know the format; half of the damage is theirs.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        ways = more if more and rng.random() < 0.5 else BYTE_WAYS
        content = rng.choice(ways)(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[_position(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    form = rng.choice(("<b", "<h", "<i", "<q", ">i", ">q"))
    size = struct.calcsize(form)
    value = rng.choice(SIZES) & ((1 << 8 * size) - 1)
    new = value.to_bytes(size, "little" if form[0] == "<" else "big")
    at = _position(content, rng)
    return content[:at] + new + content[at + size :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _position(content, rng)]


def _drop(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 16, 256)) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    part = content[at : at + rng.choice((1, 4, 16, 256))]
    return content[:at] + part * rng.choice((2, 3, 20)) + content[at:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _position(content, rng)
    return content[:at] + rng.randbytes(rng.choice((1, 4, 16))) + content[at:]


def _position(content: bytes | bytearray, rng: random.Random) -> int:
    """Return a place; headers, which are short, as often as what they describe."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 200)
    return rng.randrange(max(end, 1))


BYTE_WAYS: tuple[Damage, ...] = (_flip, _overwrite, _cut, _drop, _repeat, _insert)


def damage_zip(content: bytes, rng: random.Random) -> bytes:
    """Damage a member of a ZIP archive, whose checksum is then right; or leave one out."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError):
        return content  # an earlier damage hit the archive
    if not members:
        return content
    chosen = rng.randrange(len(members))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for number, (info, data) in enumerate(members):
            if number != chosen:
                archive.writestr(info, data)
            elif rng.random() < 0.9:
                archive.writestr(info, rng.choice(BYTE_WAYS)(data, rng))
    return written.getvalue()


def damage_onnx(content: bytes, rng: random.Random) -> bytes:
    """Change, drop, repeat or exchange fields of an ONNX file's messages."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # noqa: BLE001 # protobuf's own, which has moved between its versions
        return content
    messages = list(_messages(model))
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(rng.choice(messages), rng)
    try:
        return model.SerializeToString()
    except (ValueError, UnicodeEncodeError):
        return content


def _messages(message: Message) -> Iterator[Message]:
    """Yield a message and those inside, the tensors' values aside."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if isinstance(getattr(message, field.name), _repeated()) else [value]:
                yield from _messages(one)


def _repeated() -> type:
    return type(onnx.ModelProto().opset_import)


def _change(message: Any, rng: random.Random) -> None:
    fields = [field for field, _ in message.ListFields()]
    if not fields or rng.random() < 0.1:
        fields = list(message.DESCRIPTOR.fields)
    field = rng.choice(fields)
    value = getattr(message, field.name)
    is_many = not isinstance(value, (bytes, str, int, float, Message)) and hasattr(value, "append")
    way = rng.choice(("set", "set", "drop", "repeat", "swap"))
    if is_many and len(value):
        _change_many(value, field, way, rng)
    elif way == "drop":
        message.ClearField(field.name)
    elif not is_many and field.type != FieldDescriptor.TYPE_MESSAGE:
        try:
            setattr(message, field.name, _value(field, value, rng))
        except (ValueError, TypeError):
            message.ClearField(field.name)


def _change_many(values: Any, field: Any, way: str, rng: random.Random) -> None:
    at = rng.randrange(len(values))
    if way == "drop":
        del values[at]
    elif way == "repeat":
        values.extend([values[at]])
    elif way == "swap" or field.type == FieldDescriptor.TYPE_MESSAGE:
        order = list(values)
        other = rng.randrange(len(order))
        order[at], order[other] = order[other], order[at]
        copies = [
            type(one).FromString(one.SerializeToString()) if isinstance(one, Message) else one
            for one in order
        ]
        del values[:]
        values.extend(copies)
    else:
        try:
            values[at] = _value(field, values[at], rng)
        except (ValueError, TypeError):
            del values[at]


def _value(field: Any, old: Any, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice((*TEXTS, f"{old}_", str(old)[:-1]))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice(BYTE_WAYS)(bytes(old), rng)
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    return rng.choice((*SIZES, old + 1, old - 1, rng.randrange(32)))


def damage_text(content: bytes, rng: random.Random) -> bytes:
    """Exchange, drop, repeat or replace words of a text."""
    words = TOKEN.findall(content.decode("utf-8", "surrogateescape"))
    if not words:
        return content
    at, other = rng.randrange(len(words)), rng.randrange(len(words))
    way = rng.randrange(5)
    if way == 0:
        words[at], words[other] = words[other], words[at]
    elif way == 1:
        del words[at]
    elif way == 2:
        words.insert(at, words[other])
    elif way == 3:
        words[at] = str(rng.choice((*SIZES, *FLOATS)))
    else:
        words[at] = rng.choice(TEXTS)
    return "".join(words).encode("utf-8", "surrogateescape")


def damage_file(path: Path, rng: random.Random) -> None:
    """Damage a file according to what it holds."""
    content = path.read_bytes()
    ways: tuple[Damage, ...] = ()
    if path.suffix == ".onnx":
        ways = (damage_onnx, damage_onnx, damage_onnx)
    elif content.startswith(b"PK"):
        ways = (damage_zip,)
    elif path.suffix in (".toml", ".txt", ".jsonl", ".csv", ".lst"):
        ways = (damage_text,)
    elif path.suffix == ".safetensors":
        ways = (damage_safetensors,)
    path.write_bytes(damaged(content, rng, *ways))


def damage_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Damage the header of a safetensors file as text, and give its length anew."""
    if len(content) < 8:
        return content
    size = int.from_bytes(content[:8], "little")
    header = damage_text(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
