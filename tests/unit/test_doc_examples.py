"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import lsuv_cli

PACKAGE = Path(lsuv_cli.__file__).parent
WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    # An example that adds to a registry adds to a copy, so that other tests do not meet its entry.
    for registry, entries in list(vars(module).items()):
        if registry.isupper() and type(entries) is dict:
            monkeypatch.setattr(module, registry, dict(entries))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
