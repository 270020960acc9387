"""Two processes that train together: the same masks in both, and what one process would learn."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from secateur import data, distributed, parallel
from secateur.dataset import Dataset, Split
from secateur.errors import BadInputError
from secateur.model import accuracy
from secateur.project import Project
from secateur.prune import prune
from secateur.trace import plain
from secateur.train import train

#: The second one ends each epoch with a batch of one example, of which one process has none.
PROJECTS = {
    "rounds": {
        "train": {"epochs": 3},
        "prune": {"density": 0.3, "rounds": 2, "epochs": 3, "learning_rate": 0.05},
    },
    "smooth": {
        "train": {"epochs": 3, "batch_size": 33},
        "prune": {
            "budget": 0.1,
            "schedule": "smooth",
            "regrow": True,
            "epochs": 5,
            "learning_rate": 0.05,
        },
    },
}


def project(name: str) -> Project:
    return Project.model_validate({"name": "a", "network": {"hidden": [24]}} | PROJECTS[name])


def examples() -> Dataset:
    digits = data.load(Project(name="a").data)
    assert digits is not None
    train = Split(digits.train.x[:1024], digits.train.labels[:1024])  # 31 batches of 33, and one
    return Dataset(digits.name, train, digits.validation, digits.test)


def run(name: str) -> dict[str, torch.Tensor]:
    """Train and prune; masks are the weights that are not zero."""
    dense = train(project(name), examples())
    pruned = prune(dense, project(name), examples()).module
    return {key: value.detach() for key, value in pruned.named_parameters()} | {
        f"dense {key}": value.detach() for key, value in dense.named_parameters()
    }


def main(folder: Path) -> None:
    """Do what each process does, and what it does if the processes disagree."""
    with distributed.together():
        for name in PROJECTS:
            save_file(run(name), folder / f"{name}-{parallel.rank()}.safetensors")
        try:
            parallel.agree({"a": torch.tensor(parallel.rank())}, "masks")
        except BadInputError as error:
            (folder / f"error-{parallel.rank()}").write_text(str(error))
        rank = parallel.rank()
    threads = sorted(task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))
    (folder / f"threads-{rank}").write_text(" ".join(threads))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, __file__, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", PROJECTS)
def test_two_processes_agree(name: str, folder: Path) -> None:
    first, second = (load_file(folder / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert [*first] == [*second]
    for key in first:
        assert torch.equal(first[key], second[key])
    # One process learns the same, but for the order in which sums are rounded.
    alone = run(name)
    assert {key: value.count_nonzero() for key, value in first.items()} == {
        key: value.count_nonzero() for key, value in alone.items()
    }
    for key in [*first]:
        if key.startswith("dense "):
            torch.testing.assert_close(first.pop(key), alone.pop(key), rtol=0, atol=1e-4)
    network = plain(train(project(name).model_copy(update={"seed": 2}), examples()))
    accuracies = []
    for parameters in (first, alone):
        network.load_state_dict(parameters)
        accuracies.append(accuracy(network, examples().test))
    assert min(accuracies) > 0.85
    # One sigma of a single accuracy of 90 % is 1.6 points, with 359 examples.
    assert abs(accuracies[0] - accuracies[1]) < 0.02


def test_processes_that_disagree_all_stop(folder: Path) -> None:
    for rank in (0, 1):
        assert (folder / f"error-{rank}").read_text() == (
            "the processes of one training must have the same masks; give all of them the same "
            "files, machines and versions"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read from /proc")
def test_threads_end_with_the_group(folder: Path) -> None:
    """A thread of gloo's that lives on aborts its process now and then, on a busy machine."""
    for rank in (0, 1):
        assert "gloo" not in (folder / f"threads-{rank}").read_text()


def test_alone() -> None:
    assert (parallel.rank(), parallel.size()) == (0, 1)
    assert parallel.share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    parallel.agree({"a": torch.tensor(1)}, "masks")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
