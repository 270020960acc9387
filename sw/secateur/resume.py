"""The state of a run, kept so that a run that was killed goes on and ends as if it had not been.

The state is one file of safetensors in a folder of its own, replaced in one step. With it is kept
what decides the run; where that has changed, the state is refused.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from secateur import parallel
from secateur.artefact import ArrayFile
from secateur.digest import digest_sources, versions
from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from secateur.data import Dataset
    from secateur.project import Project

__all__ = ["Resume", "causes"]

#: The state's file.
FILE = ArrayFile(kind="state", version=1, maker="the command that was broken off")


class Resume:
    """The state of one run, read at once where the folder holds one.

    Parameters
    ----------
    folder : Path, optional
        Made when there is a state to keep; where it is None, none is kept.
    causes : callable
        Gives what decides the run, by names that people know; see :func:`causes`.

    Attributes
    ----------
    description : dict
        JSON values that are kept with each state, for the caller to fill and, of a run that goes
        on, to read.

    Raises
    ------
    BadInputError
        If the folder holds the state of another run, or a damaged one.
    """

    def __init__(
        self, folder: Path | None = None, causes: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self.description: dict[str, Any] = {}
        self._folder = folder
        self._path = None if folder is None else folder / "state.safetensors"
        self._state: dict[str, Tensor] | None = None
        self._causes = {} if folder is None else json.loads(json.dumps(causes()))
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def take(self) -> dict[str, Tensor] | None:
        """Give the tensors of a run that goes on, the first time that they are asked for."""
        state, self._state = self._state, None
        return state

    def keep(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep a state instead of the one before; of several processes the first one does."""
        if self._path is None or parallel.rank() > 0:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()
        }
        FILE.write(self._path, {"about": self.description, "causes": self._causes}, arrays)

    @property
    def note(self) -> str:
        """What the message of a run that fails ends with where a state was kept."""
        if self._path is None or not self._path.exists():
            return ""
        return f" and delete {self._folder}, which keeps the state before that"

    def _read(self, path: Path) -> None:
        try:
            description, arrays = FILE.read(path)
            kept: Any = description["causes"]
            self.description = description["about"]
            if not (isinstance(kept, dict) and isinstance(self.description, dict)):
                raise BadInputError(f"{path} must tell its causes in tables")
        except (BadInputError, KeyError) as error:
            raise BadInputError(
                f"the state of a run that was broken off cannot be read ({error}); delete "
                f"{self._folder} to begin again"
            ) from None
        for name in {**kept, **self._causes}:
            before, now = kept.get(name), self._causes.get(name)
            if before != now:
                # Of a digest there is nothing to see.
                values = f"{name} = {before!r}, not {now!r}" if "." in name else f"another {name}"
                raise BadInputError(
                    f"{self._folder} holds a run that was broken off with {values}; give the same "
                    "again to go on, or delete that folder to begin again"
                )
        self._state = {name: torch.from_numpy(array) for name, array in arrays.items()}


def causes(
    project: Project, sections: tuple[str, ...], module: nn.Module, dataset: Dataset | None
) -> dict[str, Any]:
    """Name all that decides a training: settings, the model and examples, programs, processes.

    Parameters
    ----------
    project : Project
    sections : tuple of str
        The top-level keys of the project that count.
    module : nn.Module
        As it is before the run.
    dataset : Dataset, optional

    Returns
    -------
    dict of str to JSON value
        By dotted keys what can be shown, such as ``"train.epochs"``; by words what are digests.
    """
    found: dict[str, Any] = {}
    for section, value in project.settings(*sections).items():
        table = value if isinstance(value, dict) else {"": value}
        found |= {f"{section}.{key}" if key else f"project.{section}": table[key] for key in table}
    weights = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        weights.update(f"{name} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().numpy())
    examples = hashlib.sha256()
    if dataset is not None:
        for split in (dataset.train, dataset.watched):
            examples.update(f"{split.x.shape}".encode())
            examples.update(split.x.data)
            examples.update(split.labels.data)
    return {
        **found,
        "model": weights.hexdigest(),
        "set of examples": examples.hexdigest(),
        "version of Secateur": digest_sources("sw"),
        "version of Python, NumPy or PyTorch": versions(("numpy", "torch")),
        "number of processes": parallel.size(),
        "kind of processor": parallel.device().type,
    }
