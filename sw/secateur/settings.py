"""The sections of a project file: one class for each, whose fields carry their own rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from secateur.engine import POWERS_OF_TWO, RANGES, default_lanes
from secateur.protocol import BAUD

__all__ = [
    "DataSettings",
    "EngineSettings",
    "NetworkSettings",
    "PruneSettings",
    "QuantizeSettings",
    "Settings",
    "SimulateSettings",
    "SynthesizeSettings",
    "TrainSettings",
    "VerifySettings",
    "integer",
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
_Part = Annotated[float, Field(strict=True, gt=0, lt=1)]
_Share = Annotated[float, Field(strict=True, ge=0, lt=1)]
_LOW, _HIGH = RANGES["index_width"]
_Index = Annotated[int, Field(strict=True, ge=_LOW, le=_HIGH)]


def integer(default: int | None, low: int, high: int) -> Any:
    """Make a field for an integer; both bounds are allowed."""
    rule = f"an integer between {low} and {high}"
    return Field(default, strict=True, ge=low, le=high, description=rule)


def _engine(name: str, default: int | None = None) -> Any:
    """Make a field with the range of the one of :class:`secateur.engine.EngineSpec`."""
    low, high = RANGES[name]
    kind = "a power of two" if name in POWERS_OF_TWO else "an integer"
    rule = f"{kind} between {low} and {high}"
    return Field(default, strict=True, ge=low, le=high, description=rule)


def _choice(*values: str) -> Any:
    *others, last = [f'"{value}"' for value in values]
    return Field(values[0], description=f"{', '.join(others)} or {last}")


class Settings(BaseModel):
    """A table of settings: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _file() -> Any:
    rule = "a file name in the project's folder"
    return Field(None, strict=True, pattern=r"^[^\x00]+$", description=rule)


def _device(default: str | None) -> Any:
    rule = 'the name of a device, such as "ecp5-25k"'
    return Field(default, strict=True, pattern=r"^[a-z0-9][a-z0-9-]*$", description=rule)


class DataSettings(Settings):
    """Where examples come from, split into train, validation and test.

    Parameters
    ----------
    name : {"digits", "digits-8x8", "mnist", "none"}
        A set of examples: scikit-learn's, which comes with Secateur, as rows of 64 pixels or as
        images of one channel, for convolutions; MNIST, which is read from the folder that
        ``SECATEUR_DATA`` names or downloaded once; or none, for a trained model that is pruned
        without retraining and whose accuracy is then unknown.
    file : str, optional
        Examples of your own instead: an .npz file with the arrays that
        :data:`secateur.npz.ARRAYS` lists, relative to the project file.
    validation : int
        Of MNIST's 60,000 training images, those that are watched instead of learnt from. Where it
        is 0, some of those that are learnt from are watched.
    """

    name: Literal["digits", "digits-8x8", "mnist", "none"] = _choice(
        "digits", "digits-8x8", "mnist", "none"
    )
    file: str | None = _file()
    validation: int = integer(5000, 0, 30_000)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.file is not None and "name" in self.model_fields_set:
            raise ValueError("must have name or file, not both; remove one")
        if self.name != "mnist" and "validation" in self.model_fields_set:
            raise ValueError('must have validation with the name "mnist" only; remove it')
        return self


class NetworkSettings(Settings):
    """The model: an architecture to train, or a trained checkpoint.

    Parameters
    ----------
    architecture : str
        A perceptron with layers of your choice, or one of the networks of
        :mod:`secateur.architectures`.
    hidden : tuple of int
        Neurons of each hidden layer of the perceptron; empty for a single layer.
    checkpoint : str, optional
        A file that :func:`secateur.checkpoint.save` wrote, relative to the project file.
    """

    architecture: Literal[
        "perceptron", "digits-cnn", "lenet-300-100", "lenet5", "alexnet", "vgg16"
    ] = _choice("perceptron", "digits-cnn", "lenet-300-100", "lenet5", "alexnet", "vgg16")
    hidden: tuple[Annotated[int, Field(strict=True, ge=1, le=65536)], ...] = Field(
        (128, 64),
        max_length=63,
        description="a list of at most 63 integers between 1 and 65536",
    )
    checkpoint: str | None = _file()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set
        for key in ("architecture", "hidden"):
            if self.checkpoint is not None and key in given:
                raise ValueError(f"must have {key} or checkpoint, not both; remove one")
        if self.architecture != "perceptron" and "hidden" in given:
            raise ValueError(
                f'must have hidden for the architecture "perceptron" only, not for '
                f'"{self.architecture}"; remove one'
            )
        return self


class TrainSettings(Settings):
    """How the dense network is trained.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the training split, 0 for the weights that training would begin with; examples
        a step.
    learning_rate, momentum, weight_decay : float
        Of the optimizer; weight decay is L2. Adam has no momentum of this name and ignores it.
    l1 : float
        Times the sign of each weight is added to its gradient, beside weight decay.
    shift : int
        Pixels by which training images are shifted at most, either way, at random for each step;
        what enters is zero. For inputs with channels only.
    precision : {"float32", "bfloat16"}
        Of the products in training; parameters, losses and everything reported are float32.
        Faster where the processor multiplies bfloat16, and slower elsewhere.
    """

    epochs: int = integer(60, 0, 100_000)
    batch_size: int = integer(32, 1, 65536)
    optimizer: Literal["sgd", "adam"] = _choice("sgd", "adam")
    learning_rate: _Rate = Field(default=0.05, description=_RATE_RULE)
    momentum: float = Field(0.9, strict=True, ge=0, lt=1, description="a number from 0, below 1")
    weight_decay: float = Field(
        5e-4, strict=True, ge=0, le=1, description="a number between 0 and 1"
    )
    l1: float = Field(0.0, strict=True, ge=0, le=1, description="a number between 0 and 1")
    shift: int = integer(0, 0, 16)
    precision: Literal["float32", "bfloat16"] = _choice("float32", "bfloat16")


#: What a pruning can aim at.
TARGETS = ("quality", "density", "budget", "loss", "fit")


class PruneSettings(Settings):
    """How weights are removed and the rest retrained.

    Parameters
    ----------
    quality : float or tuple of float, optional
        The threshold of a layer is this times the standard deviation of its weights; one number
        for all layers or one for each.
    density : float or tuple of float, optional
        Part of a layer's weights to keep; 0.1 where no target is given.
    budget : float, optional
        Part of the weights of the whole network to keep, the layers' parts found by ranking.
    loss : float, optional
        Accuracy that each layer alone may lose; densities are taken from the sensitivity scan.
    fit : str, optional
        A device; the budget is the largest with which the engine fits it.
    schedule : {"rounds", "smooth"}
        Prune and retrain in turns, or prune a little more every few steps while learning goes on.
    rounds, epochs : int
        Prune-and-retrain rounds, and retraining epochs of each; a smooth schedule has one round.
    ramp : float
        Part of the epochs after which a smooth schedule has reached its target.
    regrow : bool
        Whether removed connections may return while a smooth schedule approaches its target.
    learning_rate, weight_decay, l1 : float, optional
        For retraining; where absent, a tenth of training's rate (Han et al. 2015, section 3), and
        training's weight decay and L1.
    dropout : bool
        Whether dropout shrinks with the connections (section 3.2).
    freeze : bool
        Whether convolutions are frozen in the first half of a round's epochs and fully connected
        layers in the second (section 3.3).
    balance : bool
        Whether the rows of each group of processing elements, dealt in turn, keep equally many
        weights.
    """

    quality: _Quality | tuple[_Quality, ...] | None = Field(
        None, description="a number between 0 and 10, or a list of one for each layer"
    )
    density: _Density | tuple[_Density, ...] | None = Field(
        None, description="a number above 0, at most 1, or a list of one for each layer"
    )
    budget: _Density | None = Field(None, description="a number above 0, at most 1")
    loss: _Part | None = Field(None, description="a number above 0, below 1")
    fit: str | None = _device(None)
    schedule: Literal["rounds", "smooth"] = _choice("rounds", "smooth")
    rounds: int = integer(4, 1, 1000)
    epochs: int = integer(10, 0, 100_000)
    ramp: _Part = Field(0.6, description="a number above 0, below 1")
    regrow: bool = Field(False, strict=True, description="true or false")
    learning_rate: _Rate | None = Field(default=None, description=_RATE_RULE)
    weight_decay: float | None = Field(
        None, strict=True, ge=0, le=1, description="a number between 0 and 1"
    )
    l1: float | None = Field(None, strict=True, ge=0, le=1, description="a number between 0 and 1")
    dropout: bool = Field(True, strict=True, description="true or false")
    freeze: bool = Field(False, strict=True, description="true or false")
    balance: bool = Field(False, strict=True, description="true or false")

    @property
    def target(self) -> tuple[str, Any]:
        """The one target that is given: its key and its value."""
        return next((key, getattr(self, key)) for key in TARGETS if getattr(self, key) is not None)

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        given = [key for key in TARGETS if settings.get(key) is not None]
        if len(given) > 1:
            raise ValueError(f"must have {given[0]} or {given[1]}, not both; remove one")
        return settings if given else {**settings, "density": 0.1}

    @model_validator(mode="after")
    def _smooth_only(self) -> Self:
        for key in ("ramp", "regrow"):
            if key in self.model_fields_set and self.schedule != "smooth":
                raise ValueError(
                    f'must have {key} with the schedule "smooth" only; remove it or change that'
                )
        if self.schedule == "smooth" and self.model_fields_set & {"rounds"}:
            raise ValueError('must have rounds with the schedule "rounds" only; remove one')
        if self.schedule == "smooth" and self.target[0] == "quality":
            raise ValueError(
                'must have a density or a budget with the schedule "smooth", not a quality; '
                "change one"
            )
        return self


class QuantizeSettings(Settings):
    """Number formats, in bits, and what they are chosen with.

    Parameters
    ----------
    codebook_bits : int
        Weights share at most ``2**codebook_bits`` values a layer; 0 stores each directly.
    calibration_images : int
        Training examples that the activations' scales are chosen with.
    epochs : int
        Retraining of the integer network, with its rounding in the forward pass: of the codebooks'
        values, or of the weights where they are stored directly, and of the biases.
    learning_rate : float, optional
        Of that retraining; a tenth of training's where absent.
    """

    activation_width: int = _engine("activation_width", 8)
    weight_width: int = _engine("weight_width", 8)
    codebook_bits: int = _engine("codebook_bits", 0)
    calibration_images: int = integer(1000, 1, 1_000_000)
    epochs: int = integer(0, 0, 100_000)
    learning_rate: _Rate | None = Field(default=None, description=_RATE_RULE)


class EngineSettings(Settings):
    """The engine's size; fields as in :class:`secateur.engine.EngineSpec`.

    What is absent is the smallest that holds the network, as :func:`secateur.encode.fit` says.

    Parameters
    ----------
    index_width : int or dict of str to int, optional
        Bits of the index of every layer, or at least those of layers by name.
    padding : float
        Share of all entries that may be padding, where ``entry_width`` is chosen.
    """

    pes: int = _engine("pes", 8)
    lanes: _PowerOfTwo | None = _engine("lanes")
    index_width: _Index | dict[str, _Index] | None = Field(
        None,
        description=f"an integer between {_LOW} and {_HIGH}, or a table of those by layer",
    )
    entry_width: int | None = _engine("entry_width")
    padding: _Share = Field(0.05, description="a number from 0, below 1")
    queue_depth: int | None = _engine("queue_depth")
    banks: int = _engine("banks", 2)
    jobs: _PowerOfTwo | None = _engine("jobs")
    accumulator_memories: _PowerOfTwo | None = _engine("accumulator_memories")
    positions: int | None = _engine("positions")
    accumulator_width: int | None = _engine("accumulator_width")
    bias_width: int | None = _engine("bias_width")
    count_width: int | None = _engine("count_width")
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

    @property
    def groups(self) -> int:
        """Groups that the engine deals rows to, in turn."""
        return self.pes // (self.lanes or default_lanes(self.pes))

    def fit_arguments(self) -> dict[str, Any]:
        """Keyword arguments for :func:`secateur.encode.fit`: every field that is given."""
        return self.model_dump(exclude_none=True)


class SimulateSettings(Settings):
    """The simulation; ``images`` limits the test examples, all of them where it is absent."""

    simulator: Literal["verilator", "icarus"] = _choice("verilator", "icarus")
    images: int | None = integer(None, 1, 1_000_000)


class VerifySettings(Settings):
    """The ladder of checks; ``netlist_images`` is how many test inputs each netlist gets."""

    netlist_images: int = integer(20, 1, 1_000_000)


class SynthesizeSettings(Settings):
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
    check : bool
        Whether the hardware can check its weights while it runs.
    """

    device: str = _device("ecp5-25k")
    clock_mhz: float = Field(
        50.0, strict=True, ge=1, le=500, description="a number between 1 and 500"
    )
    seeds: tuple[Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)], ...] = Field(
        (1,),
        min_length=1,
        description="a list of at least one integer between 0 and 2147483647",
    )
    baud: int = integer(BAUD, 1200, 12_000_000)
    check: bool = Field(False, strict=True, description="true or false")
