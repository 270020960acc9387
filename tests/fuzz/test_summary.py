"""The number of cases is told, also where another process ran them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ONE = "tests/fuzz/test_host.py::test_any_line"


def test_cases_are_counted() -> None:
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", ONE],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    assert "\nfuzz: 100 cases in 1 tests\n" in said
