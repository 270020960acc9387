"""The report: every fact from its file, nothing invented, a page that stands alone."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network
from secateur.program import Program
from secateur.project import Project
from secateur.report import collect, report
from secateur.summary import SOURCES, show

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


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What a whole build leaves for the report."""
    folder = tmp_path / "artefacts"
    folder.mkdir()
    paths = {name: folder / name for name in SOURCES}
    net = network()
    encode(net, fit(net, pes=2)).save(paths["program.sct"])
    rng = np.random.default_rng(6)
    dense = {f"{name}.weight": rng.normal(size=s) for name, s in zip(NAMES, SHAPES, strict=True)}
    biases = {f"{name}.bias": np.ones(rows) for name, (rows, _) in zip(NAMES, SHAPES, strict=True)}
    save_file({**dense, **biases}, paths["model.safetensors"])
    pruned = {name: np.where(abs(weight) < 1, 0, weight) for name, weight in dense.items()}
    save_file({**pruned, **biases}, paths["pruned.safetensors"])
    layers = [
        {"name": name, "weights": weight.size, "nonzeros": int(np.count_nonzero(weight))}
        for name, weight in zip(NAMES, pruned.values(), strict=True)
    ]
    facts = {
        "train.json": {"accuracy": 0.98},
        "prune.json": {"accuracy": 0.97, "accuracy_before_retraining": 0.6, "layers": layers},
        "quantize.json": {"accuracy": 0.96},
        "simulation.json": SIMULATION,
        "synthesis.json": SYNTHESIS,
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
    assert facts["synthesis"] == {"ecp5-25k": SYNTHESIS}
    assert facts["missing"] == []
    assert (facts["project"], facts["seed"]) == ("small", 7)


def test_layers(files: dict[str, Path]) -> None:
    layers = collect(PROJECT, files)["layers"]
    for layer, expected in zip(layers, network().layers, strict=True):
        left = np.count_nonzero(expected.weights)
        assert (layer["name"], layer["weights"]) == (expected.name, expected.weights.size)
        assert (layer["nonzeros"], layer["density"]) == (left, left / expected.weights.size)
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
    program.save(files["program.sct"])
    facts = collect(PROJECT, files)
    stored = sum(layer["stored_bits"] for layer in facts["layers"])
    assert stored == sum(program.storage().values()) == sum(facts["storage"]["bits"].values())


def test_what_was_not_run_is_said_and_not_invented(tmp_path: Path) -> None:
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    facts = report(PROJECT, {}, html=html, data=data)
    assert facts["missing"] == ["train", "prune", "quantize", "encode", "simulate", "synthesize"]
    assert set(facts["accuracy"].values()) == {None}
    assert (facts["layers"], facts["synthesis"], facts["storage"]["bits"]) == ([], {}, {})
    page = Page(html.read_text())
    assert page.count == 0
    for stage in ("prune", "encode", "simulate", "synthesize"):
        assert f"Not measured: secateur {stage} was not run." in page.text
    assert not re.search(r"\b(None|nan)\b", page.text.partition("Settings")[0])


def test_without_hardware_the_rest_is_shown(files: dict[str, Path], tmp_path: Path) -> None:
    software = {name: path for name, path in files.items() if path.suffix != ".json"}
    facts = report(PROJECT, software, html=tmp_path / "a.html", data=tmp_path / "a.json")
    assert facts["missing"] == ["train", "prune", "quantize", "simulate", "synthesize"]
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


OTHER = {"layers": [{"name": "other", "weights": 4, "nonzeros": 1}]}
PRUNED = {"accuracy": 1.0, "accuracy_before_retraining": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "prune.json",
            "",
            (
                "{} is damaged (Expecting value: line 1 column 1 (char 0)); make it again with "
                "`secateur prune`"
            ),
        ),
        (
            "simulation.json",
            "[]",
            "{} is damaged (it is no JSON object); make it again with `secateur simulate`",
        ),
        (
            "synthesis.json",
            json.dumps({k: v for k, v in SYNTHESIS.items() if k != "dsp_available"}),
            "{} is damaged (it has no 'dsp_available'); make it again with `secateur synthesize`",
        ),
        (
            "prune.json",
            json.dumps({**PRUNED, "layers": [{}]}),
            "{} is damaged (it has no 'name'); make it again with `secateur prune`",
        ),
        (
            "prune.json",
            json.dumps({**PRUNED, **OTHER}),
            (
                "the results belong to different networks, with the layers [['other'], "
                "['fc<i>1', 'fc2'], ['fc<i>1', 'fc2']]; run the stages again from the first one "
                "that changed"
            ),
        ),
    ],
)
def test_bad_files(files: dict[str, Path], name: str, content: str, sentence: str) -> None:
    files[name].write_text(content)
    with pytest.raises(BadInputError) as caught:
        collect(PROJECT, files)
    assert str(caught.value) == sentence.replace("{}", str(files[name]))


def test_a_damaged_checkpoint(files: dict[str, Path], tmp_path: Path) -> None:
    files["pruned.safetensors"].write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"is not readable .* again with `secateur prune`$"):
        report(PROJECT, files, html=tmp_path / "a.html", data=tmp_path / "a.json")


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
    assert [[row[0], row[1], row[2], row[4], row[5]] for row in rows[5:7]] == [
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
        "`secateur quantize`, `secateur encode`, `secateur simulate`, `secateur synthesize`"
    )
