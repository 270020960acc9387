"""The largest budget that fits a device: against every budget, and against whole programs."""

import dataclasses
import itertools
import re
from importlib.metadata import EntryPoints
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur import capacity, target
from secateur.dataset import Dataset, Split
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.errors import BadInputError, CheckFailedError
from secateur.estimate import FILLED, payload_bytes, require
from secateur.masking import cut
from secateur.project import Project
from secateur.prune import prune
from secateur.quantize import quantize
from secateur.threshold import by_budget
from secateur.trace import plain

DEVICE = "ecp5-25k"


def project(device: str = DEVICE, *, balance: bool = False, **tables: Any) -> Project:
    return Project.model_validate({
        "name": "small",
        "prune": {"fit": device, "balance": balance},
        **tables,
    })


def perceptron(*sizes: int, seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for columns, rows in itertools.pairwise(sizes):
        parts += [nn.Linear(columns, rows), nn.ReLU()]
    return plain(nn.Sequential(*parts[:-1]))


def examples(features: int, count: int = 20) -> Dataset:
    x = np.random.default_rng(2).random((count, features), np.float32)
    split = Split(x, np.arange(count) % 2)
    return Dataset("random", split, split, split)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: value.detach() for name, value in module.named_parameters() if name.endswith("weight")
    }


def pruned(module: nn.Sequential, density: float, groups: int = 1) -> nn.Sequential:
    result = plain(module)
    cut(result, by_budget(weights(module), density, groups=groups))
    return result


def non_zeros(module: nn.Module) -> int:
    return sum(int(weight.count_nonzero()) for weight in weights(module).values())


@pytest.fixture
def words_of_weights(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device with so many words for the weights of all PEs; the list may be changed."""
    room = [128]

    def lacking(spec: EngineSpec, device: str, *, words: int) -> list[str]:
        need = spec.weight_depth * spec.pes
        return [f"{need} words of {room[0]}"] if need > room[0] else []

    monkeypatch.setattr(capacity, "find_lacking", lambda: lacking)
    return room


@pytest.mark.parametrize("balance", [False, True], ids=["any rows", "balanced rows"])
@pytest.mark.parametrize("codebook_bits", [0, 4], ids=["direct", "codebook"])
@pytest.mark.usefixtures("words_of_weights")
def test_one_weight_more_does_not_fit(codebook_bits: int, balance: bool) -> None:
    module, data = perceptron(16, 12, 4), examples(16)
    settings = project(
        engine={"pes": 4, "lanes": 2}, quantize={"codebook_bits": codebook_bits}, balance=balance
    )
    found = round(capacity.budget(module, settings, data) * 240)

    def words(count: int) -> int:
        model = pruned(module, count / 240, groups=2 if balance else 1)
        # No rounding, so that all weights that are left count: their signs are eight-bit integers.
        for weight in weights(model).values():
            weight.sign_()
        network = quantize(model, data.train.x, settings.quantize, "small")
        return fit(network, pes=4, lanes=2).weight_depth * 4

    assert [words(found), words(found + 1)] == [128, 256]


def test_a_part_of_what_fits_is_left_over(
    words_of_weights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = perceptron(16, 12, 4), examples(16)
    exact = capacity.budget(module, project(engine={"pes": 4}), data)
    monkeypatch.setattr(capacity, "PRECISION", 8)
    found = capacity.budget(module, project(engine={"pes": 4}), data)
    # An eighth is given up, and the search ends up to another one below the answer.
    assert exact * 0.75 < found <= exact * 7 / 8 + 1 / 240


def test_a_device_that_holds_everything_leaves_everything(words_of_weights: list[int]) -> None:
    words_of_weights[0] = 256
    module, data = perceptron(16, 12, 4), examples(16)
    assert capacity.budget(module, project(engine={"pes": 4}), data) == 1.0
    thinner = pruned(module, 0.25)
    assert capacity.budget(thinner, project(engine={"pes": 4}), data) == 60 / 240


def test_the_given_module_is_left_as_it_is(words_of_weights: list[int]) -> None:
    module = perceptron(16, 12, 4)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    capacity.budget(module, project(engine={"pes": 4}), examples(16))
    after = module.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_every_weight_left_counts_though_rounding_may_make_it_zero(
    words_of_weights: list[int],
) -> None:
    """Weights of two bits are mostly zero; retraining can make any of them 1."""
    module, data = perceptron(16, 12, 4), examples(16)
    settings = project(engine={"pes": 4, "lanes": 2}, quantize={"weight_width": 2})
    network = quantize(module, data.train.x, settings.quantize, "small")
    zeros = sum(int((layer.weights == 0).sum()) for layer in network.layers)
    assert zeros > 240 / 4
    found = round(capacity.budget(module, settings, data) * 240)
    assert 100 <= found <= 128


@pytest.mark.parametrize(("pes", "banks"), [(4, 1), (8, 2), (16, 1)])
@pytest.mark.parametrize("codebook_bits", [0, 4], ids=["direct", "codebook"])
def test_what_is_left_fits_the_device_after_any_retraining(
    codebook_bits: int, pes: int, banks: int
) -> None:
    # Of codes the device holds more.
    inputs, *rest = (500, 400, 100, 10) if codebook_bits else (300, 200, 100, 10)
    module, data = perceptron(inputs, *rest), examples(inputs)
    settings = project(
        engine={"pes": pes, "banks": banks}, quantize={"codebook_bits": codebook_bits}
    )
    density = capacity.budget(module, settings, data)
    assert 0.05 < density < 0.9
    model = pruned(module, density)
    generator = torch.Generator().manual_seed(3)
    for weight in weights(model).values():
        weight.mul_(torch.empty_like(weight).uniform_(0.2, 3, generator=generator))
    capacity.check(model, settings, data)
    network = quantize(model, data.train.x, settings.quantize, "small")
    program = encode(network, fit(network, pes=pes, banks=banks))
    device = find_device(DEVICE)
    payload = payload_bytes(program.spec, max(program.input_words, program.output_words))
    needed = require(program.spec, device, payload=payload)
    assert needed.lut <= device.lut * FILLED // 100
    # Some percent more do not: nothing is wasted.
    with pytest.raises(CheckFailedError, match="block RAMs of 56; "):
        capacity.check(pruned(module, density * 1.03), settings, data)


def test_given_depths_are_limits(words_of_weights: list[int]) -> None:
    words_of_weights[0] = 1 << 20
    module, data = perceptron(16, 12, 4), examples(16)
    settings = project(engine={"pes": 4, "weight_depth": 16})
    found = capacity.budget(module, settings, data)
    assert 50 <= found * 240 <= 64
    capacity.check(pruned(module, found), settings, data)
    message = (
        "the pruned model does not fit device 'ecp5-25k': the weights need 60 words of a PE and "
        "the engine has 16; prune more or use more PEs or set weight_depth to 64"
    )
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        capacity.check(module, settings, data)


def test_words_are_those_of_the_inputs_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def lacking(spec: EngineSpec, device: str, *, words: int) -> list[str]:
        seen.append((device, words))
        return []

    monkeypatch.setattr(capacity, "find_lacking", lambda: lacking)
    module = perceptron(64, 12, 4)
    with torch.no_grad():
        module.get_parameter("0.weight")[:, 21:] = 0
    assert capacity.budget(module, project(engine={"pes": 4}), examples(64)) < 1
    assert seen == [(DEVICE, 11)]
    capacity.budget(perceptron(8, 12, 64), project(engine={"pes": 4}), examples(8))
    assert seen[1:] == [(DEVICE, 32)]  # the outputs, which are more


def test_images_and_a_flatten_are_taken_as_they_are(words_of_weights: list[int]) -> None:
    module = plain(nn.Sequential(nn.Flatten(), *perceptron(16, 12, 4)))
    data = examples(16)
    train = Split(data.train.x.reshape(-1, 1, 4, 4), data.train.labels)
    images = dataclasses.replace(data, train=train)
    settings = project(engine={"pes": 4})
    assert capacity.budget(module, settings, images) == capacity.budget(
        perceptron(16, 12, 4), settings, data
    )


def test_no_pruning_makes_it_fit() -> None:
    message = (
        "no pruning makes the model fit device 'ecp5-25k': with one weight a layer the engine "
        "needs 32 multipliers of 28; reduce engine.pes or the depths that are given, or take a "
        "larger device"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(perceptron(16, 12, 4), project(engine={"pes": 32}), examples(16))


def test_no_pruning_makes_it_fit_the_depths() -> None:
    message = (
        "no pruning makes the model fit device 'ecp5-25k': with one weight a layer the layer table "
        "needs 3 words and the engine has 2; use fewer layers or set layer_depth to 4"
    )
    settings = project(engine={"layer_depth": 2})
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(perceptron(16, 12, 8, 4), settings, examples(16))


def test_unknown_device() -> None:
    message = (
        "device must be one of ice40-up5k, ice40-hx8k, ecp5-25k, ecp5-85k, not 'ecp5-26k' "
        "(did you mean 'ecp5-25k'?)"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(perceptron(16, 12, 4), project("ecp5-26k"), examples(16))


def test_no_examples() -> None:
    message = (
        "prune.fit needs examples to choose the integers' scales with; "
        "name a set of examples or give prune.budget instead"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(perceptron(16, 12, 4), project(), None)


def test_convolutions_are_not_for_the_engine() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    message = (
        "layer '0' is a convolution, and what fits a device is known of fully connected layers "
        "only; give prune.budget instead"
    )
    flat = examples(16).train
    images = Split(flat.x.reshape(-1, 1, 4, 4), flat.labels)
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(module, project(), Dataset("random", images, images, images))


def test_nothing_describes_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "entry_points", lambda group: EntryPoints())
    message = (
        "prune.fit needs a description of the devices, and none is installed; "
        "install secateur again"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        capacity.budget(perceptron(16, 12, 4), project(), examples(16))


@pytest.mark.parametrize(
    "schedule",
    [{"rounds": 2}, {"schedule": "smooth"}, {"schedule": "smooth", "regrow": True}],
    ids=["rounds", "smooth", "regrow"],
)
def test_a_pruned_network_fits(schedule: dict[str, Any], words_of_weights: list[int]) -> None:
    """Which weights are left is known only in the end: the budget is measured once more there."""
    words_of_weights[0] = 64
    settings = project(engine={"pes": 4})
    updates = {"epochs": 8, "learning_rate": 0.2, **schedule}
    settings = settings.model_copy(
        update={"prune": settings.prune.model_validate({"fit": DEVICE, **updates})}
    )
    module, data = perceptron(16, 12, 2), examples(16, 200)
    first = capacity.budget(module, settings, data)
    result = prune(module, settings, data)
    assert 0.8 * first * 216 < non_zeros(result.module) <= round(first * 216)
    assert non_zeros(result.unretrained) == round(first * 216)
    network = quantize(result.module, data.train.x, settings.quantize, "small")
    assert fit(network, pes=4).weight_depth * 4 == 64


def test_a_pruned_network_that_does_not_fit_is_no_result(
    words_of_weights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    words_of_weights[0] = 64
    monkeypatch.setattr(capacity, "budget", lambda *_, **__: 0.5)
    message = (
        "the pruned model does not fit device 'ecp5-25k': the engine needs 256 words of 64; "
        "reduce engine.pes or the depths that are given, or take a larger device"
    )
    settings = Project.model_validate({
        "name": "small",
        "engine": {"pes": 4},
        "prune": {"fit": DEVICE, "epochs": 0, "rounds": 1},
    })
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        prune(perceptron(16, 12, 2), settings, examples(16))


def test_the_budget_is_measured_again_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([0.5, 0.25, 0.75])
    monkeypatch.setattr(capacity, "budget", lambda *_, **__: next(measured))
    module = perceptron(16, 12, 2)
    goal = target.find(project(), module, examples(16))
    kept = [sum(int(mask.sum()) for mask in goal.masks(module, p).values()) for p in (0.9, 1.0, 1)]
    assert kept == [round(0.5**0.9 * 216), 54, 108]
