"""docs/faust.md: each hazard names a test, and the tests are there."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROWS = [line for line in (REPOSITORY / "docs/faust.md").read_text().splitlines() if line.startswith("| ")][2:]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_hazard_names_a_test_that_exists():
    assert len(ROWS) >= 14
    for row in ROWS:
        named = TEST.findall(row.split(" | ")[-1])
        assert named, row
        for path, test in named:
            assert test in functions(REPOSITORY / path), row


def functions(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}
