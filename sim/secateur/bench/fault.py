"""Deliberate faults in sources, which a proof or a test must find."""

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

__all__ = ["Fault", "planted", "replaced"]


def replaced(text: str, old: str, new: str, *, where: str) -> str:
    """Put ``new`` in the place of ``old``, which stands in the text of ``where`` exactly once.

    Raises
    ------
    LookupError
        If it does not.

    Examples
    --------
    >>> replaced("a + b", "+", "-", where="a file")
    'a - b'
    """
    if (count := text.count(old)) != 1:
        raise LookupError(
            f"{where} must hold {old!r} once, not {count} times; correct the deliberate fault"
        )
    return text.replace(old, new)


@dataclass(frozen=True)
class Fault:
    """One change of a module's text, after which a condition no longer holds.

    Parameters
    ----------
    module : str
        Name of the module under ``secateur.gateware``.
    old : str
        Text that stands in it exactly once, within a method of a component other than ``__init__``.
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
    """Elaborate the module's components with the fault, whoever imported them, for a while.

    Raises
    ------
    LookupError
        If the fault does not fit the module.
    """
    module = importlib.import_module(f"secateur.gateware.{fault.module}")
    text = replaced(inspect.getsource(module), fault.old, fault.new, where=fault.module)
    faulty = types.ModuleType(module.__name__)
    exec(compile(text, f"{module.__file__} with a fault", "exec"), vars(faulty))
    healthy = [
        (one, name, method)
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, Component)
        and one.__module__ == module.__name__
        for name, method in vars(one).items()
        if isinstance(method, types.FunctionType) and name != "__init__"
    ]
    assert healthy, f"{fault.module} has no component"
    try:
        for one, name, _ in healthy:
            setattr(one, name, vars(vars(faulty)[one.__name__])[name])
        yield
    finally:
        for one, name, method in healthy:
            setattr(one, name, method)
