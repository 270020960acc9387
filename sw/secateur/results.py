"""The JSON that stages leave for the report: what each must hold, and what it was made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

__all__ = ["RESULTS", "Result", "Sensitivity"]

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Checked(BaseModel):
    """Keys that nothing here names are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Result(_Checked):
    """What every one of them holds.

    Parameters
    ----------
    digests : dict of str to str
        By the names of the artefacts that it was made of or with: SHA-256 of the file, and of
        ``network.safetensors`` the network's own digest, which programs name too.
    """

    digests: dict[str, str]


class _Train(Result):
    accuracy: Fraction | None  # None without examples


class _Curve(_Checked):
    name: str
    weights: PositiveInt
    densities: Annotated[list[Fraction], Field(min_length=1)]
    accuracies: list[Fraction]

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if len(self.densities) != len(self.accuracies):
            raise ValueError("accuracies must be one for each density")
        return self


class Sensitivity(Result):
    """What a scan holds; see :func:`secateur.sensitivity.sensitivity`."""

    accuracy: Fraction | None
    split: str | None
    examples: NonNegativeInt
    layers: list[_Curve]


class _PrunedLayer(_Checked):
    name: str
    weights: PositiveInt
    nonzeros: NonNegativeInt


class _Prune(Result):
    accuracy: Fraction | None
    accuracy_before_retraining: Fraction | None
    layers: Annotated[list[_PrunedLayer], Field(min_length=1)]


class _Quantize(Result):
    accuracy: Fraction


class _SimulatedLayer(_Checked):
    name: str
    cycles: PositiveFloat
    ideal: NonNegativeFloat
    model: NonNegativeFloat
    utilization: Fraction
    pe_busy: Annotated[list[NonNegativeFloat], Field(min_length=1)]


class _Cycles(_Checked):
    mean: PositiveFloat
    min: PositiveInt
    max: PositiveInt
    period: PositiveFloat


class _Simulation(Result):
    accuracy: Fraction
    outputs: PositiveInt
    mismatches: NonNegativeInt
    cycles: _Cycles
    ideal: NonNegativeFloat
    model: NonNegativeFloat
    layers: Annotated[list[_SimulatedLayer], Field(min_length=1)]

    @model_validator(mode="after")
    def _same_pes(self) -> Self:
        if len({len(layer.pe_busy) for layer in self.layers}) > 1:
            raise ValueError("pe_busy must have one number for each PE in every layer")
        return self


class _Synthesis(Result):
    device: str
    lut: NonNegativeInt
    lut_available: PositiveInt
    ff: NonNegativeInt
    ff_available: PositiveInt
    bram: NonNegativeInt
    bram_available: PositiveInt
    dsp: NonNegativeInt
    dsp_available: NonNegativeInt
    fmax_mhz: PositiveFloat
    clock_mhz: PositiveFloat
    seeds: list[dict[str, Any]]
    bitstream: str


class _Rung(_Checked):
    name: str
    compared: str
    outcome: Literal["passed", "failed", "not run"]
    amounts: dict[str, PositiveInt]
    why: str

    @model_validator(mode="after")
    def _says_how_much_or_why(self) -> Self:
        passed = self.outcome == "passed"
        if passed != bool(self.amounts) or passed == bool(self.why):
            raise ValueError("a rung must have amounts if it passed, else why it did not")
        return self


class _Verification(Result):
    rungs: Annotated[list[_Rung], Field(min_length=1)]


#: By file name.
RESULTS: dict[str, type[Result]] = {
    "train.json": _Train,
    "prune.json": _Prune,
    "quantize.json": _Quantize,
    "simulation.json": _Simulation,
    "synthesis.json": _Synthesis,
    "verification.json": _Verification,
}
