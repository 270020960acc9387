"""The project file: every setting of every stage, read from TOML and checked."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from secateur.errors import BadInputError
from secateur.settings import (
    TARGETS,
    DataSettings,
    EngineSettings,
    NetworkSettings,
    PruneSettings,
    QuantizeSettings,
    Settings,
    SimulateSettings,
    SynthesizeSettings,
    TrainSettings,
    VerifySettings,
    integer,
)

__all__ = [
    "DataSettings",
    "EngineSettings",
    "NetworkSettings",
    "Project",
    "PruneSettings",
    "QuantizeSettings",
    "SimulateSettings",
    "SynthesizeSettings",
    "TrainSettings",
    "VerifySettings",
]


def _table(section: type[Settings]) -> Any:
    return Field(default_factory=section, description="a table of settings")


class Project(Settings):
    """A checked project file.

    Examples
    --------
    >>> project = Project(name="small", network=NetworkSettings(hidden=(16,)))
    >>> project.settings("seed", "network")
    {'network': {'architecture': 'perceptron', 'checkpoint': None, 'hidden': [16]}, 'seed': 1}
    >>> project.engine.fit_arguments()
    {'pes': 8, 'padding': 0.05, 'banks': 2}
    """

    name: str = Field(
        strict=True,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="1 to 64 letters, digits, - and _, the first a letter or digit",
    )
    seed: int = integer(1, 0, 2**31 - 1)
    data: DataSettings = _table(DataSettings)
    network: NetworkSettings = _table(NetworkSettings)
    train: TrainSettings = _table(TrainSettings)
    prune: PruneSettings = _table(PruneSettings)
    quantize: QuantizeSettings = _table(QuantizeSettings)
    engine: EngineSettings = _table(EngineSettings)
    simulate: SimulateSettings = _table(SimulateSettings)
    synthesize: SynthesizeSettings = _table(SynthesizeSettings)
    verify: VerifySettings = _table(VerifySettings)

    _folder: Path = PrivateAttr(default_factory=Path)

    @classmethod
    def load(cls, path: Path) -> Project:
        """Read a project file; ``name`` is the file's own where it is absent.

        Raises
        ------
        BadInputError
            If the file cannot be read, is not TOML, or a setting is not allowed.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                tables = tomllib.load(file)
        except FileNotFoundError:
            raise BadInputError(f"{path} does not exist; give the path of a project file") from None
        except OSError as error:
            raise BadInputError(
                f"{path} cannot be read ({error.strerror}); give the path of a project file"
            ) from None
        except UnicodeDecodeError:
            raise BadInputError(f"{path} is not UTF-8 text; give a TOML project file") from None
        # TOMLDecodeError, a number of thousands of digits, or too deep nesting.
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            reason = "it nests too deep" if deep else str(error).partition(";")[0]
            raise BadInputError(f"{path} is not TOML: {reason}; correct it there") from None
        try:
            project = cls.model_validate({"name": path.stem, **tables})
        except ValidationError as error:
            if "name" not in tables and error.errors()[0]["loc"] == ("name",):
                raise BadInputError(
                    f"{path} gives no name, and the file's must be "
                    f"{cls.model_fields['name'].description}, not {path.stem!r}; rename the file "
                    f"or give name"
                ) from None
            raise BadInputError(f"{path}: {_sentence(error, tables)}") from None
        project._folder = path.resolve().parent
        project._check_file(path, "network.checkpoint", project.network.checkpoint, "hidden")
        project._check_file(path, "data.file", project.data.file, "name")
        return project

    def _check_file(self, path: Path, key: str, name: str | None, instead: str) -> None:
        file = self._resolve(name)
        if file is None:
            return
        if not file.is_relative_to(self._folder):
            raise BadInputError(
                f"{path}: {key} must be a file in the project's folder, not {name!r}; copy it there"
            )
        if not os.path.isfile(file):  # noqa: PTH113  (False where no file can have such a name)
            section = key.partition(".")[0]
            raise BadInputError(
                f"{path}: {key} names {name!r}, which is no file in the project's folder; "
                f"correct the name or give {section}.{instead} instead"
            )

    def _resolve(self, name: str | None) -> Path | None:
        return None if name is None else Path(os.path.realpath(self._folder / name))

    @property
    def checkpoint(self) -> Path | None:
        """The trained model's file, absolute, where the project starts from one."""
        return self._resolve(self.network.checkpoint)

    @property
    def groups(self) -> int:
        """Groups of rows, dealt in turn, that pruning leaves equally many weights."""
        return self.engine.groups if self.prune.balance else 1

    def fitting(self, device: str) -> Project:
        """Give the same project with ``prune.fit`` as the target of pruning, and no other.

        Examples
        --------
        >>> Project(name="small").fitting("ecp5-25k").prune.target
        ('fit', 'ecp5-25k')
        """
        prune = self.prune.model_copy(update={**dict.fromkeys(TARGETS), "fit": device})
        return self.model_copy(update={"prune": prune})

    @property
    def data_file(self) -> Path | None:
        """The examples' file, absolute, where they are the user's own."""
        return self._resolve(self.data.file)

    def settings(self, *sections: str) -> dict[str, Any]:
        """Chosen top-level keys as plain JSON values, sorted."""
        everything = self.model_dump(mode="json")
        return json.loads(json.dumps({key: everything[key] for key in sections}, sort_keys=True))

    def digest(self, *sections: str) -> str:
        """SHA-256 of :meth:`settings` and of the bytes of the files that these sections name."""
        sha = hashlib.sha256(json.dumps(self.settings(*sections), sort_keys=True).encode())
        for section, file in (("network", self.checkpoint), ("data", self.data_file)):
            if section in sections and file is not None:
                sha.update(hashlib.sha256(file.read_bytes()).digest())
        return sha.hexdigest()

    @model_validator(mode="after")
    def _one_target_per_layer(self) -> Self:
        if "hidden" not in self.network.model_fields_set:
            return self  # the model may come from elsewhere, so pruning checks it
        layers = len(self.network.hidden) + 1
        for key in ("quality", "density"):
            target = getattr(self.prune, key)
            if isinstance(target, tuple) and len(target) != layers:
                raise ValueError(
                    f"prune.{key} must have one number for each of the network's {layers} layers, "
                    f"not {len(target)}"
                )
        return self


def _sections() -> dict[str, type[Settings]]:
    return {
        name: field.annotation
        for name, field in Project.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    }


def _nearest(section: str, key: str) -> str:
    """Find the known key most like an unknown one, in the same section if equally like."""
    known = [("", name) for name in Project.model_fields]
    known += [(name, key) for name, kind in _sections().items() for key in kind.model_fields]

    def likeness(candidate: tuple[str, str]) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, key, candidate[1]).ratio(), candidate[0] == section

    return ".".join(filter(None, max(known, key=likeness)))


def _sentence(error: ValidationError, tables: dict[str, Any]) -> str:
    """Say the first of pydantic's errors about ``tables`` in one sentence."""
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        *section, key = keys
        nearest = _nearest(".".join(section), key)
        return f"{'.'.join(keys)} is not a known key; the nearest is {nearest}"
    if "ctx" in first and first["type"] == "value_error" and len(keys) < 2:
        # A rule about several keys, which says them itself.
        return " ".join([*(f"[{key}]" for key in keys), str(first["ctx"]["error"])])
    fields: Any = Project.model_fields
    value: Any = tables
    path = []
    for key in keys:  # what follows the key of a setting is inside its value
        path.append(key)
        value = value[key]
        if key not in _sections() or not isinstance(value, dict):
            break
        fields = _sections()[key].model_fields
    return f"{'.'.join(path)} must be {fields[path[-1]].description}, not {_shown(value)}"


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # from hexadecimal digits, which Python reads however many they are
        return "a number of thousands of digits"
