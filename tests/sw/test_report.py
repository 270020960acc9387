"""The report: every fact from its file, nothing invented, a page that stands alone."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from secateur import checkpoint
from secateur.digest import digest_file
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network
from secateur.program import Program
from secateur.project import Project
from secateur.report import MODEL, collect, report
from secateur.summary import SOURCES, number, show

PROJECT = Project(name="small", seed=7)
NAMES = ("fc<i>1", "fc2")
SHAPES = ((12, 20), (5, 12))


def network() -> Network:
    rng = np.random.default_rng(5)
    layers = []
    for index, (name, (rows, columns)) in enumerate(zip(NAMES, SHAPES, strict=True)):
        weights = rng.integers(-7, 8, (rows, columns)) * (rng.random((rows, columns)) < 0.3)
        layers.append(
            Layer(
                name=name,
                weights=weights,
                bias=rng.integers(-20, 20, rows),
                weight_width=8,
                input=NumberFormat(width=8, signed=False),
                requant=Requant(
                    shift=4, output=NumberFormat(width=8, signed=bool(index)), relu=not index
                ),
            )
        )
    return Network(name="small", layers=tuple(layers))


SIMULATION = {
    "simulator": "verilator",
    "images": 30,
    "outputs": 150,
    "mismatches": 0,
    "accuracy": 0.96,
    "cycles": {"mean": 90.5, "min": 80, "max": 101, "period": 88.25},
    "ideal": 33.0,
    "model": 90.5,
    "layers": [
        {
            "name": name,
            "cycles": 45.0,
            "ideal": 16.5,
            "model": 44.0,
            "utilization": 16.5 / 45.0,
            "pe_busy": [15.0, 18.0],
        }
        for name in NAMES
    ],
}

SYNTHESIS = {
    "device": "ecp5-25k",
    **{"lut": 1200, "lut_available": 24288, "ff": 700, "ff_available": 24288},
    **{"bram": 9, "bram_available": 56, "dsp": 2, "dsp_available": 28},
    **{"fmax_mhz": 101.5, "clock_mhz": 50.0, "bitstream": "top.bit"},
    "seeds": [{"seed": 1, "fmax_mhz": 101.5}],
}


VERIFICATION = {
    "rungs": [
        {
            **{"name": "integers", "compared": "one with another", "outcome": "passed"},
            **{"amounts": {"test inputs": 15, "outputs": 1500}, "why": ""},
        },
        {
            **{"name": "engine", "compared": "bits & cycles", "outcome": "not run"},
            **{"amounts": {}, "why": "<iverilog> is not installed"},
        },
        {
            **{"name": "netlist", "compared": "cells", "outcome": "failed"},
            **{"amounts": {}, "why": "3 outputs differ"},
        },
    ]
}


def save(path: Path, program: Program) -> None:
    """Save a program, and what was made of it beside."""
    program.save(path)
    digests = {"program.sct": digest_file(path), "network.safetensors": program.network_digest}
    results = {
        "simulation.json": SIMULATION,
        "synthesis.json": SYNTHESIS,
        "verification.json": VERIFICATION,
    }
    for name, value in results.items():
        path.with_name(name).write_text(json.dumps({**value, "digests": digests}))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What a whole build leaves for the report."""
    folder = tmp_path / "artefacts"
    folder.mkdir()
    paths = {name: folder / name for name in SOURCES}
    net = network()
    save(paths["program.sct"], encode(net, fit(net, pes=2)))
    rng = np.random.default_rng(6)
    dense = {f"{name}.weight": rng.normal(size=s) for name, s in zip(NAMES, SHAPES, strict=True)}
    biases = {f"{name}.bias": np.ones(rows) for name, (rows, _) in zip(NAMES, SHAPES, strict=True)}
    MODEL.write(paths["model.safetensors"], {}, {**dense, **biases})
    pruned = {name: np.where(abs(weight) < 1, 0, weight) for name, weight in dense.items()}
    MODEL.write(paths["pruned.safetensors"], {}, {**pruned, **biases})
    model, left = (
        {name: digest_file(paths[name])} for name in ("model.safetensors", "pruned.safetensors")
    )
    layers = [
        {"name": name, "weights": weight.size, "nonzeros": int(np.count_nonzero(weight))}
        for name, weight in zip(NAMES, pruned.values(), strict=True)
    ]
    facts = {
        "train.json": {"accuracy": 0.98, "digests": model},
        "prune.json": {
            **{"accuracy": 0.97, "accuracy_before_retraining": 0.6, "layers": layers},
            "digests": {**model, **left},
        },
        "quantize.json": {
            "accuracy": 0.96,
            "digests": {**left, "network.safetensors": net.digest},
        },
    }
    for name, value in facts.items():
        paths[name].write_text(json.dumps(value))
    return paths


class Page(HTMLParser):
    """Checks the nesting, and keeps what a browser would fetch and what it shows."""

    VOID = frozenset({"meta", "br", "link", "img", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text = ""
        self.count = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count += tag == "svg"
        if tag in {"script", "link", "iframe", "img"}:
            self.fetched.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "data"} and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {value}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_required_fact(files: dict[str, Path]) -> None:
    facts = collect(PROJECT, files)
    program = Program.load(files["program.sct"])
    assert facts["accuracy"] == {
        "float": 0.98,
        "pruned_before_retraining": 0.6,
        "pruned": 0.97,
        "quantized": 0.96,
        "rtl": 0.96,
    }
    assert facts["bit_exact"] == {"outputs": 150, "mismatches": 0}
    assert facts["cycles"] == {
        **{"mean": 90.5, "min": 80, "max": 101, "period": 88.25},
        **{"ideal": 33.0, "model": 90.5},
    }
    assert facts["storage"]["bits_per_weight"] == round(program.bits_per_weight, 3)
    assert facts["storage"]["unused"] == program.unused()
    (synthesis,) = facts["synthesis"].values()
    assert {key: synthesis[key] for key in SYNTHESIS} == SYNTHESIS
    assert facts["verification"] == VERIFICATION["rungs"]
    assert facts["missing"] == []
    assert (facts["project"], facts["seed"]) == ("small", 7)


def test_the_ladder_is_in_page_and_tables(files: dict[str, Path], tmp_path: Path) -> None:
    """Each rung with its outcome, what it compared, and how much or why not."""
    facts = report(PROJECT, files, html=tmp_path / "a.html", data=tmp_path / "a.json")
    text = (tmp_path / "a.html").read_text()
    page = " ".join(Page(text).text.partition("Verification")[2].partition("Storage")[0].split())
    console = Console(file=io.StringIO(), width=200)
    show(console, facts)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    for words in (
        ("integers", "passed", "one with another", "15 test inputs, 1,500 outputs"),
        ("engine", "not run", "bits & cycles", "<iverilog> is not installed"),
        ("netlist", "failed", "cells", "3 outputs differ"),
    ):
        assert "".join(words).replace(" ", "") in page.replace(" ", "")
        assert [line for line in lines if all(word in line for word in words)], words
    assert text.count('<td class="bad">failed</td>') == 1
    assert text.count('<td class="missing">not run</td>') == 1


def test_layers(files: dict[str, Path]) -> None:
    program = Program.load(files["program.sct"])
    layers = collect(PROJECT, files)["layers"]
    for layer, expected in zip(layers, network().layers, strict=True):
        left = np.count_nonzero(expected.weights)
        assert (layer["name"], layer["weights"]) == (expected.name, expected.weights.size)
        assert (layer["nonzeros"], layer["density"]) == (left, left / expected.weights.size)
        assert layer["code_bits"] == expected.code_width
        assert layer["code_bits"] + layer["index_bits"] == program.spec.entry_width
        assert (layer["cycles"], layer["utilization"]) == (45.0, 16.5 / 45.0)


@pytest.mark.parametrize("pes", [1, 3, 8])
@pytest.mark.parametrize("codebook", [False, True])
def test_stored_bits_of_the_layers_are_all_there_are(
    files: dict[str, Path], pes: int, codebook: bool
) -> None:
    net = network()
    if codebook:
        layers = [Layer(**{**vars(layer), "codebook": np.arange(-7, 8)}) for layer in net.layers]
        net = Network(name="small", layers=tuple(layers))
    program = encode(net, fit(net, pes=pes, index_width=2))
    files["quantize.json"].write_text(
        json.dumps({"accuracy": 0.5, "digests": {"network.safetensors": net.digest}})
    )
    save(files["program.sct"], program)
    facts = collect(PROJECT, files)
    stored = sum(layer["stored_bits"] for layer in facts["layers"])
    assert stored == sum(program.storage().values()) == sum(facts["storage"]["bits"].values())


def test_the_page_says_what_memories_leave_free(files: dict[str, Path], tmp_path: Path) -> None:
    report(PROJECT, files, html=tmp_path / "a.html", data=tmp_path / "a.json")
    unused = Program.load(files["program.sct"]).unused()
    told = ", ".join(f"{memory} {number(bits)}" for memory, bits in unused.items())
    assert f"Left free, in bits: {told}." in " ".join((tmp_path / "a.html").read_text().split())


def test_what_was_not_run_is_said_and_not_invented(tmp_path: Path) -> None:
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    facts = report(PROJECT, {}, html=html, data=data)
    assert facts["missing"] == [
        *("train", "prune", "quantize", "encode", "simulate", "synthesize", "verify"),
    ]
    assert set(facts["accuracy"].values()) == {None}
    assert (facts["layers"], facts["synthesis"], facts["storage"]["bits"]) == ([], {}, {})
    page = Page(html.read_text())
    assert page.count == 0
    for stage in ("prune", "encode", "simulate", "synthesize", "verify"):
        assert f"Not measured: secateur {stage} was not run." in page.text
    assert not re.search(r"\b(None|nan)\b", page.text.partition("Settings")[0])


def test_without_hardware_the_rest_is_shown(files: dict[str, Path], tmp_path: Path) -> None:
    software = {name: path for name, path in files.items() if path.suffix != ".json"}
    facts = report(PROJECT, software, html=tmp_path / "a.html", data=tmp_path / "a.json")
    assert facts["missing"] == ["train", "prune", "quantize", "simulate", "synthesize", "verify"]
    assert facts["layers"][0]["cycles"] is None
    assert Page((tmp_path / "a.html").read_text()).count == 2  # density and weights


def test_the_page_stands_alone(files: dict[str, Path], tmp_path: Path) -> None:
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    facts = report(PROJECT, files, html=html, data=data)
    assert json.loads(data.read_text()) == facts
    text = html.read_text()
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert set(re.findall(r"\w+://[^\s\"']+", text)) == {  # names, which nothing fetches
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert page.count == 5
    assert "fc<i>1" in page.text  # escaped in the file, so that it is not a tag
    assert "Not measured" not in page.text
    for fact in ("96.00 %", "of 150 outputs differ", "90.5", "101.5", "1,200 of 24,288"):
        assert fact in page.text


def test_the_same_facts_give_the_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        report(PROJECT, files, html=page, data=tmp_path / "report.json")
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_plots_follow_the_theme(files: dict[str, Path], tmp_path: Path) -> None:
    """Every colour in a plot is one of the page's, which has a light and a dark one of each."""
    html = tmp_path / "report.html"
    report(PROJECT, files, html=html, data=tmp_path / "report.json")
    text = html.read_text()
    plots = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r'href="#[^"]*"|url\(#[^)]*\)', "", plots))
    used = set(re.findall(r"var\((--\w+)\)", plots))
    assert used == {"--ink", "--grid", "--first", "--second", "--third"}
    assert all(text.count(f"{name}: #") == 2 for name in used)


def edited(files: dict[str, Path], name: str, **values: object) -> str:
    return json.dumps({**json.loads(files[name].read_text()), **values})


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("train.json", {"accuracy": "1"}, "accuracy: Input should be a valid number"),
        ("quantize.json", {"accuracy": 1.5}, "accuracy: Input should be less than or equal to 1"),
        ("quantize.json", {"digests": None}, "digests: Input should be an object"),
        ("prune.json", {"layers": [{}]}, "layers: 0: name: Field required"),
        (
            "prune.json",
            {"layers": [{"name": "fc2", "weights": 4}]},
            "layers: 0: nonzeros: Field required",
        ),
        ("simulation.json", {"outputs": "150"}, "outputs: Input should be a valid integer"),
        (
            "simulation.json",
            {"layers": [{**SIMULATION["layers"][0], "pe_busy": busy} for busy in ([1], [1, 2])]},
            "Value error, pe_busy must have one number for each PE in every layer",
        ),
        (
            "synthesis.json",
            {"dsp_available": None},
            "dsp_available: Input should be a valid integer",
        ),
        *(
            (
                "verification.json",
                {"rungs": [{**VERIFICATION["rungs"][rung], **fields}]},
                "rungs: 0: Value error, a rung must have amounts if it passed, else why it did not",
            )
            for rung, fields in (
                (0, {"amounts": {}}),
                (0, {"why": "no reason"}),
                (1, {"amounts": {"outputs": 1}}),
                (1, {"why": ""}),
                (1, {"outcome": "passed"}),
            )
        ),
    ],
)
def test_an_edited_result(
    files: dict[str, Path], name: str, values: dict[str, object], reason: str
) -> None:
    files[name].write_text(edited(files, name, **values))
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == (
        f"{files[name]} is damaged ({reason}); make it again with `secateur {SOURCES[name]}`"
    )


def test_a_result_that_is_no_json(files: dict[str, Path]) -> None:
    files["prune.json"].write_text("")
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == (
        f"{files['prune.json']} is damaged (Invalid JSON: EOF while parsing a value at line 1 "
        "column 0); make it again with `secateur prune`"
    )


@pytest.mark.parametrize(
    ("name", "artefact", "other"),
    [
        ("train.json", "model.safetensors", "prune.json"),
        ("prune.json", "pruned.safetensors", "quantize.json"),
        ("quantize.json", "network.safetensors", "simulation.json"),
        ("synthesis.json", "program.sct", "simulation.json"),
    ],
)
def test_results_of_different_runs(
    files: dict[str, Path], name: str, artefact: str, other: str
) -> None:
    """With layers of the same names and sizes, as those of two trainings are."""
    digests = json.loads(files[name].read_text())["digests"]
    files[name].write_text(edited(files, name, digests={**digests, artefact: "another"}))
    first, second = sorted((files[name], files[other]), key=[*files.values()].index)
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == (
        f"{first} and {second} do not belong together, since {artefact} was another one for "
        "each; run the stages again from the first one that changed"
    )


@pytest.mark.parametrize(
    ("name", "artefact", "other"),
    [
        ("model.safetensors", "model.safetensors", "train.json"),
        ("pruned.safetensors", "pruned.safetensors", "prune.json"),
        ("program.sct", "network.safetensors", "quantize.json"),
    ],
)
def test_an_artefact_of_another_run(
    files: dict[str, Path], name: str, artefact: str, other: str
) -> None:
    if name == "program.sct":
        for made in ("simulation.json", "synthesis.json"):
            del files[made]
        net = Network(name="another", layers=network().layers)
        encode(net, fit(net, pes=2)).save(files[name])
    else:
        _, arrays = MODEL.read(files[name])
        MODEL.write(files[name], {}, {key: array + 1 for key, array in arrays.items()})
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == (
        f"{files[other]} and {files[name]} do not belong together, since {artefact} was another "
        "one for each; run the stages again from the first one that changed"
    )


def test_results_with_different_layers(files: dict[str, Path]) -> None:
    """Where no file between them says that they are of different runs."""
    layers = [{"name": "other", "weights": 4, "nonzeros": 1}]
    files["prune.json"].write_text(edited(files, "prune.json", layers=layers))
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == (
        "the results belong to different networks, with the layers [['other'], "
        "['fc<i>1', 'fc2'], ['fc<i>1', 'fc2']]; run the stages again from the first one "
        "that changed"
    )


def test_models_with_different_layers(files: dict[str, Path], tmp_path: Path) -> None:
    pair = {name: files[name] for name in ("model.safetensors", "pruned.safetensors")}
    MODEL.write(pair["pruned.safetensors"], {}, {"0.weight": np.ones((2, 2))})
    with pytest.raises(BadInputError) as caught:
        report(PROJECT, pair, html=tmp_path / "a.html", data=tmp_path / "a.json")
    assert str(caught.value) == (
        f"{pair['pruned.safetensors']} has other layers than {pair['model.safetensors']}; make it "
        "again with `secateur prune`"
    )


def test_a_model_that_is_none(files: dict[str, Path], tmp_path: Path) -> None:
    """The report reads what `secateur train` writes, and nothing else, without torch."""
    assert checkpoint.FILE == MODEL
    network().save(files["model.safetensors"])
    model = {"model.safetensors": files["model.safetensors"]}
    with pytest.raises(BadInputError) as caught:
        report(PROJECT, model, html=tmp_path / "a.html", data=tmp_path / "a.json")
    assert str(caught.value) == (
        f"{files['model.safetensors']} is not a model; give the file that `secateur train` or "
        "`secateur prune` writes"
    )


def test_simulation_alone(files: dict[str, Path], tmp_path: Path) -> None:
    alone = {"simulation.json": files["simulation.json"]}
    report(PROJECT, alone, html=tmp_path / "a.html", data=tmp_path / "a.json")
    assert Page((tmp_path / "a.html").read_text()).count == 2  # cycles and utilisation


def test_tables_in_a_terminal(files: dict[str, Path]) -> None:
    console = Console(file=io.StringIO(), width=80)
    show(console, collect(PROJECT, files))
    assert isinstance(console.file, io.StringIO)
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in console.file.getvalue().splitlines()
        if line.startswith("│")
    ]
    layers = network().layers
    left = [f"{np.count_nonzero(layer.weights)}" for layer in layers]
    assert rows[:5] == [
        ["float", "98.00 %"],
        ["pruned", "60.00 %"],
        ["retrained", "97.00 %"],
        ["quantised", "96.00 %"],
        ["RTL", "96.00 %"],
    ]
    assert [[row[0], row[1], row[2], row[5], row[6]] for row in rows[5:7]] == [
        ["fc<i>1", "240", left[0], "45.0", "36.67 %"],
        ["fc2", "60", left[1], "45.0", "36.67 %"],
    ]
    assert ["LUTs", "1,200", "24,288"] in rows
    assert ["block RAMs", "9", "56"] in rows
    assert ["multipliers", "2", "28"] in rows
    assert ["Fmax, MHz", "101.5", ""] in rows


def test_tables_say_what_was_not_run() -> None:
    console = Console(file=io.StringIO(), width=80)
    show(console, collect(PROJECT, {}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[-1] == (
        "Not in these tables, because it was not run: `secateur train`, `secateur prune`, "
        "`secateur quantize`, `secateur encode`, `secateur simulate`, `secateur synthesize`, "
        "`secateur verify`"
    )
