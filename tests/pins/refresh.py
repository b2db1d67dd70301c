"""Write the table of expected results anew: `python tests/pins/refresh.py`.

The difference to the committed table is for a reader to judge.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pins.cases import CASES, Case
from pins.running import TREE, TreeRunner, build_inputs, run_case
from pins.table import summary, write_table

AT_ONCE = 2


def main() -> None:
    """Run all cases with this tree.

    Raises:
        RuntimeError: a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="lsuv-pins-") as name:
        base = Path(name)
        for case in CASES:
            build_inputs(case, base / "inputs" / case.name)

        def run(case: Case) -> dict[str, Any]:
            inputs = base / "inputs" / case.name
            outcome = run_case(case, inputs, base / case.name, TreeRunner(TREE))
            if outcome.failed:
                raise RuntimeError(f"{case.name}: {outcome.steps}")
            return summary(outcome)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            entries = list(pool.map(run, CASES))
    write_table(dict(zip((case.name for case in CASES), entries, strict=True)))


if __name__ == "__main__":
    main()
