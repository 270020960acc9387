"""ONNX models against ONNX's own reference, and what of them is refused."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from secateur import checkpoint
from secateur.cli import command
from secateur.errors import BadInputError, CheckFailedError
from secateur.model import outputs
from secateur.onnx_file import array
from secateur.onnx_import import find_test_data, import_model

CNTK = Path(os.environ.get("SECATEUR_DATA", "none")) / "models" / "cntk_mnist" / "model.onnx"
needs_model = pytest.mark.skipif(not CNTK.exists(), reason=f"needs {CNTK}; set SECATEUR_DATA")
RNG = np.random.default_rng(1)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def chain(
    path: Path,
    operators: list[tuple[Any, ...]],
    shape: tuple[int, ...] = (1, 2, 9, 8),
    **attributes: Any,
) -> onnx.ModelProto:
    """Write a chain of operators, each with its constants and attributes."""
    nodes, constants, value = [], [], "x"
    for index, (kind, *rest) in enumerate(operators):
        given = dict(rest.pop()) if rest and isinstance(rest[-1], dict) else {}
        names = [f"c{index}.{number}" for number in range(len(rest))]
        constants += map(numpy_helper.from_array, rest, names)
        nodes.append(helper.make_node(kind, [value, *names], [f"v{index}"], **given))
        nodes[-1].name = f"{kind}.{index}"
        value = f"v{index}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        constants,
    )
    # ONNX's reference computes BatchNormalization of older versions as in training.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    path.write_bytes(model.SerializeToString())
    return model


FLAT = ("Flatten",)


def agrees(path: Path, operators: list[tuple[Any, ...]], shape: tuple[int, ...]) -> None:
    model = chain(path, operators, shape)
    x = numbers(*shape)
    want = np.asarray(next(iter(ReferenceEvaluator(model).run(None, {"x": x}))))
    found = import_model(path)
    assert found.shape == shape[1:]
    assert found.compared == 0
    np.testing.assert_allclose(outputs(found.module, x), want, rtol=1e-4, atol=1e-4)


@given(
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "pads"]),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1, 2]),
)
def test_convolutions_and_their_padding(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    group: int,
) -> None:
    """Also where there is more padding on one side than on the other."""
    attributes: dict[str, Any] = {"strides": strides, "group": group, "kernel_shape": kernel}
    if kind == "pads":
        attributes["pads"] = [kernel[0] - 1, 0, kernel[0] // 2, kernel[1] - 1]
    else:
        attributes["auto_pad"] = kind
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    conv = ("Conv", numbers(4, 2 // group, *kernel), numbers(4), attributes)
    agrees(path, [conv, ("Relu",), FLAT], (1, 2, 9, 8))


@pytest.mark.parametrize(
    "operators",
    [
        [("Mul", np.float32(0.5)), ("Conv", numbers(3, 2, 3, 3)), ("Add", numbers(3, 1, 1)), FLAT],
        [("Conv", numbers(3, 2, 3, 3), numbers(3)), ("Relu",), ("Div", np.float32(-4)), FLAT,
         ("MatMul", numbers(126, 5)), ("Add", numbers(1, 5))],
        [("Conv", numbers(3, 2, 3, 3)), ("Mul", numbers(1, 3, 1, 1)), ("Sub", numbers(3, 1, 1)),
         ("BatchNormalization", *(abs(numbers(3)) for _ in range(4)), {"epsilon": 0.01}),
         ("Relu",), ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 3]}),
         ("Reshape", np.array([1, -1])), ("Dropout",), ("Identity",),
         ("Gemm", numbers(4, 18), numbers(4), {"transB": 1, "alpha": 0.5, "beta": 2.0})],
        [("Conv", numbers(3, 2, 1, 1)), ("AveragePool", {"kernel_shape": [2, 2],
         "pads": [1, 1, 1, 1], "strides": [1, 2]}), FLAT],
        [("Conv", numbers(3, 2, 1, 1)), ("AveragePool", {"kernel_shape": [2, 2],
         "pads": [1, 1, 1, 1], "count_include_pad": 1}), ("GlobalAveragePool",), FLAT],
        [("Conv", numbers(3, 2, 1, 1)), ("MaxPool", {"kernel_shape": [3, 3],
         "auto_pad": "SAME_LOWER"}), ("Flatten", {"axis": -3})],
        [("Reshape", np.array([-1, 144])), ("Gemm", numbers(144, 3)),
         ("BatchNormalization", *(abs(numbers(3)) for _ in range(4))), ("Flatten",)],
    ],
)  # fmt: skip
def test_operators(tmp_path: Path, operators: list[tuple[Any, ...]]) -> None:
    agrees(tmp_path / "model.onnx", operators, (1, 2, 9, 8))


def test_constants_that_are_computed(tmp_path: Path) -> None:
    """As CNTK writes a matrix: a constant of four dimensions, reshaped."""
    weight = numbers(2, 3, 4)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
        helper.make_node("Transpose", ["w"], ["t"], perm=[2, 0, 1]),
        helper.make_node("Reshape", ["t", "sizes"], ["matrix"]),
        helper.make_node("MatMul", ["x", "matrix"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "computed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([8, -1]), "sizes")],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    x = numbers(5, 8)
    want = x @ weight.transpose(2, 0, 1).reshape(8, 3)
    np.testing.assert_allclose(outputs(import_model(path).module, x), want, rtol=1e-5, atol=1e-5)


CONV = ("Conv", numbers(3, 2, 3, 3))
ALL = (
    "Add, AveragePool, BatchNormalization, Constant, Conv, Div, Dropout, Flatten, Gemm, "
    "GlobalAveragePool, Identity, MatMul, MaxPool, Mul, Relu, Reshape, Sub, Transpose"
)


@pytest.mark.parametrize(
    ("operators", "sentence"),
    [
        ([CONV, ("Softmax",)], f"layer 'Softmax.1', a Softmax, is not supported; use {ALL}"),
        (
            [CONV, ("Transpose",)],
            (
                "layer 'Transpose.1', a Transpose, must be of constants, not of what the layers "
                "before give"
            ),
        ),
        (
            [("Conv", numbers(3, 2, 3, 3), {"dilations": [2, 2]})],
            "layer 'Conv.0', a Conv, must have dilations 1, not 2",
        ),
        (
            [("Conv", numbers(3, 2, 3, 3), {"pads": [1, 1, 3, 1]})],
            (
                "layer 'Conv.0', a Conv, must have pads that are smaller than its kernel's "
                "[3, 3], not [1, 1, 3, 1]"
            ),
        ),
        (
            [("Conv", numbers(3, 2, 3, 3), {"group": 2})],
            (
                "layer 'Conv.0', a Conv, does not fit its input or itself (out_channels must be "
                "divisible by groups)"
            ),
        ),
        (
            [CONV, ("MaxPool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})],
            (
                "layer 'MaxPool.1', a MaxPool, must have the same padding on both sides, not "
                "[0, 0] and [1, 1]"
            ),
        ),
        (
            [CONV, ("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1})],
            "layer 'MaxPool.1', a MaxPool, must have ceil_mode 0, not 1",
        ),
        (
            [CONV, ("MatMul", numbers(6, 3))],
            "layer 'MatMul.1', a MatMul, must have a Flatten before it",
        ),
        (
            [CONV, ("Relu",), ("Add", numbers(3, 1, 1))],
            (
                "layer 'Add.2', an Add, must follow a Conv, MatMul or Gemm at once, to become a "
                "part of it, or be a product by one number"
            ),
        ),
        (
            [CONV, ("Add", numbers(6))],
            (
                "layer 'Add.1', an Add, must have one number for all or one for each of the 3 "
                "channels, not 6"
            ),
        ),
        (
            [CONV, ("Reshape", np.array([2, -1]))],
            ("layer 'Reshape.1', a Reshape, must make one row of 126 numbers of each example"),
        ),
        (
            [("Mul", np.float32(-1)), ("Relu",)],
            "layer 'Relu.1', a Relu, must not follow a product by a negative number",
        ),
        (
            [CONV, ("Relu",), ("Mul", np.float32(2))],
            "the last product must come before a layer with weights; remove it",
        ),
        (
            [CONV, ("Div", np.float32(0))],
            "layer 'Div.1', a Div, must not divide by zero",
        ),
        (
            [("Conv", numbers(3, 2, 3, 3), {"kernel_shape": [3, 2]})],
            "layer 'Conv.0', a Conv, must have the kernel_shape of its weights",
        ),
        (
            [("Relu",)],
            (
                "the model has no Linear or Conv2d layer; use Linear, Conv2d, BatchNorm, ReLU, "
                "pooling, Flatten and Dropout, one after the other"
            ),
        ),
        (
            [("Conv", np.full((3, 2, 3, 3), np.nan, np.float32))],
            "constant 'c0.0' must hold finite numbers; export the model again",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, operators: list[tuple[Any, ...]], sentence: str) -> None:
    path = tmp_path / "model.onnx"
    chain(path, operators)
    with pytest.raises(BadInputError) as caught:
        import_model(path)
    assert str(caught.value) == f"{path}: {sentence}"


def test_two_ways_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = chain(path, [("Relu",), ("Relu",)])
    model.graph.node[1].op_type = "Add"
    model.graph.node[1].input.append("x")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInputError) as caught:
        import_model(path)
    assert str(caught.value) == (
        f"{path}: layer 'Relu.1', an Add, must take the result of the operator before and "
        f"constants, since the model must be a chain, not 'v0', 'x'"
    )


def test_sizes_that_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    chain(path, [CONV], (1, 2, 0, 8))
    with pytest.raises(BadInputError) as caught:
        import_model(path)
    assert str(caught.value) == (
        f"{path}: the input 'x' must be a batch of features, or of channels, rows and columns, of "
        f"known sizes and at most 4194304 numbers, not of 2 x 0 x 8"
    )


@pytest.mark.parametrize("content", [b"", b"\x08\x07", b"no model", None])
def test_files_that_are_no_models(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(
        command({}), ["import", str(path), "-o", str(tmp_path / "model.safetensors")]
    )
    assert result.exit_code == 2
    assert str(path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model.safetensors").exists()


def external(path: Path, location: str, **more: str) -> None:
    """Write a model whose weights lie in another file."""
    model = chain(path, [("MatMul", numbers(8, 3))], (1, 8))
    (tensor,) = model.graph.initializer
    raw, tensor.raw_data = tensor.raw_data, b""
    (path.parent / "weights.bin").write_bytes(bytes(5) + raw)
    (path.parent.parent / "weights.bin").write_bytes(bytes(5) + raw)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "5", **more}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "inside" / "model.onnx"
    path.parent.mkdir()
    external(path, "weights.bin")
    x = numbers(4, 8)
    (tensor,) = onnx.load(path).graph.initializer
    weight = array(tensor, path)
    assert weight.shape == (8, 3)
    assert weight.any()
    (path.parent / "weights.bin").write_bytes(bytes(5) + weight.tobytes())
    np.testing.assert_allclose(outputs(import_model(path).module, x), x @ weight, rtol=1e-5)
    (path.parent / "link.bin").symlink_to(path.parent.parent / "weights.bin")
    away = str(tmp_path / "weights.bin")
    for location in ("../weights.bin", away, "link.bin", "a/../../weights.bin", "..", ".", "\0"):
        external(path, location)
        with pytest.raises(BadInputError) as caught:
            import_model(path)
        said = f"must lie in a file in the model's folder, not in {location!r}; copy it there"
        assert str(caught.value) == f"{path}: array 'c0.0' {said}"
    for location, more, reason in (
        ("none.bin", {}, "there is no such file"),
        ("weights.bin", {"offset": "6"}, "there are not its 96 bytes"),
        ("weights.bin", {"offset": "-1"}, "there are not its 96 bytes"),
        ("weights.bin", {"length": "95"}, "there are not its 96 bytes"),
        ("weights.bin", {"offset": "x"}, "invalid literal for int() with base 10: 'x'"),
    ):
        external(path, location, **more)
        with pytest.raises(BadInputError) as caught:
            import_model(path)
        assert str(caught.value) == (
            f"{path}: array 'c0.0' cannot be read from {location!r} ({reason}); export the model "
            f"again"
        )


def test_a_scale_is_part_of_the_first_layer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    chain(path, [CONV, FLAT])
    x = numbers(3, 2, 9, 8)
    plain, scaled = (import_model(path, scale=scale).module for scale in (1.0, 4.0))
    np.testing.assert_allclose(outputs(scaled, x), outputs(plain, 4 * x), rtol=1e-5, atol=1e-5)
    with pytest.raises(BadInputError) as caught:
        import_model(path, scale=0.0)
    assert str(caught.value) == "the scale must be a finite number other than 0, not 0.0"


def write(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(numpy_helper.from_array(values).SerializeToString())
    return path


def test_given_inputs_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    chain(path, [("MatMul", np.eye(4, dtype=np.float32) * 2)], (1, 4))
    x = np.array([[1.0, 2, 3, 4], [0, 0, 0, 1]], np.float32)
    assert find_test_data(path) == []
    for folder in (tmp_path, tmp_path / "test_data_set_1", tmp_path / "test_data_set_0"):
        write(folder / "input_0.pb", x)
        write(folder / "output_0.pb", 2 * x)
    pairs = find_test_data(path)
    assert [pair[0].parent.name for pair in pairs[1:]] == ["test_data_set_0", "test_data_set_1"]
    assert import_model(path, pairs).compared == 6
    output = tmp_path / "model.safetensors"
    run = ["import", str(path), "-o", str(output)]
    result = CliRunner().invoke(command({}), run)
    assert (result.exit_code, result.stdout) == (0, f"{output}\n")
    assert result.stderr == "Outputs agree, inputs compared: 6\n"
    assert [*checkpoint.load(output).module.state_dict()] == ["MatMul/0.weight"]
    output.unlink()

    limit = write(tmp_path / "limit.pb", 2 * x + np.float32(7e-4))
    assert import_model(path, [(pairs[0][0], limit)]).compared == 2
    wrong = write(tmp_path / "wrong.pb", 2 * x + np.float32(1e-3))
    message = (
        f"the outputs differ from {wrong} by up to 0.001, and 0.0001 of the largest, 8, is the "
        f"most; the model is not read rightly, or the file is another one's"
    )
    with pytest.raises(CheckFailedError) as caught:
        import_model(path, [(pairs[0][0], wrong)])
    assert str(caught.value) == message
    result = CliRunner().invoke(command({}), [*run, "--check", str(pairs[0][0]), str(wrong)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"secateur: {message}\n"
    assert not output.exists()
    for pair, sentence in (
        ((wrong, write(tmp_path / "short.pb", x[:1])), "2 x 4 outputs, one row for each input"),
        ((write(tmp_path / "flat.pb", x[0]), wrong), "inputs of 4, one or more, not 4"),
        ((path, wrong), "must hold"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            import_model(path, [pair])
    with pytest.raises(BadInputError) as caught:
        import_model(path, [(tmp_path / "no.pb", wrong)])
    assert str(caught.value) == (
        f"{tmp_path / 'no.pb'} does not exist; give the path of an ONNX file"
    )


@needs_model
def test_the_network_of_others(tmp_path: Path) -> None:
    """Its own input and output, and ONNX's reference for other images."""
    found = import_model(CNTK, find_test_data(CNTK))
    assert found.compared == 1
    assert [type(part).__name__ for part in found.module] == [
        *("Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear")
    ]
    x = RNG.integers(0, 256, (3, 1, 28, 28)).astype(np.float32)
    reference = ReferenceEvaluator(onnx.load(CNTK))
    for image, got in itertools.zip_longest(x, outputs(found.module, x)):
        want = np.asarray(next(iter(reference.run(None, {"Input3": image[None]}))))
        np.testing.assert_allclose(got, want[0], rtol=1e-3, atol=abs(want).max() * 1e-5)
