"""What must hold in the logs and reports of a build before its bitstream counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.errors import CheckFailedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_clock", "check_counts", "check_yosys_log", "clamp", "clock_fmax"]


@dataclass(frozen=True, kw_only=True)
class _Defect:
    """A line of Yosys's log after which its exit code of 0 means nothing."""

    pattern: str
    sentence: str


FLIP_FLOPS = "no memories in flip-flops"

#: In the order in which they are reported; the last catches what the others did not name.
DEFECTS = {
    # Yosys deletes the multiplier with this warning, and exits with 0 (synth_ice40 -dsp, 0.50 to
    # 0.70, where the product passes two registers).
    "no driver conflicts": _Defect(
        pattern=r"^Warning: Driver-driver conflict for (\S+)",
        sentence="Yosys resolved a driver-driver conflict for {} and may have deleted logic",
    ),
    "no latches": _Defect(
        pattern=r"^Latch inferred for signal `([^']+)'",
        sentence="Yosys inferred a latch for {}",
    ),
    "no combinational loops": _Defect(
        pattern=r"^Warning: found logic loop in module .*:\n +cell (\S+)",
        sentence="Yosys found a combinational loop through {}",
    ),
    FLIP_FLOPS: _Defect(
        pattern=r"^using FF mapping for memory (\S+)",
        sentence="Yosys built the memory {} of flip-flops",
    ),
    "no other problems": _Defect(
        pattern=r"^Warning: (.+)\n(?:.*\n)*?Found and reported [1-9]\d* problems",
        sentence="Yosys's checks report a problem ({})",
    ),
}


def check_yosys_log(log: Path, *, flip_flop_memories: bool = False) -> list[str]:
    """Check the log of a synthesis, as Yosys's option ``-l`` writes it.

    Parameters
    ----------
    log : Path
        The log.
    flip_flop_memories : bool
        Whether a memory may be built of flip-flops: the device has nothing else for small ones.

    Returns
    -------
    list of str
        The names of the checks that passed: all that were made.

    Raises
    ------
    CheckFailedError
        On the first defect.
    """
    text = log.read_text(errors="replace")
    if "\nEnd of script." not in text:
        raise CheckFailedError(f"Yosys's log {log} ends early; run it again")
    defects = {
        name: defect
        for name, defect in DEFECTS.items()
        if not (flip_flop_memories and name == FLIP_FLOPS)
    }
    for defect in defects.values():
        if found := re.search(defect.pattern, text, re.MULTILINE):
            name = found[1].rstrip(".")
            raise CheckFailedError(f"{defect.sentence.format(name)}; see {log}")
    return [*defects]


def check_counts(
    used: dict[str, int], expected: dict[str, int], *, stage: str = "routed design"
) -> list[str]:
    """Compare the cells of a design with those that it was designed to have.

    Parameters
    ----------
    used, expected : mapping of str to int
        Cells of each kind, in pieces; kinds that are not expected to be a certain number are
        absent from ``expected``.
    stage : str
        What has the cells ``used``.

    Raises
    ------
    CheckFailedError
        If one differs: logic was lost, doubled, or mapped to something else.
    """
    for kind, count in expected.items():
        if used[kind] != count:
            raise CheckFailedError(
                f"the {stage} must have {count} of {kind}, as the engine was designed, "
                f"not {used[kind]}"
            )
    return [f"{count} of {kind}" for kind, count in expected.items()]


def clock_fmax(report: dict) -> float:
    """Return the highest frequency that all clocks in nextpnr's report reach, MHz.

    They are one clock, before and behind the switch that lets it through.

    Raises
    ------
    CheckFailedError
        If it analysed none, or some of different frequencies: then a constraint or the PLL was
        lost.
    """
    clocks = report["fmax"]
    # One of them is derived from the other, and rounded to picoseconds.
    if len({round(clock["constraint"]) for clock in clocks.values()}) != 1:
        found = ", ".join(f"{name} of {each['constraint']:g} MHz" for name, each in clocks.items())
        raise CheckFailedError(f"nextpnr must time clocks of one frequency, not {found or 'none'}")
    return min(clock["achieved"] for clock in clocks.values())


def clamp(
    fmax_mhz: float, utilization: dict, limits_mhz: dict[str, float]
) -> tuple[float, str | None]:
    """Cut a frequency down to that of the slowest kind of cells that nextpnr does not time.

    Returns
    -------
    float
        The frequency, MHz.
    str or None
        The kind that decided it.

    Examples
    --------
    >>> clamp(171.0, {"RAM": {"used": 2}, "DSP": {"used": 0}}, {"RAM": 70.0, "DSP": 50.0})
    (70.0, 'RAM')
    >>> clamp(48.0, {"RAM": {"used": 2}, "DSP": {"used": 0}}, {"RAM": 70.0, "DSP": 50.0})
    (48.0, None)
    """
    used = [(mhz, kind) for kind, mhz in limits_mhz.items() if utilization[kind]["used"]]
    return min([(fmax_mhz, None), *used], key=lambda limit: limit[0])


def check_clock(fmax_mhz: dict[int, float], clock_mhz: float) -> list[str]:
    """Check that the best seed meets the clock.

    Parameters
    ----------
    fmax_mhz : mapping of int to float
        Highest frequency by seed, MHz.
    clock_mhz : float
        The clock, MHz.

    Raises
    ------
    CheckFailedError
        If no seed meets it.
    """
    best = max(fmax_mhz.values())
    if best < clock_mhz:
        short = clock_mhz - best
        raise CheckFailedError(
            f"the clock of {clock_mhz:g} MHz is not met: the best of {len(fmax_mhz)} seeds "
            f"reaches {best:.2f} MHz, {short:.2f} MHz ({short / clock_mhz:.1%}) too little; "
            f"choose a lower clock_mhz or more seeds"
        )
    return [f"clock of {clock_mhz:g} MHz met"]
