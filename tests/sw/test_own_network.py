"""A network and examples of one's own, as the README says, from a project file to a program."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from secateur import checkpoint
from secateur.build import build
from secateur.network import Network
from secateur.program import Program
from secateur.project import Project
from secateur.reference import Reference
from secateur.stage import find_stages


def test_from_the_module_to_the_program(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 3)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    checkpoint.save(module, tmp_path / "mine.safetensors")

    rng = np.random.default_rng(1)
    examples = {}
    for part, count in (("train", 40), ("validation", 10), ("test", 10)):
        examples[f"{part}_x"] = rng.normal(size=(count, 12))
        examples[f"{part}_labels"] = rng.integers(3, size=count)
    np.savez(tmp_path / "mine.npz", **examples)
    (tmp_path / "mine.toml").write_text(
        'data.file = "mine.npz"\nnetwork.checkpoint = "mine.safetensors"\n'
        "prune.density = 0.5\nprune.rounds = 1\nprune.epochs = 1\nengine.pes = 2\n"
    )

    stages = find_stages()
    chosen = {name: stages[name] for name in ("train", "prune", "quantize", "encode")}
    folder = build(Project.load(tmp_path / "mine.toml"), tmp_path / "build", stages=chosen)
    network = Network.load(folder / "network.safetensors")
    program = Program.load(folder / "program.sct")
    assert [layer.weights.shape for layer in network.layers] == [(10, 12), (3, 10)]
    for layer in network.layers:
        assert np.count_nonzero(layer.weights) <= layer.weights.size // 2
    x = network.quantize_input(examples["test_x"])
    assert x.min() < 0  # inputs of either sign
    reference = Reference(program.spec)
    reference.load(program.image)
    y = program.restore(reference.infer(program.arrange(x)))
    assert np.array_equal(y, network.compute(x))
    assert len(np.unique(y, axis=0)) > 5
