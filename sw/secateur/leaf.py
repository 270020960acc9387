"""The layers that a plain module is made of: which there are, and what describes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from torch import Tensor, nn

from secateur.errors import BadInputError

__all__ = ["KINDS", "AnySpec", "Spec", "computes", "describe", "kind_of", "make", "spec", "used"]

_COUNT = Annotated[int, Field(strict=True, ge=1, lt=2**31, description="an integer above 0")]
_SIZE = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_BORDER = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_SIZES = Annotated[tuple[_SIZE, _SIZE], Field(description="two integers above 0")]
_BORDERS = Annotated[tuple[_BORDER, _BORDER], Field(description="two integers, at least 0")]
_FLAG = Annotated[bool, Field(strict=True, description="True or False")]
_PART = Annotated[float, Field(ge=0, le=1, description="a number between 0 and 1")]

#: Each kind of layer, and the arguments that make one, with their rules. What has two dimensions
#: is always given as a pair: rows (y), then columns (x).
KINDS: Mapping[type[nn.Module], Mapping[str, Any]] = {
    nn.Linear: {"in_features": _COUNT, "out_features": _COUNT, "bias": _FLAG},
    nn.Conv2d: {
        "in_channels": _COUNT,
        "out_channels": _COUNT,
        "kernel_size": _SIZES,
        "stride": _SIZES,
        "padding": _BORDERS,
        "groups": _COUNT,
        "bias": _FLAG,
    },
    nn.ReLU: {},
    nn.MaxPool2d: {"kernel_size": _SIZES, "stride": _SIZES, "padding": _BORDERS},
    nn.AvgPool2d: {
        "kernel_size": _SIZES,
        "stride": _SIZES,
        "padding": _BORDERS,
        "count_include_pad": _FLAG,
    },
    nn.AdaptiveAvgPool2d: {"output_size": _SIZES},
    nn.Flatten: {},
    nn.Dropout: {"p": _PART},
}

#: Attributes that must have the value that is given here.
_FIXED: Mapping[type[nn.Module], Mapping[str, Any]] = {
    nn.Conv2d: {"dilation": (1, 1), "padding_mode": "zeros"},
    nn.MaxPool2d: {"dilation": (1, 1), "ceil_mode": False, "return_indices": False},
    nn.AvgPool2d: {"ceil_mode": False, "divisor_override": None},
    nn.Flatten: {"start_dim": 1, "end_dim": -1},
}
#: Attributes for which torch takes one number for both dimensions.
_PAIRS = ("kernel_size", "stride", "padding", "dilation", "output_size")


class Spec(BaseModel):
    """What makes a layer: its kind, and the arguments that :data:`KINDS` lists for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str


def _specify(kind: type[nn.Module]) -> type[Spec]:
    fields: dict[str, Any] = {name: (rule, ...) for name, rule in KINDS[kind].items()}
    fields["kind"] = (Literal[kind.__name__], ...)
    return create_model(kind.__name__, __base__=Spec, **fields)


#: The class of specification of each kind.
SPECS: Mapping[type[nn.Module], type[Spec]] = {kind: _specify(kind) for kind in KINDS}
if TYPE_CHECKING:
    AnySpec = Spec
else:
    #: Any of these, to be read from a file.
    AnySpec = Annotated[Union[tuple(SPECS.values())], Field(discriminator="kind")]  # noqa: UP007


def computes(part: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module computes what ``kind`` does: a subclass may compute something else."""
    return (
        isinstance(part, kind)
        and "forward" not in vars(part)
        and all(
            getattr(type(part), method, None) is getattr(kind, method, None)
            for method in ("forward", "_conv_forward")
        )
    )


def kind_of(part: nn.Module) -> type[nn.Module] | None:
    """Give the kind of layer that a module is, None if it is none of :data:`KINDS`."""
    return next((kind for kind in KINDS if computes(part, kind)), None)


def used(part: nn.Module, parameter: str) -> Tensor | None:
    """Give a parameter as the forward uses it: with its mask of :mod:`torch.nn.utils.prune`.

    That module refreshes the attribute in the forward only: it may be out of date.
    """
    mask = getattr(part, f"{parameter}_mask", None)
    if mask is None:
        return getattr(part, parameter)
    return getattr(part, f"{parameter}_orig") * mask


def describe(name: str, part: nn.Module) -> str:
    """Name a layer in a sentence.

    Examples
    --------
    >>> describe("pool", nn.AvgPool2d(2))
    "layer 'pool', an AvgPool2d,"
    """
    kind = type(part).__name__
    return f"layer {name!r}, {'an' if kind[0] in 'AEIOU' else 'a'} {kind},"


def spec(name: str, part: nn.Module, kind: type[nn.Module]) -> Spec:
    """Give what makes a layer like ``part``, which computes what ``kind`` does.

    Raises
    ------
    BadInputError
        If it has an option that is not supported.

    Examples
    --------
    >>> spec("pool", nn.MaxPool2d(2), nn.MaxPool2d)
    MaxPool2d(kind='MaxPool2d', kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))
    """
    for attribute, rule in _FIXED.get(kind, {}).items():
        value = _attribute(part, attribute)
        if value != rule:
            raise BadInputError(
                f"{describe(name, part)} must have {attribute} {rule!r}, not {value!r}; "
                f"write the layer in another way"
            )
    values = {argument: _attribute(part, argument) for argument in KINDS[kind]}
    try:
        return SPECS[kind](kind=kind.__name__, **values)
    except ValidationError as error:
        argument = str(error.errors()[0]["loc"][0])
        rule = SPECS[kind].model_fields[argument].description
        raise BadInputError(
            f"{describe(name, part)} must have {argument} {rule}, not {values[argument]!r}; "
            f"write the layer in another way"
        ) from None


def make(spec: Spec, weight: Tensor | None = None, bias: Tensor | None = None) -> nn.Module:
    """Make a layer, whose parameters are ``weight`` and ``bias`` themselves.

    Without them it has none that hold values: they are on torch's device "meta".

    Raises
    ------
    BadInputError
        If the arguments or the parameters do not fit each other, as a phrase.
    """
    kind = next(kind for kind in KINDS if kind.__name__ == spec.kind)
    arguments = spec.model_dump(exclude={"kind"})
    if "bias" in arguments:
        arguments["device"] = "meta"
    try:
        part = kind(**arguments)
    except (ValueError, RuntimeError) as error:  # groups that do not divide, sizes beyond int64
        raise BadInputError(str(error).partition("\n")[0]) from None
    if weight is not None:
        given = {"weight": weight} | ({} if bias is None else {"bias": bias})
        wanted = {key: tuple(parameter.shape) for key, parameter in part.named_parameters()}
        shapes = {key: tuple(tensor.shape) for key, tensor in given.items()}
        if shapes != wanted:
            raise BadInputError(f"parameters must have the shapes {wanted}, not {shapes}")
        for key, tensor in given.items():
            setattr(part, key, nn.Parameter(tensor))
    return part


def _attribute(part: nn.Module, name: str) -> Any:
    if name == "bias":
        return part.bias is not None
    value = getattr(part, name)
    if name == "padding" and isinstance(value, str):
        return _named_padding(part, value)
    if name in _PAIRS:
        value = tuple(value) if isinstance(value, (tuple, list, torch.Size)) else (value,)
        return value * 2 if len(value) == 1 else value
    return value


def _named_padding(part: nn.Module, name: str) -> Any:
    """Give "valid" and "same", which torch allows with a stride of 1 only, as numbers."""
    sizes = _attribute(part, "kernel_size")
    if name == "valid":
        return (0, 0)
    # Of an even size "same" pads more on one side than on the other.
    return tuple((size - 1) // 2 for size in sizes) if all(n % 2 for n in sizes) else name
