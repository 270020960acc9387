"""The reproduction of the paper's results: every piece of it, on small networks and the digits."""

import importlib
import io
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from secateur.errors import BadInputError
from secateur.progress import Display
from secateur.project import Project

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduce"

PROJECT = """
[network]
hidden = [16, 8]
[train]
epochs = 3
learning_rate = 0.1
[quantize]
codebook_bits = 4
epochs = 1
[prune]
density = 0.5
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts, as they find each other; processes that they start find them, too."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return {name: importlib.import_module(name) for name in ("plan", "runs", "page", "reproduce")}


def small(plan: ModuleType, folder: Path) -> tuple[Any, Any]:
    """Give a study and a trade-off of a few epochs."""
    file = folder / "small.toml"
    file.write_text(PROJECT)
    rounds = {"density": [0.3, 0.4, 0.5], "rounds": 2, "weight_decay": 1e-4}
    smooth = {"budget": 0.2, "schedule": "smooth", "regrow": True}
    learnt = {"epochs": 1, "learning_rate": 0.1}
    study = plan.Study(
        title="Small",
        file=file,
        rows=(
            plan.Row(name="in rounds", prune=rounds | learnt),
            plan.Row(
                name="5x",
                prune=smooth | learnt,
                train={"epochs": 2},
                published="nobody: 5x",
                integer=True,
            ),
        ),
        reference=0.0164,
        pruned=0.0159,
        parameters=(267_000, 22_000),
        kept={"fc1": 0.08, "fc2": 0.09, "fc3": 0.26},
    )
    tradeoff = plan.Tradeoff(
        train={"L2": {}, "L1": {"weight_decay": 0.0, "l1": 1e-4}},
        densities=(0.5, 0.2),
        once={"rounds": 1} | learnt,
        often={"rounds": 2} | learnt,
        often_for="L2",
    )
    return study, tradeoff


def test_the_plan_is_the_papers(modules: dict[str, ModuleType]) -> None:
    """Every project is valid; budgets are rates; densities are those of the paper's tables."""
    plan = modules["plan"]
    for study in plan.STUDIES:
        for row in study.rows:
            project = study.project(row, 3)
            assert project.seed == 3
            assert project.data.validation == 0
            given = Project.load(study.file)
            assert project.network == given.network
            assert project.train == given.train.model_copy(update=row.train)
            key, value = project.prune.target
            if key == "budget":
                assert value == pytest.approx(1 / float(row.name.removesuffix("x")))
            else:
                assert value == tuple(study.kept.values())


def test_everything_is_run_and_written(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    study, tradeoff = small(modules["plan"], tmp_path)
    output, said = tmp_path / "out", io.StringIO()
    display = Display(Console(file=said, width=200))
    modules["reproduce"].reproduce((study,), tradeoff, 2, 2, output, display)
    results = json.loads((output / "results.json").read_text())
    assert [*results] == ["small, seed 1", "small, seed 2", "trade-off"]
    assert all(f"done        {name}\n" in said.getvalue() for name in results)
    first, second = (results[f"small, seed {seed}"] for seed in (1, 2))
    assert first["scan"]
    assert second["scan"] is None
    for result in (first, second):
        paper, smooth = (result["rows"][row.name] for row in study.rows)
        left = [each["nonzeros"] / each["weights"] for each in paper["layers"]]
        assert left == pytest.approx([0.3, 0.4, 0.5], abs=0.01)
        total = sum(each["weights"] for each in smooth["layers"])
        assert sum(each["nonzeros"] for each in smooth["layers"]) == round(0.2 * total)
        manifest = json.loads((Path(smooth["folder"]) / "manifest.json").read_text())
        assert [*manifest["stages"]] == ["train", "prune", "quantize", "encode"]
        accuracies = {
            key: json.loads((Path(smooth["folder"]) / f"{name}.json").read_text())["accuracy"]
            for key, name in (("reference", "train"), ("error", "prune"), ("integer", "quantize"))
        }
        for key, accuracy in accuracies.items():
            assert smooth[key] == pytest.approx(1 - accuracy, abs=1e-6)
        assert len(smooth["bits"]) == len(modules["plan"].ENGINES)
        # Less what rounds to zero, and dead neurons' weights.
        (stored,) = {bits["codes"] for bits in smooth["bits"]}
        assert 0.8 * 4 * round(0.2 * total) < stored <= 4 * round(0.2 * total)
    assert first["rows"]["5x"]["folder"] != second["rows"]["5x"]["folder"]
    curves = results["trade-off"]["curves"]
    assert {*curves} == {
        "L2, retrained", "L2, not retrained", "L2, in rounds, retrained",
        "L1, retrained", "L1, not retrained",
    }  # fmt: skip
    assert all(curve[0] == [0.5, 0.2] for curve in curves.values())
    pictures = {path.name for path in (output / "results").iterdir()}
    assert pictures == {"sensitivity-small.svg", "weights-small.svg", "bands.png", "tradeoff.svg"}
    page = (output / "results.md").read_text()
    for name in pictures:
        assert f"(results/{name})" in page
    assert "| fc1 | 1,024 | 8 % | 30 % |" in page
    assert "| **the paper** | 22 K | 12x | 1.64 % | 1.59 % |" in page
    assert "| nobody: 5x |" in page
    assert "over 2 seeds" in page

    # Again: nothing is learnt, and everything is the same.
    files = [*output.rglob("cache/*/stage.json")]
    before = {path: path.stat().st_mtime_ns for path in files}
    modules["reproduce"].reproduce((study,), tradeoff, 2, 2, output, display)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("cache/*/stage.json")} == before
    assert (output / "results.md").read_text() == page


def test_an_error_of_a_process_is_told(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    study, _ = small(modules["plan"], tmp_path)
    study.file.write_text(PROJECT + "regrow = true\n")
    job = modules["runs"].Job("bad", modules["runs"].study, (study, 1, tmp_path / "out"))
    with pytest.raises(BadInputError, match=r"must have regrow with the schedule"):
        modules["runs"].run([job], 1, Display(Console(file=io.StringIO())))
    assert os.environ["OMP_NUM_THREADS"] == "1"
