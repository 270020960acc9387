"""What all tests share: the same cases on every machine, and a reason for those left out."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from secateur import mnist

ROOT = Path(__file__).resolve().parent.parent

set_hypothesis_home_dir(ROOT / "build" / "tools" / "hypothesis")
# Seeds are literals here: what fails once must fail again, and a slow machine is no failure.
settings.register_profile("secateur", derandomize=True, database=None, deadline=None)
settings.load_profile("secateur")
# `make fuzz`: other cases every time; what fails is printed so that it can be run again.
settings.register_profile(
    "nightly", max_examples=4000, database=None, deadline=None, print_blob=True
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many hostile cases were tried, also by processes of pytest-xdist."""
    counted = [
        int(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "fuzz cases"
    ]
    if counted:
        terminalreporter.write_line(f"fuzz: {sum(counted):,} cases in {len(counted)} tests")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs MNIST where it is not; nothing is downloaded for a test."""
    folder = mnist.folder()
    if item.get_closest_marker("mnist") and not all(
        (folder / name).exists() for name in mnist.FILES
    ):
        pytest.skip(f"needs MNIST, which is not in {folder}; set SECATEUR_DATA")
