"""What the gateware takes from an FPGA: memories, codebooks, multipliers, adders, in its cells.

Every technology has the members and the timing of :mod:`secateur.technology.portable`.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.technology.portable import Adder, Codebooks, Memory, Multiplier

__all__ = ["OWN", "PORTABLE", "Adder", "Codebooks", "Memory", "Multiplier", "Technology"]


@dataclass(frozen=True, kw_only=True)
class Technology:
    """The cells of one family of FPGAs.

    Parameters
    ----------
    name : str
        Of the family.
    memory : type
        Makes the memories.
    large_memory : type
        Makes those that hold the weights. It may lose the word that is read in a cycle in which
        another one is written to the only bank.
    codebooks : type
        Makes the codebooks that some PEs look values up in.
    multiplier : type
        Makes the multipliers.
    adder : type
        Makes the adders that choose what they add.
    """

    name: str
    memory: type[Memory]
    large_memory: type[Memory]
    codebooks: type[Codebooks]
    multiplier: type[Multiplier]
    adder: type[Adder]


#: Attribute of a register that lies near what it drives, beside equal ones that lie elsewhere. A
#: family whose flip-flops take no LUT's place has Yosys keep them apart.
OWN = "own"

#: For any FPGA: Yosys picks the cells.
PORTABLE = Technology(
    name="portable",
    memory=Memory,
    large_memory=Memory,
    codebooks=Codebooks,
    multiplier=Multiplier,
    adder=Adder,
)
