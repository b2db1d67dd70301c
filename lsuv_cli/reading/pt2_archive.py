"""Archives that torch.export.save writes: told from other zip files, and checked to be data alone.

`torch.export.load` unpickles some members, evaluates expressions and imports modules that a file
names. An archive that needs any of these for more than tensors, sizes and containers is refused
before PyTorch sees it, so that loading runs no code of the file's.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.model_format import open_bytes, zip_members

SAVE_CALL = 'torch.export.save(torch.export.export(module.eval(), (x,)), "model.pt2")'

# Members, behind the archive's root folder. PyTorch 2.7 and before kept the program in the second.
FORMAT_MEMBER = "archive_format"
OLD_PROGRAM = "serialized_exported_program.json"
COMPILED_FOLDER = "data/aotinductor/"
PROGRAM = re.compile(r"models/.+\.json")
PAYLOADS = re.compile(r"data/(weights|constants)/.*_config\.json")
FOREIGN_OBJECT = re.compile(r"data/constants/(custom_obj|opaque_obj)_.*")
PICKLED = re.compile(
    r"data/(weights|constants|sample_inputs)/.*\.pt"
    r"|serialized_(state_dict|constants|example_inputs)\.pt"
)

OPERATOR = re.compile(
    r"torch\.ops\.\w+\.\w+(\.\w+)?|torch\.sym_\w+|torch\._functorch\.predispatch\.\w+|math\.\w+"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift"
    r"|rshift|getitem)"
)
# Expressions of sizes, as sympy.srepr writes them: Mul(Integer(2), Symbol('s77', integer=True)).
TOKEN = re.compile(
    r"\s+|\d+(\.\d*)?(e[+-]?\d+)?|(Symbol\('\w+'|Float\('[-+\w.]+')|(?P<word>[A-Za-z_]\w*)"
    r"|[-+*/%(),<>=!&|~]"
)
WORD = re.compile(
    r"FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|LShift"
    r"|RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator"
    r"|TruncToFloat|TruncToInt|RoundToInt|RoundDecimal|ToFloat|Identity|Max|Min|Abs|Eq|Ne|Lt|Le"
    r"|Gt|Ge|And|Or|Not|Xor|Add|Mul|Pow|Integer|Float|Rational|Half|One|Zero|NegativeOne|floor"
    r"|ceiling|sqrt|log|exp|sign|Piecewise|Equality|Unequality|GreaterThan|LessThan"
    r"|StrictGreaterThan|StrictLessThan|positive|negative|nonnegative|integer|real|finite"
    r"|precision|oo|int_oo|true|false|True|False"
    r"|[a-z]{1,4}\d+"  # a symbol
)
FACTORIES = frozenset(("list", "dict", "set", "tuple", "int", "float", "str", "bool"))


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that is data alone.

    Attributes:
        torch_version: the version of PyTorch that wrote it; "" where it does not tell.
        containers: the types of its inputs and outputs, as the file names them.
    """

    torch_version: str
    containers: frozenset[str]


def archive_members(path: Path, content: bytes | None) -> list[str]:
    """Return the names in a zip file, without its root folder; [] where it is none.

    Args:
        path: the file; it need not exist.
        content: its bytes, if they have been read already.
    """
    try:
        names = zip_members(path, content) or []
    except OSError:
        return []
    return list(_without_root(names))


def is_program(members: Sequence[str]) -> bool:
    """Say whether an archive with these members is an exported program, compiled or not."""
    return (
        FORMAT_MEMBER in members
        or OLD_PROGRAM in members
        or any(name.startswith(COMPILED_FOLDER) for name in members)
    )


def check_archive(path: Path, content: bytes | None) -> Archive:
    """Check that an archive holds one program, and that loading it will run no code of its own.

    Args:
        path: the archive.
        content: its bytes, if they have been read already.

    Raises:
        ModelError: it does not, or it is broken.
    """
    with open_bytes(path, content) as file, zipfile.ZipFile(file) as archive:
        members = _without_root(archive.namelist())
        try:
            return _checked(path, archive, members)
        except _UnsafeError as error:
            raise ModelError(
                f"{path} holds {error}, which could only be loaded by running code that the file "
                f"names; export the module itself anew, by {SAVE_CALL}"
            ) from None
        except (zipfile.BadZipFile, ValueError, TypeError, KeyError, RecursionError, OSError):
            raise ModelError(f"{path} is a broken .pt2 file; export the module anew") from None


class _UnsafeError(Exception):
    """Something in an archive needs code to be run; the text says what."""


def _without_root(names: Sequence[str]) -> dict[str, str]:
    """Return the names of an archive's members, by those without its root folder."""
    roots = {name.partition("/")[0] for name in names}
    cut = len(next(iter(roots))) + 1 if len(roots) == 1 else 0
    return {name[cut:]: name for name in names}


def _checked(path: Path, archive: zipfile.ZipFile, members: dict[str, str]) -> Archive:
    if any(name.startswith(COMPILED_FOLDER) for name in members):
        raise ModelError(
            f"{path} was compiled by AOTInductor, whose weights can't be exchanged; give the "
            f"program it was compiled from, saved by {SAVE_CALL}"
        )
    # PyTorch's reader of zip files does not tell capitals from small letters.
    if len({name.lower() for name in archive.namelist()}) < len(archive.namelist()):
        raise _UnsafeError("two members of one name")
    programs = [name for name in members if PROGRAM.fullmatch(name) or name == OLD_PROGRAM]
    if len(programs) != 1 or programs[0] not in ("models/model.json", OLD_PROGRAM):
        raise ModelError(
            f"{path} holds {len(programs)} programs ({', '.join(programs) or 'none'}) and not one "
            f"by the name of model; save that alone, by {SAVE_CALL}"
        )
    for name, full in members.items():
        if FOREIGN_OBJECT.fullmatch(name):
            raise _UnsafeError(f"an object that is no tensor ({name})")
        if PICKLED.fullmatch(name):
            _refuse_pickled_objects(name, archive.read(full))
        if PAYLOADS.fullmatch(name):
            _refuse_code(json.loads(archive.read(full)))
    program = json.loads(archive.read(members[programs[0]]))
    _refuse_code(program)
    containers: set[str] = set()
    for text in _strings(program["graph_module"].get("module_call_graph"), ("in_spec", "out_spec")):
        containers |= _containers(json.loads(text))
    return Archive(str(program.get("torch_version", "")), frozenset(containers))


def _refuse_pickled_objects(name: str, content: bytes) -> None:
    import torch

    try:
        if content:
            torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception:  # noqa: BLE001 - whatever keeps it from being read as tensors alone
        raise _UnsafeError(f"pickled objects that are no tensors ({name})") from None


def _refuse_code(value: Any) -> None:
    """Refuse what PyTorch would call or evaluate: operators, expressions and pickled payloads."""
    if isinstance(value, list):
        for one in value:
            _refuse_code(one)
    elif isinstance(value, dict):
        if value.get("use_pickle"):
            raise _UnsafeError(f"a pickled tensor ({value.get('path_name')})")
        if "inputs" in value and not OPERATOR.fullmatch(str(value.get("target", "torch.ops.a.b"))):
            raise _UnsafeError(f"the function {value['target']}")
        if "expr_str" in value:
            _refuse_calls(value["expr_str"])
        for one in value.values():
            _refuse_code(one)


def _refuse_calls(expression: str) -> None:
    """Refuse an expression of more than sizes and arithmetic, as PyTorch has it evaluated."""
    position = 0
    while position < len(expression):
        token = TOKEN.match(expression, position)
        word = token["word"] if token else None
        if token is None or (word is not None and not WORD.fullmatch(word)):
            raise _UnsafeError(f"the expression {expression[:80]}")
        position = token.end()


def _strings(value: Any, keys: Sequence[str]) -> Iterator[str]:
    """Yield the texts that some keys have, however deep."""
    if isinstance(value, list):
        for one in value:
            yield from _strings(one, keys)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in keys and isinstance(one, str):
                yield one
            else:
                yield from _strings(one, keys)


def _containers(spec: Any) -> set[str]:
    """Return the types in a description of inputs or outputs.

    Raises:
        _UnsafeError: PyTorch would import a module to read it.
    """
    if isinstance(spec, list):
        return set().union(*map(_containers, spec))
    if not isinstance(spec, dict):
        return set()
    context = spec.get("context")
    if isinstance(context, dict) and "default_factory_module" in context:
        factory = context["default_factory_module"], context.get("default_factory_name")
        if factory[0] != "builtins" or factory[1] not in FACTORIES:
            raise _UnsafeError(f"the function {'.'.join(map(str, factory))}")
    if "__enum__" in json.dumps(context):
        raise _UnsafeError("an enumeration among its inputs")
    found = {str(spec["type"])} if spec.get("type") else set()
    return found | _containers(spec.get("children_spec", []))
