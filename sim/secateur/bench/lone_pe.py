"""A processing element by itself, with a codebook memory where it wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Module, signed

from secateur.gateware.lookup import number_shape

if TYPE_CHECKING:
    from secateur.gateware.pe import ProcessingElement
    from secateur.technology import Codebooks

__all__ = ["with_codebooks"]


def with_codebooks(pe: ProcessingElement) -> tuple[Module, Codebooks | None]:
    """Connect a PE to codebooks of its own; none where codes are weights.

    Returns
    -------
    Module
        The PE, and they.
    Codebooks, optional
        They, whose inputs to write are free.
    """
    m = Module()
    m.submodules.pe = pe
    if not pe.spec.codebook_bits:
        return m, None
    m.submodules.codebooks = codebooks = pe.technology.codebooks(
        signed(pe.spec.weight_width), depth=len(number_shape(pe.spec)), readers=1
    )
    m.d.comb += [
        codebooks.read_address[0].eq(pe.number),
        pe.weight.eq(codebooks.read_value[0]),
    ]
    return m, codebooks
