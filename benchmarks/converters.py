"""Check the files that `converter_write.py` wrote, and write their table into docs/graphs.md.

PYTHONPATH=tests python benchmarks/converters.py FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converter_table import CONVERTERS

from support.converter_checks import Checked, checked

PAGE = Path(__file__).parent.parent / "docs" / "graphs.md"
BEGIN, END = "<!-- converters: begin -->\n", "<!-- converters: end -->\n"
HEADING = (
    "| Converter | Model | Exit | Layers | Worst \\|Var-1\\| | Left alone |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


def main() -> int:
    """Check all files of a folder; return the number of those that are not right."""
    rows: list[str] = []
    versions: dict[str, str] = {}
    wrong = 0
    for model in models(Path(sys.argv[1])):
        about = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            found = checked(model, model.with_suffix(".npz"), Path(folder), run)
        rows.append(row(about, found))
        versions |= about["versions"]
        problems = [*found.disagreements, *(f"unsaid: {one}" for one in found.unsaid)]
        wrong += bool(problems)
        print(rows[-1], *problems, sep="\n", flush=True)
    used = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    start, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = f"{HEADING}{''.join(f'{one}{chr(10)}' for one in rows)}\nVersions: {used}.\n"
    PAGE.write_text(f"{start}{BEGIN}{table}{END}{rest.partition(END)[2]}", encoding="utf-8")
    return min(wrong, 100)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "lsuv_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def models(folder: Path) -> Iterator[Path]:
    """Yield a folder's files in the table's order."""
    for name in CONVERTERS:
        yield from sorted(folder.glob(f"{name}.*.onnx"))


def row(about: dict[str, Any], found: Checked) -> str:
    """Return a row of the table."""
    layers = ", ".join(f"{n} {status}" for status, n in Counter(found.statuses).items())
    worst = max(found.deviations.values(), default=None)
    code = f"{found.code} (a)" if found.refusal and found.statuses else f"{found.code}"
    cells = (
        about["title"],
        about["model"],
        code,
        layers or found.refusal,
        "" if worst is None else f"{worst:.0e}",
        str(len(found.left_alone) or ""),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
