"""Deliberate faults in the gateware, which a proof must find."""

from __future__ import annotations

import importlib
import inspect
import types
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amaranth.lib.wiring import Component

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fault", "planted"]

#: The method that describes a component's circuit.
ELABORATE = "elaborate"


@dataclass(frozen=True)
class Fault:
    """One change of a module's text, after which a condition no longer holds.

    Parameters
    ----------
    module : str
        Name of the module under ``secateur.gateware``.
    old : str
        Text that stands in it exactly once, within a component's ``elaborate``.
    new : str
        Text instead of it.
    breaks : str
        The condition that a proof finds broken.
    """

    module: str
    old: str
    new: str
    breaks: str


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Elaborate the module's components with the fault, whoever imported them, for a while."""
    module = importlib.import_module(f"secateur.gateware.{fault.module}")
    source = inspect.getsource(module)
    count = source.count(fault.old)
    assert count == 1, f"{fault.module} has {count} times {fault.old!r}"
    faulty = types.ModuleType(module.__name__)
    text = source.replace(fault.old, fault.new)
    exec(compile(text, f"{module.__file__} with a fault", "exec"), vars(faulty))
    healthy = {
        one: vars(one)[ELABORATE]
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, Component)
        and one.__module__ == module.__name__
    }
    assert healthy, f"{fault.module} has no component"
    for one in healthy:
        setattr(one, ELABORATE, vars(vars(faulty)[one.__name__])[ELABORATE])
    try:
        yield
    finally:
        for one, elaborate in healthy.items():
            setattr(one, ELABORATE, elaborate)
