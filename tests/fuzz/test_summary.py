"""The number of cases is told wherever they ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ONE = "tests/fuzz/test_host.py::test_any_line"


@pytest.mark.parametrize("processes", [0, 1])
def test_cases_are_counted(processes: int) -> None:
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(processes), ONE],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    assert "\nfuzz: 100 cases in 1 tests\n" in said
