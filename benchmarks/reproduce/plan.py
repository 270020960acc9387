"""What is run, and what it is compared with: every number that decides a result is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.project import Project

__all__ = ["ENGINES", "LENET5", "LENET_300_100", "STUDIES", "TRADEOFF", "Row", "Study", "Tradeoff"]

ROOT = Path(__file__).resolve().parents[2]

HAN = "Han et al. 2015"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of pruning a network.

    Parameters
    ----------
    name : str
    prune : dict
        The project's section.
    train : dict
        Changes to the project's section.
    published : str
        What others reach at about this size.
    integer : bool
        Whether it is also quantised and encoded.
    """

    name: str
    prune: dict[str, Any]
    train: dict[str, Any] = field(default_factory=dict)
    published: str = "-"
    integer: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """A network, and the ways in which it is pruned.

    Parameters
    ----------
    title : str
    file : Path
        Its project.
    rows : tuple of Row
        The first one goes the paper's way: its weights are drawn.
    reference, pruned : float
        The paper's errors, 0 to 1.
    parameters : tuple of int
        The paper's, before and after.
    kept : dict of str to float
        Part of the weights that the paper keeps, by layer.
    """

    title: str
    file: Path
    rows: tuple[Row, ...]
    reference: float
    pruned: float
    parameters: tuple[int, int]
    kept: dict[str, float]

    @property
    def name(self) -> str:
        """Name of its folder and its pictures."""
        return self.file.stem

    def project(self, row: Row | None, seed: int) -> Project:
        """Make the project of one run; without a row, the one that is in the file."""
        tables = Project.load(self.file).model_dump(mode="json", exclude_unset=True)
        tables["seed"] = seed
        if row is not None:
            tables["prune"] = row.prune
            tables["train"] = {**tables.get("train", {}), **row.train}
        return Project.model_validate(tables)


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """Accuracy against size, by regularisation and with and without retraining.

    Parameters
    ----------
    train : dict of str to dict
        Changes to the project's section, by the name of the regularisation.
    densities : tuple of float
    once, often : dict
        The section ``prune``, less its budget: in one shot, and in rounds.
    often_for : str
        The regularisation that is also pruned in rounds.
    """

    train: dict[str, dict[str, Any]]
    densities: tuple[float, ...]
    once: dict[str, Any]
    often: dict[str, Any]
    often_for: str


def _smooth(rate: float, epochs: int, learning_rate: float) -> dict[str, Any]:
    return {
        "budget": 1 / rate,
        "schedule": "smooth",
        "regrow": True,
        "ramp": 0.6,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }


#: What others have reached, as they state it.
_SURGERY = "Guo et al. 2016, dynamic network surgery"
_ADMM = "Zhang et al. 2018, ADMM"

LENET_300_100 = Study(
    title="LeNet-300-100",
    file=ROOT / "examples" / "lenet-300-100.toml",
    rows=(
        Row(
            name="in rounds",
            prune={
                "density": [0.08, 0.09, 0.26],
                "rounds": 4,
                "epochs": 8,
                "learning_rate": 0.05,
                "weight_decay": 3e-4,
            },
            train={"shift": 0},
            published=f"{HAN}: 12x at 1.59 %",
        ),
        Row(
            name="12x",
            prune=_smooth(12, 10, 0.1),
            published=f"{HAN}: 12x at 1.59 %",
            integer=True,
        ),
        Row(
            name="28x",
            prune=_smooth(28, 20, 0.1),
            published="Frankle, Carbin 2019, lottery tickets: 28x at the dense error",
            integer=True,
        ),
        Row(
            name="56x",
            prune=_smooth(56, 40, 0.1),
            published=f"{_SURGERY}: 56x at 1.99 %",
            integer=True,
        ),
        Row(
            name="100x",
            prune=_smooth(100, 50, 0.1),
            published="Molchanov et al. 2017, variational dropout: 68x at 1.92 %",
        ),
    ),
    reference=0.0164,
    pruned=0.0159,
    parameters=(267_000, 22_000),
    kept={"fc1": 0.08, "fc2": 0.09, "fc3": 0.26},
)

LENET5 = Study(
    title="LeNet-5 (Caffe)",
    file=ROOT / "examples" / "lenet5.toml",
    rows=(
        Row(
            name="in rounds",
            prune={
                "density": [0.66, 0.12, 0.08, 0.19],
                "rounds": 3,
                "epochs": 3,
                "learning_rate": 0.01,
                "weight_decay": 5e-4,
            },
            train={"shift": 0},
            published=f"{HAN}: 12x at 0.77 %",
        ),
        Row(name="12x", prune=_smooth(12, 4, 0.03), published=f"{HAN}: 12x at 0.77 %"),
        Row(name="71x", prune=_smooth(71, 11, 0.03), published=f"{_ADMM}: 71x at 0.8 %"),
        Row(name="150x", prune=_smooth(150, 14, 0.03), published=f"{_SURGERY}: 108x at 0.91 %"),
    ),
    reference=0.0080,
    pruned=0.0077,
    parameters=(431_000, 36_000),
    kept={"conv1": 0.66, "conv2": 0.12, "fc1": 0.08, "fc2": 0.19},
)

STUDIES = (LENET5, LENET_300_100)  # the longest first

#: Of LeNet-300-100, seed 1.
TRADEOFF = Tradeoff(
    train={
        "L2": {"shift": 0},
        "L1": {"shift": 0, "weight_decay": 0.0, "l1": 1e-5},
    },
    densities=(0.5, 0.3, 0.2, 0.12, 0.08, 0.05, 0.03, 0.02),
    once={"rounds": 1, "epochs": 3, "learning_rate": 0.01},
    often={"rounds": 3, "epochs": 2, "learning_rate": 0.01},
    often_for="L2",
)

#: Engines that programs are encoded for, to count their bits.
ENGINES = ({"pes": 1, "index_width": 4}, {"pes": 1, "index_width": 5}, {"pes": 8, "index_width": 4})
