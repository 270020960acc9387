"""Programs for engines with positions: where maps lie, what an engine needs, what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.networks import random_inputs, random_network
from secateur.convolution import Convolution, Pool
from secateur.dead import remove_dead
from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.format import Section
from secateur.image import read_image
from secateur.input_map import found_pitch, image_order, input_pitch
from secateur.maps import lay_out
from secateur.network import Layer, Network
from secateur.placement import place
from secateur.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([(1, 1), (4, 2), (6, 2), (8, 4), (16, 4), (8, 8)])
PLANES = st.tuples(st.integers(1, 5), st.integers(1, 11), st.integers(1, 11))
LENGTHS = st.lists(st.integers(1, 20), max_size=2)
BYTE = NumberFormat(width=8, signed=False)


def dense(rows: int, convolution: Convolution | None = None, columns: int = 0) -> Layer:
    """A layer whose weights are all 1."""
    width = columns if convolution is None else convolution.columns
    return Layer(
        name="fc" if convolution is None else "conv",
        weights=np.ones((rows, width), dtype=np.int64),
        bias=np.zeros(rows, dtype=np.int64),
        weight_width=4,
        input=BYTE,
        requant=Requant(shift=6, output=BYTE, relu=True),
        convolution=convolution,
    )


def network_of(*layers: Layer) -> Network:
    names = [f"{layer.name}{index}" for index, layer in enumerate(layers, 1)]
    return Network(
        name="net", layers=tuple(map(lambda each, name: replace(each, name=name), layers, names))
    )


POOL = Pool(kind="max", size=(2, 3))
FIRST = Convolution(channels=2, height=4, width=7, kernel=(1, 2), padding=(0, 1), pool=POOL)
SECOND = Convolution(channels=3, height=2, width=2, kernel=(2, 3), padding=(1, 2), stride=(1, 2))
NET = network_of(dense(3, FIRST), dense(4, SECOND), dense(5, columns=4 * 3 * 2))


def refusal(function: Callable, *args: object, **kwargs: object) -> str:
    with pytest.raises(BadInputError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_a_layout_by_hand() -> None:
    """Two lanes; x has 9 pixels in a row, and 10 so that its columns are in both lanes' words."""
    first, second, third = lay_out([(FIRST, 3), (SECOND, 4), (None, 5)], inputs=2, pitch=9, lanes=2)
    spec = EngineSpec(pes=2, lanes=2, jobs=1, positions=2, activation_depth=128)
    # 4 rows of 9 pixels of 2 channels are 36 words, the last pixel's zeros among them. Then the
    # border of a map of 4 rows of 6 pixels of 2 words: a row and two pixels, from x's last word on.
    assert first.fields(spec) == {
        "source_base": 0,
        # Two windows of a row take turns: there are no others.
        "count0": 1, "count1": 2, "count2": 1, "count3": 0, "count4": 1,
        "step0": 3 * 2,
        "step1": 2 + 256 - 3 * 2,
        "step2": 18 - 2 * 2 - 3 * 2,
        "step3": 0,
        "step4": 2 * 18 - 3 * 2 - 2 * 2 - 18,
        "target_base": 35 + (6 + 2) * 2,
        "target_turn": 0,
        "target_column": 128 - 2,
        "target_row": 4 * 2,
        "output_words": 2 * 2 * 2,
        "average": 0,
        "average_shift": 0,
    }  # fmt: skip
    assert (first.end, first.positions, first.pixel) == (51, 2 * 3 * 2 * 2, 2)
    assert second.fields(spec) == {
        "source_base": 35 * 2,
        "count0": 1, "count1": 0, "count2": 0, "count3": 0, "count4": 2,
        "step0": 2 * 4,
        "step1": 0, "step2": 0, "step3": 0,
        "step4": 6 * 4 - 2 * 4,
        "target_base": 35 + 4 * 6 * 2,
        "target_turn": 0,
        "target_column": 128 - 2,
        "target_row": 0,
        "output_words": 2 * 2 * 3,
        "average": 0,
        "average_shift": 0,
    }  # fmt: skip
    assert (second.end, second.pixel, second.columns) == (83, 4, 3 * 2 * 3)
    assert third.fields(spec) == {
        "source_base": 83 * 2,
        **dict.fromkeys([f"count{n}" for n in range(5)], 0),
        **dict.fromkeys([f"step{n}" for n in range(5)], 0),
        **dict.fromkeys(["target_base", "target_turn", "target_column", "target_row"], 0),
        "output_words": 3,
        "average": 0,
        "average_shift": 0,
    }
    assert (third.end, third.patch, third.columns) == (95, (3, 2), 4 * 3 * 2)


def test_averages() -> None:
    pool = Pool(kind="average", size=(4, 2))
    layers = [(replace(FIRST, pool=pool), 3), (replace(FIRST, pool=replace(pool, size=(1, 1))), 1)]
    spec = EngineSpec(pes=2, lanes=2, jobs=1, positions=2)
    fields = [walk.fields(spec) for walk in lay_out(layers, inputs=2, pitch=9, lanes=2)]
    assert [(each["average"], each["average_shift"]) for each in fields] == [(1, 3), (0, 0)]


@settings(max_examples=150, deadline=None)
@given(SEEDS, PLANES, st.integers(1, 3), LENGTHS, SIZES)
def test_nothing_overlaps(
    seed: int,
    planes: tuple[int, int, int],
    convolutions: int,
    lengths: list[int],
    size: tuple[int, int],
) -> None:
    """No word is written twice, nor what a layer must read as zero."""
    network = random_convolutional_network(
        seed, planes, convolutions=convolutions, lengths=lengths, density=0.3
    )
    spec = fit(network, pes=size[0], lanes=size[1])
    program = encode(network, spec)
    table = read_image(spec, program.image)[Section.LAYERS, 0]
    lanes = spec.lanes
    # What writes the activation at an address: 0 for x, 1 for the first layer; -1 for nobody.
    writers = np.full(spec.activation_depth * lanes, -1)
    order = np.array(program.input_order)
    writers[np.flatnonzero(order >= 0)] = 0
    for index in range(len(network.layers) - 1):
        words = int(table["rows_words"][index])
        across = words * (int(table["count0"][index]) + 1) * (int(table["count3"][index]) + 1)
        for row in range(int(table["count4"][index]) + 1):
            at = int(table["target_base"][index]) + row * (across + int(table["target_row"][index]))
            mine = slice(at * lanes, (at + across) * lanes)
            assert at + across <= spec.activation_depth
            assert (writers[mine] == -1).all()
            writers[mine] = index + 1
    for index, layer in enumerate(remove_dead(network).network.layers[:convolutions]):
        conv = layer.convolution
        assert conv is not None
        # All of the patch's pixels, at the first and at the last position.
        before = order if index == 0 else np.array(program.layers[index - 1].order)
        pixel = conv.channels if index == 0 else int(table["rows_words"][index - 1]) * lanes
        pitch = conv.width + 2 * conv.padding[1]
        pitch = found_pitch(conv, program.input_order) if index == 0 else pitch
        whole = np.zeros((conv.height, conv.width), dtype=int)
        whole = np.pad(whole, [(side, side) for side in conv.padding], constant_values=1)
        y, x = np.divmod(np.arange(whole.size), whole.shape[1])
        at = int(table["source_base"][index]) + (y * pitch + x) * pixel
        places = at[:, None] + np.arange(min(pixel, len(before)))
        want = np.where(whole.ravel() == 0, index, -1)
        assert (writers[places] == want[:, None]).all()


@settings(max_examples=100, deadline=None)
@given(SEEDS, PLANES, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0.1, 0.5, 1.0]))
def test_the_image_is_as_wide_as_spreads_its_columns_best(
    seed: int, planes: tuple[int, int, int], lanes: int, density: float
) -> None:
    network = random_convolutional_network(seed, planes, density=density)
    layer = remove_dead(network).network.layers[0]
    conv = layer.convolution
    assert conv is not None
    columns = [each.tolist() for each in np.unravel_index(
        np.flatnonzero(layer.weights.any(axis=0)), (conv.channels, *conv.kernel)
    )]  # fmt: skip
    least = conv.width + 2 * conv.padding[1]
    most = []
    for pitch in range(least, least + 3 * lanes):
        counts = [0] * lanes
        for channel, y, x in zip(*columns, strict=True):
            counts[((y * pitch + x) * conv.channels + channel) % lanes] += 1
        most.append(max(counts))
    pitch = input_pitch(conv, np.flatnonzero(layer.weights.any(axis=0)), lanes=lanes)
    assert pitch == least + most.index(min(most))
    placement = place(network, pes=lanes, lanes=lanes, maps=True)
    assert placement.source_words[0] == min(most)
    assert placement.walks[0].pitch == pitch
    order = image_order(conv, pitch=pitch, length=placement.walks[0].target_base * lanes)
    assert placement.input_order == tuple(order)
    if conv.height + 2 * conv.padding[0] > 1:
        assert found_pitch(conv, placement.input_order) == pitch


@settings(max_examples=100, deadline=None)
@given(SEEDS, PLANES, st.integers(0, 3), st.integers(1, 20), SIZES, st.booleans())
def test_the_image_holds_the_reduced_network(
    seed: int,
    planes: tuple[int, int, int],
    convolutions: int,
    length: int,
    size: tuple[int, int],
    codebook: bool,
) -> None:
    network = random_convolutional_network(
        seed,
        planes,
        convolutions=convolutions,
        lengths=[length],
        density=0.2,
        codebook=codebook,
    )
    program = encode(network, fit(network, pes=size[0], lanes=size[1], positions=4))
    found = decode(program)
    for (weights, bias), layer in zip(found, remove_dead(network).network.layers, strict=True):
        np.testing.assert_array_equal(weights, layer.weights)
        np.testing.assert_array_equal(bias, layer.bias)


@settings(max_examples=60, deadline=None)
@given(SEEDS, PLANES, LENGTHS, SIZES)
def test_columns_stand_by_lane_and_offset(
    seed: int, planes: tuple[int, int, int], lengths: list[int], size: tuple[int, int]
) -> None:
    network = random_convolutional_network(
        seed, planes, convolutions=2, lengths=lengths, density=0.3
    )
    placement = place(network, pes=size[0], lanes=size[1], maps=True)
    befores = [np.arange(placement.walks[0].channels), *placement.orders]
    for layer, walk, offsets, before in zip(
        placement.layers, placement.walks, placement.offsets, befores, strict=False
    ):
        read = np.flatnonzero(layer.weights.any(axis=0))
        at = walk.offsets(read, np.argsort(before)).tolist()
        by_lane = [sorted(each for each in at if each % size[1] == lane) for lane in range(size[1])]
        words = max(map(len, by_lane))
        assert offsets.T.tolist() == [
            [each // size[1] for each in mine] + [0] * (words - len(mine)) for mine in by_lane
        ]


def test_an_engine_for_convolutions() -> None:
    spec = fit(NET, pes=4, lanes=2)
    assert spec == replace(
        spec, positions=8, jobs=1, accumulator_memories=4, queue_depth=23, row_depth=16
    )
    # 95 words of maps; 4 and 6 rows in 2 groups are 2 and 3 accumulators of each PE.
    assert (spec.activation_depth, spec.set_depth) == (128, 2)
    assert fit(NET, pes=2, lanes=2).row_depth == 8 * 4
    given = fit(NET, pes=2, lanes=2, positions=1, row_depth=64, queue_depth=9)
    assert (given.positions, given.row_depth, given.queue_depth) == (1, 64, 9)
    assert (given.jobs, given.accumulator_memories) == (1, 1)
    # Rows of layers with one position may take all sets.
    wide = network_of(dense(1, replace(FIRST, padding=(0, 0), pool=None)), dense(50, columns=24))
    assert fit(wide, pes=2, lanes=2, positions=4).row_depth == 64
    assert fit(wide, pes=2, lanes=2, positions=4, row_depth=64).set_depth == 16


def test_fully_connected_layers_get_the_engine_that_they_got() -> None:
    network = random_network(1, [30, 20, 10], density=0.4)
    spec = fit(network, pes=4)
    assert (spec.positions, spec.queue_depth, spec.accumulator_memories) == (0, 11, 1)
    program = encode(network, spec)
    text = json.loads(program._body()[16 : -len(program.image) - 4])
    assert "positions" not in text["engine"]
    assert not any("convolution" in layer for layer in text["layers"])
    other = encode(network, fit(network, pes=4, positions=2))
    text = json.loads(other._body()[16 : -len(other.image) - 4])
    assert text["engine"]["positions"] == 2
    assert other.input_order == program.input_order


def test_a_program_file(tmp_path: Path) -> None:
    for network in (NET, network_of(dense(3, FIRST)), network_of(dense(3, columns=6))):
        program = encode(network, fit(network, pes=4, positions=2))
        program.save(tmp_path / "net.sct")
        assert Program.load(tmp_path / "net.sct") == program
    bits = program.storage()
    assert bits["offsets"] == program.column_words[0] * 2 * (program.spec.activation_depth // 2)
    assert sum(program.unused().values()) > 0


def test_x_and_y_of_maps() -> None:
    """Channels of a pixel side by side, zeros around, and what fills the words of y up."""
    network = network_of(dense(3, FIRST))
    program = encode(network, fit(network, pes=2, lanes=2))
    assert program.inputs == 2 * 4 * 7
    x = np.arange(1, 57)
    flat = program.arrange(x).reshape(4, 9, 2)
    assert not flat[:, [0, 8]].any()
    assert (flat[:, 1:8] == np.moveaxis(x.reshape(2, 4, 7), 0, -1)).all()
    order = program.layers[0].order
    assert program.output_order == tuple(
        order[row] * 4 + pixel if row < 3 else -1 for pixel in range(4) for row in range(4)
    )
    y = program.restore(np.arange(16).reshape(8, 2))
    assert y.tolist() == [4 * pixel + order.index(row) for row in range(3) for pixel in range(4)]
    assert (program.outputs, program.output_words, program.words) == (12, 8, [36, 8])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"activation_depth": 64},
            (
                "the maps up to the input of layer 'conv2' need 83 words and the engine's "
                "activation memory has 64; use smaller images or more lanes or set "
                "activation_depth to 128"
            ),
        ),
        (
            {"activation_depth": 32},
            (
                "the maps up to the input of layer 'conv1' need 51 words and the engine's "
                "activation memory has 32; use smaller images or more lanes or set "
                "activation_depth to 64"
            ),
        ),
        (
            {"row_depth": 16, "pes": 2},
            (
                "layer 'conv1' needs 4 accumulators of each PE for a position and the engine has "
                "2; use more PEs or fewer positions or set row_depth to 32"
            ),
        ),
        ({"jobs": 2}, "jobs must be 1 with positions, not 2"),
        ({"row_depth": 8}, "positions must be at most half of row_depth (8), not 8"),
        ({"positions": 3}, "positions must be a power of two, not 3"),
        (
            {"positions": 0},
            (
                "layer 'conv1' is a convolution, which an engine without positions does not run; "
                "set positions to 8 and jobs to 1"
            ),
        ),
        (
            {"column_depth": 8},
            (
                "the columns need 26 words and the engine has 8; prune whole neurons or set "
                "column_depth to 32"
            ),
        ),
    ],
)
def test_what_an_engine_does_not_hold(fields: dict[str, int], message: str) -> None:
    assert refusal(fit, NET, **({"pes": 4, "lanes": 2} | fields)) == message


def test_encode_refuses_the_same() -> None:
    spec = fit(NET, pes=2, lanes=2)
    assert refusal(encode, NET, replace(spec, activation_depth=64)) == (
        "the maps up to the input of layer 'conv2' need 83 words and the engine's activation "
        "memory has 64; use smaller images or more lanes or set activation_depth to 128"
    )
    assert refusal(encode, NET, replace(spec, row_depth=16)) == (
        "layer 'conv1' needs 4 accumulators of each PE for a position and the engine has 2; "
        "use more PEs or fewer positions or set row_depth to 32"
    )
    assert refusal(encode, NET, replace(spec, positions=0, accumulator_memories=1)) == (
        "layer 'conv1' is a convolution, which an engine without positions does not run; set "
        "positions to 8 and jobs to 1"
    )


def test_no_engine_is_as_large() -> None:
    conv = Convolution(channels=1, height=2, width=2, kernel=(1, 1))
    assert refusal(fit, network_of(dense(600, conv)), pes=1) == (
        "layer 'conv1' needs 600 accumulators of each PE for a position and the engine has 512; "
        "use more PEs or fewer positions"
    )
    assert fit(network_of(dense(600, conv)), pes=1, positions=4).set_depth == 1024


@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
def test_large_averages(size: tuple[int, int]) -> None:
    pool = Pool(kind="average", size=size)
    conv = Convolution(channels=1, height=32, width=32, kernel=(1, 1), pool=pool)
    network = network_of(dense(1, conv))
    if math.prod(size) == 256:
        assert encode(network, fit(network, pes=1)).output_words == 4
        return
    message = (
        "layer 'conv1' averages windows of 16 x 32, and an engine's have at most 256 activations; "
        "use smaller windows"
    )
    assert refusal(fit, network, pes=1) == message


@pytest.mark.parametrize("length", [15, 16, 17])
def test_x_is_shorter_than_the_memory(length: int) -> None:
    """The layer table has the words of x as a number below the depth."""
    network = network_of(dense(2, columns=length))
    spec = fit(network, pes=1, positions=1)
    assert spec.activation_depth == (16 if length == 15 else 32)
    if length == 16:
        assert refusal(encode, network, replace(spec, activation_depth=16)) == (
            "the activations need 17 words and the engine has 16; use more lanes or set "
            "activation_depth to 32"
        )


def test_y_is_no_longer_than_two_memories() -> None:
    conv = Convolution(channels=1, height=2, width=3, kernel=(1, 1))
    spec = fit(network_of(dense(5, conv)), pes=1)
    assert spec.activation_depth == 16
    assert fit(network_of(dense(6, conv)), pes=1).activation_depth == 32
    x = random_inputs(1, network_of(dense(6, conv)), 2)
    assert x.shape == (2, 6)
