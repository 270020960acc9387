"""ONNX models from elsewhere: refused in one sentence, or sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from secateur.bench.damage import damaged
from secateur.errors import BadInputError
from secateur.model import outputs
from secateur.onnx_file import read_tensor
from secateur.onnx_import import import_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random


def write(path: Path) -> None:
    """Write a model with two layers."""
    rng = np.random.default_rng(1)
    constants = {
        "kernel": rng.normal(size=(2, 1, 2, 2)).astype(np.float32),
        "bias": rng.normal(size=(2, 1, 1)).astype(np.float32),
        "sizes": np.array([-1, 8]),
        "matrix": rng.normal(size=(8, 3)).astype(np.float32),
    }
    same = {"auto_pad": "SAME_UPPER", "strides": [1, 1], "kernel_shape": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"], **same),
        helper.make_node("Add", ["a", "bias"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["c", "sizes"], ["d"]),
        helper.make_node("Gemm", ["d", "matrix"], ["e"], alpha=0.5),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())


def test_damaged_models(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    whole = path.read_bytes()

    def case(rng: Random) -> None:
        path.write_bytes(damaged(rng, whole))
        try:
            found = import_model(path)
        except BadInputError as error:
            said = str(error)
            assert said.startswith(str(path)), said
            assert said[-1] != "."
        else:
            y = outputs(found.module, np.ones((2, *found.shape), np.float32))
            assert len(y) == 2

    fuzz(case, 4)


def test_damaged_tensors(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "input_0.pb"
    whole = numpy_helper.from_array(np.ones((2, 3), np.float32), "x").SerializeToString()

    def case(rng: Random) -> None:
        path.write_bytes(damaged(rng, whole))
        try:
            assert read_tensor(path).nbytes <= 100
        except BadInputError as error:
            said = str(error)
            assert said.startswith(str(path)), said

    fuzz(case, 2)
