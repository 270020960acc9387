"""The ladder on a small network, and every rung seen red."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from amaranth.hdl import Module
from click.testing import CliRunner

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.fault import Fault, planted
from secateur.bench.networks import random_inputs, random_network
from secateur.cli import command
from secateur.convolution import Convolution, Pool
from secateur.cycles import model
from secateur.encode import encode, fit
from secateur.errors import CheckFailedError
from secateur.fixed import Requant
from secateur.format import Section
from secateur.gateware.pe import ProcessingElement
from secateur.image import read_image, write_image
from secateur.network import Network
from secateur.prove import CLAIMS
from secateur.rungs.components import components
from secateur.rungs.decoder import decoder
from secateur.rungs.engine import on_icarus, on_verilator
from secateur.rungs.formal import formal
from secateur.rungs.integers import drawn, integers, real_values
from secateur.rungs.netlist import on_ecp5, on_ice40up
from secateur.rungs.rung import Amounts, NotRunError, Rung, Subject
from secateur.rungs.streams import streams
from secateur.rungs.top import top_on_ecp5, top_on_ice40up
from secateur.rungs.whole_set import whole_set
from secateur.simulate import RUNS, run_bench
from secateur.simulator import SIMULATORS
from secateur.stages_sim import VERIFY
from secateur.stages_sw import ENCODE, QUANTIZE
from secateur.technology.portable import Multiplier
from secateur.verify import LADDER, Step, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur.network import Layer

ROOT = Path(__file__).resolve().parents[2]
AMOUNTS = Amounts(
    drawn=16, pes=2, words=9, cases=200, verilator=5, icarus=2, netlist=3, processes=2
)


def scaled(layer: Layer) -> Layer:
    """Give a layer fractions that belong to its shift."""
    return replace(layer, weight_fraction=layer.requant.shift)


def small(codebook: bool = False) -> Network:
    network = random_network(9, [30, 60, 7], density=0.3, dead=0.1, codebook=codebook)
    return replace(network, layers=tuple(map(scaled, network.layers)))


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """A network, its program for an engine that the UP5K holds, and seven inputs."""
    network = small()
    spec = fit(network, pes=2, lanes=2, banks=1, weight_depth=1024)
    x = random_inputs(4, network, 7)
    return Subject(
        program=encode(network, spec),
        network=network,
        x=x,
        folder=tmp_path,
        cache=ROOT / "build" / "cosim",
        seed=1,
        amounts=AMOUNTS,
    )


@pytest.mark.cosim
def test_the_ladder(subject: Subject) -> None:
    """Every rung that can be climbed is, and says how much it compared."""
    notes: list[str] = []
    subject = replace(subject, checked=True)
    # Proofs take as long as they take; tests/cosim has the UP5K's cells, with UART and without.
    ladder = [step for step in LADDER if step.climb not in (formal, on_ice40up, top_on_ice40up)]
    rungs = verify(replace(subject, note=notes.append), ladder)
    assert [rung.name for rung in rungs] == [
        *("integers", "real values", "streams", "decoder", "components"),
        *("engine, Verilator", "engine, Icarus", "netlist, ECP5"),
        *("netlist with UART, ECP5", "test set"),
    ]
    icarus = not SIMULATORS["icarus"].missing()
    want = {rung.name: "passed" for rung in rungs}
    if not icarus:
        want["engine, Icarus"] = "not run"
    assert {rung.name: rung.outcome for rung in rungs} == want, rungs
    amounts = {rung.name: rung.amounts for rung in rungs}
    hidden, outputs = 60, 7
    drawn = [2 * 4 + 3 + 16, 2 * 4 + 3 + 16]
    assert (
        amounts["integers"]
        == amounts["real values"]
        == {
            "test inputs": 7,
            "drawn inputs of layers": sum(drawn),
            "outputs": 7 * (hidden + outputs) + drawn[0] * hidden + drawn[1] * outputs,
        }
    )
    layers = subject.program.layers
    weights = sum(layer.weights for layer in layers)
    cells = len(layers[0].order) * (len(subject.program.input_order) + 7)
    biases = len(layers[0].order) + 7
    assert amounts["streams"] == {
        **{"layers": 2, "weights": weights, "zeros": cells - weights, "biases": biases}
    }
    assert amounts["decoder"]["PEs"] == 2
    assert amounts["decoder"]["columns"] == 2 * 2 * 9  # of each PE in each layer
    assert amounts["components"]["requantised values"] > 200
    assert len(amounts["components"]) == 8
    assert min(amounts["components"].values()) > 20
    three_ways = {"test inputs": 5, "outputs": 3 * 5 * outputs, "latencies": 5}
    assert amounts["engine, Verilator"] == three_ways
    few = {"test inputs": 3, "outputs": 3 * 3 * outputs, "latencies": 3}
    assert amounts["netlist, ECP5"] == {**few, "block RAMs": 5, "multipliers": 2}
    assert amounts["netlist with UART, ECP5"] == {
        **{"test inputs": 3, "outputs": 3 * outputs, "block RAMs": 8, "multipliers": 2},
        **{"bytes of the program": len(subject.program.image), "bytes of responses": 328},
        "checked entries": 545,  # also those between the layers of a PE that has fewer
    }
    cycles = amounts["test set"].pop("engine cycles")
    assert amounts["test set"] == {"test inputs": 7, "outputs": 7 * outputs}
    assert cycles > 2 * len(subject.program.image)  # both load the program
    speeds = [note for note in notes if "engine cycles a second" in note]
    assert len(speeds) == 1
    assert speeds[0].endswith(" in 2 simulations side by side")
    assert [note.partition(":")[0] for note in notes if note not in speeds] == [*amounts]


def test_the_ladder_has_what_is_tested_elsewhere() -> None:
    assert [step.name for step in LADDER if step.climb is formal] == ["proofs"]
    found = [step.name for step in LADDER if step.climb in (on_ice40up, top_on_ice40up)]
    assert found == ["netlist, iCE40 UP5K", "netlist with UART, iCE40 UP5K"]
    assert len(LADDER) == 13


def failure(climb: Callable[[Subject], Any], subject: Subject) -> str:
    """Climb a rung that must fail."""
    (rung,) = verify(subject, [Step(name="rung", compared="", climb=climb)])
    assert rung.outcome == "failed", rung
    assert rung.amounts == {}
    return rung.why


def with_layer(subject: Subject, index: int, **fields: Any) -> Subject:
    """Let the program be that of another network: one layer differs from the subject's."""
    layers = [*subject.network.layers]
    layers[index] = replace(layers[index], **fields)
    return replace(subject, network=replace(subject.network, layers=tuple(layers)))


def test_convolutions_on_the_first_rungs(subject: Subject) -> None:
    """Drawn inputs drive sums to their bounds, and a kernel that is read wrongly is seen."""
    network = random_convolutional_network(7, (2, 9, 8), convolutions=2, lengths=(5,))
    network = replace(network, layers=tuple(map(scaled, network.layers)))
    x = random_inputs(4, network, 7)
    given = replace(subject, network=network, x=x)
    counts = [2 * min(4, len(layer.weights)) + 3 + 16 for layer in network.layers]
    outputs = [layer.outputs for layer in network.layers]
    want = {
        "test inputs": 7,
        "drawn inputs of layers": sum(counts),
        "outputs": 7 * sum(outputs) + sum(map(mul, counts, outputs)),
    }
    assert integers(given) == real_values(given) == want
    first = network.layers[0]
    assert first.convolution is not None
    (_, values), *_ = drawn(given)
    sums = first.convolution.sums(values, first.weights)[:, :4] + first.bias[:4, None, None]
    ends = np.where(first.weights > 0, first.input.highest, first.input.lowest) * first.weights
    assert np.array_equal(sums.max(axis=(0, 2, 3)), (ends.sum(axis=1) + first.bias)[:4])


@pytest.mark.parametrize("rung", [integers, real_values])
def test_wrong_rounding_is_red(
    rung: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def truncate(self: Requant, acc: np.ndarray) -> np.ndarray:
        saturated = np.clip(acc >> self.shift, self.output.lowest, self.output.highest)
        return np.maximum(saturated, 0) if self.relu else saturated

    monkeypatch.setattr(Requant, "compute", truncate)
    why = failure(rung, subject)
    said = "by the independent arithmetic" if rung is integers else "half a step is the most"
    assert why.endswith(said)


def test_wrong_scale_is_not_run(subject: Subject) -> None:
    other = with_layer(subject, 1, weight_fraction=40)
    message = (
        "the fractions of layer 'fc2' do not give its shift, so its integers stand for no real "
        "values"
    )
    with pytest.raises(NotRunError) as caught:
        real_values(other)
    assert str(caught.value) == message


def other_weight(layer: Layer) -> np.ndarray:
    weights = layer.weights.copy()
    row, column = np.argwhere(weights)[-1]
    weights[row, column] += 1 if weights[row, column] != -1 else -1
    return weights


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda layer: {"weights": other_weight(layer)}, "weights of layer 'fc2'"),
        (lambda layer: {"bias": layer.bias + 1}, "biases of layer 'fc2'"),
        (
            lambda layer: {"requant": replace(layer.requant, shift=layer.requant.shift + 1)},
            "shift of layer 'fc2' must be",
        ),
        (
            lambda layer: {"requant": replace(layer.requant, relu=not layer.requant.relu)},
            "relu of layer 'fc2' must be",
        ),
        (
            lambda layer: {"weights": np.where(layer.weights == 0, 1, layer.weights)},
            "the image leaves out an input that layer 'fc2' has weights for",
        ),
    ],
    ids=["weight", "bias", "shift", "relu", "zeros"],
)
def test_another_program_is_red(fault: Any, message: str, subject: Subject) -> None:
    layer = subject.network.layers[1]
    assert message in failure(streams, with_layer(subject, 1, **fault(layer)))


@pytest.fixture
def convolutional(subject: Subject) -> Subject:
    """A network of two convolutions, whose first has a channel that nothing reads."""
    first = Convolution(
        channels=2,
        height=6,
        width=5,
        kernel=(2, 2),
        padding=(1, 0),
        groups=2,
        pool=Pool(kind="max", size=(3, 2)),
    )
    second = Convolution(channels=4, height=2, width=2, kernel=(2, 1))
    layers = []
    dense = random_network(1, [2 * 4, 4 * 2, 3 * 2, 5, 3], density=1).layers
    for index, (layer, shape) in enumerate(zip(dense, (first, second, None, None), strict=True)):
        rows, columns = ((4, 4), (3, 8), (5, 6), (3, 5))[index]
        weights = np.resize(layer.weights, (rows, columns))
        if index == 1:
            weights[:, 2:4] = 0
        name = f"{'fc' if shape is None else 'conv'}{index + 1}"
        fields = {"weights": weights, "bias": layer.bias[:rows], "convolution": shape}
        layers.append(replace(layer, name=name, **fields))
    network = Network(name="net", layers=tuple(layers))
    return replace(subject, network=network, program=encode(network, fit(network, pes=4)))


def test_streams_of_convolutions(convolutional: Subject) -> None:
    program = convolutional.program
    assert [len(layer.order) for layer in program.layers] == [3, 3, 5, 3]
    found = streams(convolutional)
    cells = 3 * 2 * 4 + 3 * 3 * 2 + 5 * 3 * 2 + 3 * 5
    assert found["weights"] + found.get("zeros", 0) == cells
    assert (found["layers"], found["biases"]) == (4, 3 + 3 + 5 + 3)


def test_decoder_of_convolutions(convolutional: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of a window are decoded as those of any layer; a wrong decoder is seen."""
    subject = replace(convolutional, amounts=replace(AMOUNTS, pes=4, words=1000))
    words = sum(subject.program.column_words)
    entries = sum(layer.entries for layer in subject.program.layers)
    assert decoder(subject) == {"PEs": 4, "columns": 4 * words, "entries": entries}
    decoded = ProcessingElement._weight_of
    monkeypatch.setattr(ProcessingElement, "_weight_of", lambda *arguments: decoded(*arguments) ^ 2)
    assert failure(decoder, subject).startswith("entry 0 of PE 0 in layer 'conv1' is Entry(")


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda layer: {"weights": other_weight(layer)}, "weights of layer"),
        (lambda layer: {"bias": layer.bias + 1}, "biases of layer"),
        (
            lambda layer: {"requant": replace(layer.requant, shift=layer.requant.shift + 1)},
            "shift of layer",
        ),
    ],
    ids=["weight", "bias", "shift"],
)
def test_another_program_of_convolutions_is_red(
    fault: Any, message: str, index: int, convolutional: Subject
) -> None:
    layer = convolutional.network.layers[index]
    assert message in failure(streams, with_layer(convolutional, index, **fault(layer)))


def test_a_channel_that_is_left_out_is_red(convolutional: Subject) -> None:
    (gone,) = {*range(4)} - {*convolutional.program.layers[0].order}
    weights = convolutional.network.layers[1].weights.copy()
    weights[0, gone * 2 + 1] = 1
    assert failure(streams, with_layer(convolutional, 1, weights=weights)) == (
        "the image leaves out an input that layer 'conv2' has weights for"
    )


def test_another_convolution_is_red(convolutional: Subject) -> None:
    first, *rest = convolutional.program.layers
    assert first.convolution is not None
    other = replace(first, convolution=replace(first.convolution, pool=None))
    program = replace(convolutional.program, layers=(other, *rest))
    assert failure(streams, replace(convolutional, program=program)) == (
        "layer 'conv1' has another convolution in the program"
    )


@pytest.mark.parametrize("field", ["step2", "target_base", "count3"])
def test_another_layout_is_red(field: str, convolutional: Subject) -> None:
    program = convolutional.program
    contents = read_image(program.spec, program.image)
    value = contents[Section.LAYERS, 0][field][0]
    contents[Section.LAYERS, 0][field][0] += 1
    program = replace(program, image=write_image(program.spec, contents))
    assert failure(streams, replace(convolutional, program=program)) == (
        f"{field} of layer 'conv1' must be {value} in the image, not {value + 1}"
    )


def test_an_input_that_is_left_out_is_red(subject: Subject) -> None:
    """Of the network, whose column is empty in the program."""
    layer = subject.network.layers[0]
    weights = layer.weights.copy()
    (dead,) = np.flatnonzero(~weights.any(axis=0))[:1]
    weights[subject.program.layers[0].order[0], dead] = 1
    assert failure(streams, with_layer(subject, 0, weights=weights)) == (
        "the image leaves out an input that layer 'fc1' has weights for"
    )


def test_codebooks(subject: Subject) -> None:
    network = small(codebook=True)
    program = encode(network, fit(network, pes=2))
    coded = replace(subject, network=network, program=program)
    values = [len(layer.codebook) for layer in network.layers if layer.codebook is not None]
    assert streams(coded)["codebook values"] == sum(values)
    assert decoder(replace(coded, amounts=replace(AMOUNTS, words=1000)))["entries"] == sum(
        layer.entries for layer in program.layers
    )
    book = network.layers[1].codebook
    assert book is not None
    more = np.append(book, book[-1] + 1)
    assert failure(streams, with_layer(coded, 1, codebook=more)) == (
        f"all of {len(more)} codebook values of layer 'fc2' in the image are not the network's"
    )


def test_a_wrong_decoder_is_red(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = ProcessingElement._weight_of
    monkeypatch.setattr(ProcessingElement, "_weight_of", lambda *arguments: decoded(*arguments) ^ 2)
    assert failure(decoder, subject).startswith("entry 0 of PE 0 in layer 'fc1' is Entry(")


def test_a_lost_entry_is_red(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from secateur.bench.decoder import decoded_by_circuit

    def lose(*arguments: Any, **options: Any) -> Any:
        layers = decoded_by_circuit(*arguments, **options)
        layers[1].pop()
        return layers

    monkeypatch.setattr("secateur.rungs.decoder.decoded_by_circuit", lose)
    assert failure(decoder, subject).startswith("the circuit multiplies ")


def test_a_wrong_requantizer_is_red(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Requant.compute
    half_down = lambda self, acc: compute(self, acc - (self.shift > 0))  # noqa: E731
    monkeypatch.setattr(Requant, "compute", half_down)
    spec = subject.program.spec
    why = failure(components, subject)
    assert why.startswith(f"{spec.accumulator_width}->{spec.activation_width}, case ")


def test_a_wrong_accumulator_is_red(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Multiplier.elaborate

    def lose_a_bit(self: Multiplier, platform: object) -> Module:
        m = Module()
        m.submodules.right = right = Multiplier(len(self.a), len(self.b))
        right.elaborate = lambda platform: multiply(right, platform)
        m.d.comb += [right.a.eq(self.a), right.b.eq(self.b), self.product.eq(right.product | 1)]
        return m

    monkeypatch.setattr(Multiplier, "elaborate", lose_a_bit)
    assert failure(components, subject).startswith("cycle ")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            Fault("queue", "self.r_rdy.eq(0)", "self.r_rdy.eq(self.w_en)", ""),
            "cycle 1: r_rdy is True",
        ),
        (
            Fault("column", "limit = self.spec.queue_depth", "limit = 99", ""),
            "cycle 37: room is True",
        ),
        (Fault("walk", "left != 1", "left != 0", ""), "cycle 3, word 1: done is False"),
        (Fault("store", "~hidden_full & ~turn_x", "~hidden_full", ""), "cycle 1: i_hidden.ready"),
        (Fault("drain", "bias_address + 1\n", "bias_address + 2\n", ""), "word 0 of "),
    ],
    ids=lambda value: getattr(value, "module", ""),
)
def test_a_wrong_component_is_red(fault: Fault, said: str, subject: Subject) -> None:
    with planted(fault):
        assert failure(components, subject).startswith(said)


def test_components_of_an_engine_with_maps(convolutional: Subject) -> None:
    found = components(convolutional)
    assert [*found][-6:] == [
        *("queued words", "columns", "walked words", "read activations", "pooled activations"),
        "drained words",
    ]
    assert min(found.values()) > 20


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("maps.walk", "known.eq(1), tag.eq(~0)]", "known.eq(1)]", ""), "lane 0 is {'tag': "),
        (Fault("maps.loops", "goes_on & end\n", "goes_on\n", ""), "patch is "),
        (Fault("maps.store", "+ behind[lane])", ")", ""), "lane "),
        (Fault("maps.pool", "whole[lane] + half", "whole[lane]", ""), "window "),
        (Fault("maps.drain", "self.address + 1 + gap", "self.address + gap", ""), "address is "),
    ],
    ids=lambda value: getattr(value, "module", ""),
)
def test_a_wrong_component_of_maps_is_red(fault: Fault, said: str, convolutional: Subject) -> None:
    with planted(fault):
        why = failure(components, convolutional)
    assert why.startswith("cycle ")
    assert said in why


def flipped(name: str, *arguments: Any, **options: Any) -> Any:
    """Run a bench, and change one bit of one of its arrays."""
    result = run_bench(*arguments, **options)
    result[name].reshape(-1)[0] ^= 1
    return result


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("y_stalled", "1 of 105 outputs differ from the network's"),
        ("latency", "1 of 5 latencies differ from the cycle model's"),
    ],
)
def test_a_wrong_engine_is_red(
    name: str, message: str, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.simulate.run_bench", partial(flipped, name))
    assert failure(on_verilator, subject) == message


@pytest.mark.cosim
def test_a_wrong_output_of_the_last_input_is_red(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subject.network.compute(subject.x)
    other[-1, -1] ^= 1
    monkeypatch.setattr(Network, "compute", lambda *_: other)
    assert failure(whole_set, subject) == (
        "1 of 49 outputs differ from the network's; the first wrong input is 6"
    )


def test_a_wrong_latency_of_a_netlist_is_red(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a netlist that is but a list of cells; tests/netlist has faults in real ones."""

    def cells(*_: Any, folder: Path, **options: Any) -> Path:
        netlist = folder / "dut.v"
        kinds = ["DP16KD"] * 5 + ["MULT18X18D"] * 2
        netlist.write_text("module dut(\n" + "".join(f"  {kind} (\n" for kind in kinds))
        return netlist

    def bench(*_: Any, **options: Any) -> dict[str, np.ndarray]:
        x = subject.x[:3]
        flat = subject.network.compute(x)[:, np.array(subject.program.output_order)]
        words = np.zeros((3, subject.program.output_words * 2), dtype=np.int64)
        words[:, :7] = flat & 255
        result = {run: words.reshape(3, -1, 2) for run in RUNS}
        return {**result, "latency": model(subject.program, subject.network, x)[0] + [0, 1, 0]}

    monkeypatch.setattr("secateur.rungs.netlist.Engine", lambda *_, **options: None)
    monkeypatch.setattr("secateur.rungs.netlist.write_netlist", cells)
    monkeypatch.setattr("secateur.rungs.netlist.run_bench", bench)
    assert failure(on_ecp5, subject) == "1 of 3 latencies differ from the cycle model's"


def reason(climb: Callable[[Subject], Any], subject: Subject) -> str:
    """Climb a rung that cannot be climbed."""
    (rung,) = verify(subject, [Step(name="rung", compared="", climb=climb)])
    assert (rung.outcome, rung.amounts) == ("not run", {})
    return rung.why


def test_what_is_missing_is_not_passed(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = fit(subject.network, pes=64)
    large = replace(subject, program=encode(subject.network, wide))
    for climb in (on_ice40up, top_on_ice40up):
        assert reason(climb, large).startswith(
            "the engine does not fit device 'ice40-up5k': it needs "
        )
    for simulator in ("Icarus", "Verilator"):
        monkeypatch.setattr(f"secateur.simulator.{simulator}.missing", lambda _: ["a", "b"])
    for climb in (on_icarus, on_verilator, on_ecp5, top_on_ecp5, whole_set):
        assert reason(climb, subject) == "a and b is not installed"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert reason(integers, subject) == (
        "it needs torch, which is not installed; run `pip install secateur[train]`"
    )


def test_proofs(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted are those that were made; a refuted one fails the rung with the claim's name."""
    short = tuple(claim for claim in CLAIMS if claim.name in ("stream buffer", "walker"))
    assert len(short) == 2
    for module in ("secateur.prove", "secateur.rungs.formal"):
        monkeypatch.setattr(f"{module}.CLAIMS", short)
    found = formal(subject)
    assert found["proofs"] == 2
    assert found["proofs up to a bound"] == 0
    assert found["properties"] == sum(len(claim.elaborate().claims) for claim in short)
    with planted(short[0].faults[0]):
        said = failure(formal, subject)
    assert said.startswith(f"{short[0].name}: {short[0].faults[0].breaks!r}")


def test_rungs_after_a_failed_one_are_climbed(subject: Subject) -> None:
    def fail(error: Exception) -> Callable[[Subject], dict[str, int]]:
        def climb(subject: Subject) -> dict[str, int]:
            raise error

        return climb

    log = subject.folder / "x" / "yosys.log"
    climbs = {
        "a": fail(CheckFailedError("o.valid was taken back\nand more")),
        "b": fail(CheckFailedError(f"Yosys failed; see {log}")),
        "d": lambda _: {"inputs": 3, "outputs": 0},
        "e": lambda _: {},
        "f": fail(NotRunError("no tool")),
        "g": lambda _: {"inputs": 3},
    }
    ladder = [Step(name=name, compared="x", climb=climb) for name, climb in climbs.items()]
    want: list[tuple[str, Any, dict[str, int], str]] = [
        ("a", "failed", {}, "o.valid was taken back"),
        ("b", "failed", {}, "Yosys failed; see x/yosys.log"),
        ("d", "failed", {}, "it compared nothing ({'inputs': 3, 'outputs': 0})"),
        ("e", "failed", {}, "it compared nothing ({})"),
        ("f", "not run", {}, "no tool"),
        ("g", "passed", {"inputs": 3}, ""),
    ]
    assert verify(subject, ladder) == [
        Rung(name=name, compared="x", outcome=outcome, amounts=amounts, why=why)
        for name, outcome, amounts, why in want
    ]


@pytest.mark.parametrize("kind", [AssertionError, ZeroDivisionError])
def test_a_defect_of_a_rung_is_no_result(kind: type[Exception], subject: Subject) -> None:
    """Its own check of itself fails, or anything else: the traceback says where."""

    def climb(subject: Subject) -> dict[str, int]:
        raise kind("the bench breaks the contract")

    with pytest.raises(kind, match=r"^the bench breaks the contract$"):
        verify(subject, [Step(name="rung", compared="", climb=climb)])


@pytest.mark.parametrize("fails", [False, True])
def test_command(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, the file and, after both, the exit code; logs are kept where they are of use."""
    network = random_network(9, [64, 20, 10])
    network.save(tmp_path / "network.safetensors")
    encode(network, fit(network, pes=2)).save(tmp_path / "program.sct")

    def climb(subject: Subject) -> dict[str, int]:
        assert subject.checked
        assert subject.amounts == Amounts(netlist=4)
        (subject.room("mine") / "a.log").write_text("what happened")
        if fails:
            raise CheckFailedError("3 outputs differ")
        return {"test inputs": len(subject.x)}

    def skip(subject: Subject) -> dict[str, int]:
        raise NotRunError("no simulator")

    ladder = [
        Step(name="first", compared="one with another", climb=climb),
        Step(name="second", compared="more", climb=skip),
    ]
    monkeypatch.setattr("secateur.verify.verify", partial(verify, ladder=ladder))
    (tmp_path / "small.toml").write_text(
        'data.name = "digits"\nsynthesize.check = true\nverify.netlist_images = 4\n'
    )
    target = tmp_path / "verification.json"
    stages = {"quantize": QUANTIZE, "encode": ENCODE, "verify": VERIFY}
    arguments = ["verify", str(tmp_path / "small.toml"), "--from", str(tmp_path), "-o", str(target)]
    result = CliRunner().invoke(command(stages), arguments)
    written = json.loads(target.read_text())
    assert {*written} == {"rungs", "digests"}
    assert {*written["digests"]} == {"program.sct", "network.safetensors"}
    first, second = written["rungs"]
    assert second == {
        **{"name": "second", "compared": "more", "outcome": "not run"},
        **{"amounts": {}, "why": "no simulator"},
    }
    assert "not run" in result.stdout
    assert f"\n{target}\n" in result.stdout
    logs = [path.read_text() for path in tmp_path.glob(".verification.json.*/mine/a.log")]
    if fails:
        assert (first["outcome"], first["why"]) == ("failed", "3 outputs differ")
        assert result.exit_code == 1
        assert f"secateur: 1 of 2 rungs failed (first); {target} says why\n" in result.stderr
        assert logs == ["what happened"]
        assert f"the logs are in {tmp_path / '.verification.json.logs'}" in result.stderr
    else:
        assert (first["outcome"], first["amounts"]) == ("passed", {"test inputs": 355})
        assert result.exit_code == 0, result.stderr
        assert logs == []
        assert "355 test inputs" in result.stdout
