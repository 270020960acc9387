"""ONNX files that may be of any content: the model, and arrays as they are in it or beside it."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["array", "read_model", "read_tensor"]

Message = TypeVar("Message", onnx.ModelProto, onnx.TensorProto)

#: Numbers that are read, by ONNX's numbers of their types.
TYPES: dict[int, np.dtype] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
}


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model, short of what it keeps in other files.

    Raises
    ------
    BadInputError
        If the file cannot be read or is no ONNX model.
    """
    model = _read(path, onnx.ModelProto())
    if not model.graph.node:
        raise BadInputError(f"{path} is not an ONNX model with operators; give another file")
    return model


def read_tensor(path: Path) -> NDArray:
    """Read a file of one array, such as ``input_0.pb``.

    Raises
    ------
    BadInputError
        If the file cannot be read or is no array of numbers.
    """
    return array(_read(path, onnx.TensorProto()), path)


def _read(path: Path, message: Message) -> Message:
    try:
        message.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise BadInputError(f"{path} does not exist; give the path of an ONNX file") from None
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); give the path of an ONNX file"
        ) from None
    except DecodeError:
        raise BadInputError(f"{path} is not a readable ONNX file; export it again") from None
    return message


def array(tensor: onnx.TensorProto, path: Path) -> NDArray:
    """Give the numbers of an array.

    Nothing is allocated for what its header claims, and what lies in another file must lie in the
    folder of ``path``, links followed.

    Parameters
    ----------
    tensor : TensorProto
    path : Path
        The file that it is in.

    Raises
    ------
    BadInputError
        If it is of another type or damaged, or its file is elsewhere.
    """
    name = f"{path}: array {tensor.name!r}"
    if tensor.data_type not in TYPES:
        raise BadInputError(
            f"{name} must hold floats or integers of 32 or 64 bits, or floats of 16; convert it"
        )
    shape = tuple(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        kind = TYPES[tensor.data_type]
        raw = _external(tensor, path, name, math.prod(shape) * kind.itemsize)
        return np.frombuffer(raw, kind).reshape(shape)
    try:
        return numpy_helper.to_array(tensor)
    # Whatever onnx and numpy raise for sizes that are not those of the data.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(f"{name} is damaged ({reason}); export the model again") from None


def _external(tensor: onnx.TensorProto, path: Path, name: str, size: int) -> bytes:
    """Read an array's bytes from the file that it names."""
    given = {entry.key: entry.value for entry in tensor.external_data}
    location = given.get("location", "")
    folder = file = os.path.realpath(path.parent)
    # Text that is not UTF-8 is bytes, and no file's name holds a zero.
    if isinstance(location, str) and "\0" not in location:
        file = os.path.realpath(os.path.join(folder, location))  # noqa: PTH118
    if file == folder or os.path.commonpath([folder, file]) != folder:
        raise BadInputError(
            f"{name} must lie in a file in the model's folder, not in {location!r}; copy it there"
        )
    try:
        offset = int(given.get("offset", 0))
        length = int(given.get("length", size))
        if not os.path.isfile(file):  # noqa: PTH113
            raise ValueError("there is no such file")
        if offset < 0 or size < 0 or length != size or offset + size > os.path.getsize(file):  # noqa: PTH202
            raise ValueError(f"there are not its {size} bytes")
        with open(file, "rb") as stream:  # noqa: PTH123
            stream.seek(offset)
            return stream.read(size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(
            f"{name} cannot be read from {location!r} ({reason}); export the model again"
        ) from None
