"""A look at the signals inside a component, for simulation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amaranth.hdl import Fragment, Signal

__all__ = ["Inside"]


class Inside:
    """A component within an elaborated one, and the signals that it assigns.

    Parameters
    ----------
    whole : Fragment
        What is elaborated.
    path : str
        Names of submodules, from the outermost.

    Attributes
    ----------
    component : Component
        With its ports.

    Raises
    ------
    NameError
        If there is no such submodule.
    """

    def __init__(self, whole: Fragment, *path: str) -> None:
        self.path = path
        part: Any = whole  # Amaranth does not document what is in a fragment
        for name in path:
            part = part.find_subfragment(name)
        self.component: Any = part.origins[0]
        self._assigned: dict[str, list[Signal]] = {}
        for statements in part.statements.values():
            for signal in statements._lhs_signals():
                found = self._assigned.setdefault(signal.name, [])
                if all(signal is not each for each in found):
                    found.append(signal)

    def __getitem__(self, name: str) -> Signal:
        """Return the one signal of this name.

        Raises
        ------
        NameError
            If there is none, or several.
        """
        found = self._assigned.get(name, [])
        if len(found) != 1:
            raise NameError(f"{'.'.join(self.path)} assigns {len(found)} signals named {name}")
        return found[0]
