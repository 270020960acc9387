"""The project file: every setting of every stage, read from TOML and checked."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from secateur.engine import POWERS_OF_TWO, RANGES, default_lanes
from secateur.errors import BadInputError

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
]

# Each type carries its rule as its description; a message is "<key> must be <rule>, not <value>".


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError
    return value


_PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]
_Rate = Annotated[float, Field(strict=True, gt=0, le=10)]
_Quality = Annotated[float, Field(strict=True, ge=0, le=10)]
_Density = Annotated[float, Field(strict=True, gt=0, le=1)]
_RATE_RULE = "a number above 0, at most 10"


def _integer(default: int | None, low: int, high: int) -> Any:
    rule = f"an integer between {low} and {high}"
    return Field(default, strict=True, ge=low, le=high, description=rule)


def _engine(name: str, default: int | None = None) -> Any:
    """Make a field with the range of the one of :class:`secateur.engine.EngineSpec`."""
    low, high = RANGES[name]
    kind = "a power of two" if name in POWERS_OF_TWO else "an integer"
    rule = f"{kind} between {low} and {high}"
    return Field(default, strict=True, ge=low, le=high, description=rule)


def _choice(*values: str) -> Any:
    return Field(values[0], description=" or ".join(f'"{value}"' for value in values))


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(_Settings):
    """Where examples come from. The split into train, validation and test is part of the name."""

    name: Literal["digits"] = _choice("digits")


class NetworkSettings(_Settings):
    """The model: widths of a perceptron's hidden layers to train, or a trained checkpoint.

    Parameters
    ----------
    hidden : tuple of int
        Neurons of each hidden layer; empty for a single layer.
    checkpoint : str, optional
        A file that :func:`secateur.checkpoint.save` wrote, relative to the project file.
    """

    hidden: tuple[Annotated[int, Field(strict=True, ge=1, le=65536)], ...] = Field(
        (128, 64),
        max_length=63,
        description="a list of at most 63 integers between 1 and 65536",
    )
    checkpoint: str | None = Field(
        None, strict=True, min_length=1, description="a file name in the project's folder"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.checkpoint is not None and "hidden" in self.model_fields_set:
            raise ValueError("must have hidden or checkpoint, not both; remove one")
        return self


class TrainSettings(_Settings):
    """How the dense network is trained.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the training split; examples a step.
    learning_rate, momentum, weight_decay : float
        Of the optimizer; weight decay is L2. Adam has no momentum of this name and ignores it.
    """

    epochs: int = _integer(60, 1, 100_000)
    batch_size: int = _integer(32, 1, 65536)
    optimizer: Literal["sgd", "adam"] = _choice("sgd", "adam")
    learning_rate: _Rate = Field(0.05, description=_RATE_RULE)
    momentum: float = Field(0.9, strict=True, ge=0, lt=1, description="a number from 0, below 1")
    weight_decay: float = Field(
        5e-4, strict=True, ge=0, le=1, description="a number between 0 and 1"
    )


class PruneSettings(_Settings):
    """How weights are removed and the rest retrained.

    Parameters
    ----------
    quality : float or tuple of float, optional
        The threshold of a layer is this times the standard deviation of its weights; one number
        for all layers or one for each.
    density : float or tuple of float, optional
        Part of a layer's weights to keep, instead of a quality; 0.1 where neither is given.
    rounds, epochs : int
        Prune-and-retrain rounds; retraining epochs of each.
    learning_rate : float, optional
        For retraining; a tenth of training's where absent (Han et al. 2015, section 3).
    """

    quality: _Quality | tuple[_Quality, ...] | None = Field(
        None, description="a number between 0 and 10, or a list of one for each layer"
    )
    density: _Density | tuple[_Density, ...] | None = Field(
        None, description="a number above 0, at most 1, or a list of one for each layer"
    )
    rounds: int = _integer(4, 1, 1000)
    epochs: int = _integer(10, 0, 100_000)
    learning_rate: _Rate | None = Field(None, description=_RATE_RULE)

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        given = {key for key in ("quality", "density") if settings.get(key) is not None}
        if len(given) == 2:
            raise ValueError("must have quality or density, not both; remove one")
        return settings if given else {**settings, "density": 0.1}


class QuantizeSettings(_Settings):
    """Number formats, in bits, and what they are chosen with.

    Parameters
    ----------
    codebook_bits : int
        Weights share at most ``2**codebook_bits`` values a layer; 0 stores each directly.
    calibration_images : int
        Training examples that the activations' scales are chosen with.
    """

    activation_width: int = _engine("activation_width", 8)
    weight_width: int = _engine("weight_width", 8)
    codebook_bits: int = _engine("codebook_bits", 0)
    calibration_images: int = _integer(1000, 1, 1_000_000)


class EngineSettings(_Settings):
    """The engine's size; fields as in :class:`secateur.engine.EngineSpec`.

    What is absent is the smallest that holds the network.
    """

    pes: int = _engine("pes", 8)
    lanes: _PowerOfTwo | None = _engine("lanes")
    index_width: int = _engine("index_width", 4)
    queue_depth: _PowerOfTwo = _engine("queue_depth", 8)
    banks: int = _engine("banks", 2)
    accumulator_width: int | None = _engine("accumulator_width")
    weight_depth: _PowerOfTwo | None = _engine("weight_depth")
    column_depth: _PowerOfTwo | None = _engine("column_depth")
    row_depth: _PowerOfTwo | None = _engine("row_depth")
    activation_depth: _PowerOfTwo | None = _engine("activation_depth")
    bias_depth: _PowerOfTwo | None = _engine("bias_depth")
    layer_depth: _PowerOfTwo | None = _engine("layer_depth")

    @model_validator(mode="after")
    def _lanes_divide(self) -> Self:
        if self.lanes is not None and self.pes % self.lanes:
            raise ValueError(
                f"must have lanes that divide pes ({self.pes}), not {self.lanes}; "
                f"leave lanes out for {default_lanes(self.pes)}"
            )
        return self

    def fit_arguments(self) -> dict[str, int]:
        """Keyword arguments for :func:`secateur.encode.fit`: every field that is given."""
        return self.model_dump(exclude_none=True)


class SimulateSettings(_Settings):
    """The simulation; ``images`` limits the test examples, all of them where it is absent."""

    simulator: Literal["verilator", "icarus"] = _choice("verilator", "icarus")
    images: int | None = _integer(None, 1, 1_000_000)


class SynthesizeSettings(_Settings):
    """The bitstream.

    Parameters
    ----------
    device : str
        A device that the synthesis stage describes.
    clock_mhz : float
        Clock of the engine, MHz.
    seeds : tuple of int
        nextpnr's seeds, one place-and-route run each.
    baud : int
        Of the board's UART, bits a second.
    """

    device: str = Field(
        "ecp5-25k",
        strict=True,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description='the name of a device, such as "ecp5-25k"',
    )
    clock_mhz: float = Field(
        50.0, strict=True, ge=1, le=500, description="a number between 1 and 500"
    )
    seeds: tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] = Field(
        (1,),
        min_length=1,
        description="a list of at least one integer between 0 and 2147483647",
    )
    baud: int = _integer(1_000_000, 1200, 12_000_000)


def _table(section: type[_Settings]) -> Any:
    return Field(default_factory=section, description="a table of settings")


class Project(_Settings):
    """A checked project file.

    Examples
    --------
    >>> project = Project(name="small", network=NetworkSettings(hidden=(16,)))
    >>> project.settings("seed", "network")
    {'network': {'checkpoint': None, 'hidden': [16]}, 'seed': 1}
    >>> project.engine.fit_arguments()
    {'pes': 8, 'index_width': 4, 'queue_depth': 8, 'banks': 2}
    """

    name: str = Field(
        strict=True,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="1 to 64 letters, digits, - and _, the first a letter or digit",
    )
    seed: int = _integer(1, 0, 2**31 - 1)
    data: DataSettings = _table(DataSettings)
    network: NetworkSettings = _table(NetworkSettings)
    train: TrainSettings = _table(TrainSettings)
    prune: PruneSettings = _table(PruneSettings)
    quantize: QuantizeSettings = _table(QuantizeSettings)
    engine: EngineSettings = _table(EngineSettings)
    simulate: SimulateSettings = _table(SimulateSettings)
    synthesize: SynthesizeSettings = _table(SynthesizeSettings)

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
                tables = {"name": path.stem, **tomllib.load(file)}
            project = cls.model_validate(tables)
        except FileNotFoundError:
            raise BadInputError(f"{path} does not exist; give the path of a project file") from None
        except OSError as error:
            raise BadInputError(
                f"{path} cannot be read ({error.strerror}); give the path of a project file"
            ) from None
        except UnicodeDecodeError:
            raise BadInputError(f"{path} is not UTF-8 text; give a TOML project file") from None
        except tomllib.TOMLDecodeError as error:
            raise BadInputError(f"{path} is not TOML: {error}; correct it there") from None
        except ValidationError as error:
            raise BadInputError(f"{path}: {_sentence(error, tables)}") from None
        project._folder = path.resolve().parent
        project._check_checkpoint(path)
        return project

    def _check_checkpoint(self, path: Path) -> None:
        checkpoint = self.checkpoint
        if checkpoint is None:
            return
        if not checkpoint.is_relative_to(self._folder):
            raise BadInputError(
                f"{path}: network.checkpoint must be a file in the project's folder, "
                f"not {self.network.checkpoint!r}; copy it there"
            )
        if not checkpoint.is_file():
            raise BadInputError(
                f"{path}: network.checkpoint names {self.network.checkpoint!r}, which is no file "
                f"in the project's folder; correct the name or give network.hidden instead"
            )

    @property
    def checkpoint(self) -> Path | None:
        """The trained model's file, absolute, where the project starts from one."""
        name = self.network.checkpoint
        return None if name is None else (self._folder / name).resolve()

    def settings(self, *sections: str) -> dict[str, Any]:
        """Chosen top-level keys as plain JSON values, sorted."""
        everything = self.model_dump(mode="json")
        return json.loads(json.dumps({key: everything[key] for key in sections}, sort_keys=True))

    def digest(self, *sections: str) -> str:
        """SHA-256 of :meth:`settings` and of the checkpoint's bytes where ``network`` names one."""
        sha = hashlib.sha256(json.dumps(self.settings(*sections), sort_keys=True).encode())
        if "network" in sections and self.checkpoint is not None:
            sha.update(self.checkpoint.read_bytes())
        return sha.hexdigest()

    @model_validator(mode="after")
    def _one_target_per_layer(self) -> Self:
        layers = len(self.network.hidden) + 1
        for key in ("quality", "density"):
            target = getattr(self.prune, key)
            if (
                self.network.checkpoint is None
                and isinstance(target, tuple)
                and len(target) != layers
            ):
                raise ValueError(
                    f"prune.{key} must have one number for each of the network's {layers} layers, "
                    f"not {len(target)}"
                )
        return self


def _sections() -> dict[str, type[_Settings]]:
    return {
        name: field.annotation
        for name, field in Project.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Settings)
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
    return f"{'.'.join(path)} must be {fields[path[-1]].description}, not {value!r}"
