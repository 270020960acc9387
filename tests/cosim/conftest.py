"""Networks that were learnt from real data, once for all simulations."""

import tomllib
from pathlib import Path

import pytest

from secateur import data
from secateur.build import build
from secateur.network import Network
from secateur.project import Project
from secateur.stage import find_stages

ROOT = Path(__file__).resolve().parents[2]
LEARNING = ("train", "prune", "quantize")


def learn(project: Project) -> Network:
    """Run the stages up to the integer network, unless a build has done it."""
    stages = find_stages()
    folder = build(project, ROOT / "build", stages={name: stages[name] for name in LEARNING})
    return Network.load(folder / "network.safetensors")


@pytest.fixture(scope="session")
def digits() -> tuple[Network, data.Split]:
    """The network of the example, and its test split."""
    project = Project.load(ROOT / "examples" / "digits.toml")
    return learn(project), data.require(project.data).test


@pytest.fixture(scope="session")
def digits_cnn() -> tuple[Network, data.Split]:
    """The network of the convolutional example, learnt in fewer epochs, and its test split."""
    fields = tomllib.loads((ROOT / "examples" / "digits-cnn.toml").read_text())
    fields["train"]["epochs"] = 6
    fields["prune"] |= {"rounds": 1, "epochs": 3}
    project = Project.model_validate(fields)
    return learn(project), data.require(project.data).test


@pytest.fixture(scope="session")
def other_digits() -> Network:
    """A network of another size and density, for the same inputs."""
    return learn(
        Project.model_validate({
            "name": "other",
            "network": {"hidden": (48,)},
            "prune": {"density": 0.25, "rounds": 2, "epochs": 5},
        })
    )
