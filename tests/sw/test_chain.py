"""Plain modules whose layers do not fit each other, or what they are given."""

import pytest
import torch
from torch import nn

from secateur.chain import SUPPORTED, check, shapes
from secateur.errors import BadInputError
from secateur.trace import plain

POOL = nn.AdaptiveAvgPool2d((2, 2))


def broken(module: nn.Module, value: float, name: str) -> nn.Sequential:
    with torch.no_grad():
        module.get_parameter(name)[-1] = value
    return nn.Sequential(module)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Sequential(nn.Flatten()), f"the model has no Linear or Conv2d layer; {SUPPORTED}"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(2, 2)),
            "layer '2' must take the 3 outputs of '0', not 2",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 3, 1), POOL, nn.Conv2d(2, 1, 1)),
            "layer '2' must take the 3 outputs of '0', not 2",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 3, 1), POOL, nn.Flatten(), nn.Linear(14, 1)),
            "layer '3' must take a multiple of the 3 outputs of '0', not 14",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(6, 1)),
            "layer '2' must take the 3 outputs of '1', not 6",
        ),
        (
            nn.Sequential(
                nn.Conv2d(1, 3, 1), POOL, nn.Flatten(), nn.Linear(12, 3), nn.Linear(6, 1)
            ),
            "layer '4' must take the 3 outputs of '3', not 6",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 1)),
            "layer '2' must take the 3 outputs of '0', not 6",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Linear(3, 1)),
            "layer '2', a Linear, must have a Flatten before it; add one",
        ),
        (
            nn.Sequential(POOL, nn.Linear(3, 1)),
            "layer '1', a Linear, must have a Flatten before it; add one",
        ),
        (
            nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 1, 1)),
            ("layer '1', a Conv2d, must come before every Flatten and Linear; move it there"),
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), POOL),
            (
                "layer '2', an AdaptiveAvgPool2d, must come before every Flatten and Linear; "
                "move it there"
            ),
        ),
        (
            broken(nn.Linear(2, 2), float("nan"), "weight"),
            "layer '0': weight holds NaN or infinity; train the model again",
        ),
        (
            broken(nn.Conv2d(2, 2, 2), float("-inf"), "bias"),
            "layer '0': bias holds NaN or infinity; train the model again",
        ),
    ],
)
def test_refused(module: nn.Sequential, sentence: str) -> None:
    for refuse in (check, plain):
        with pytest.raises(BadInputError) as caught:
            refuse(module)
        assert str(caught.value) == sentence


def test_shapes_are_those_of_the_outputs() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d((2, 1)),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(36, 5),
    )
    x, want = torch.zeros(1, 4, 17, 12), {}
    for name, part in module.named_children():
        x = part(x)
        want[name] = tuple(x.shape[1:])
    assert shapes(module, (4, 17, 12)) == want


GIVE = "give the model inputs of the size that it was made for"


@pytest.mark.parametrize(
    ("module", "shape", "where"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 1, 5), nn.Conv2d(1, 1, 5)),
            (1, 6, 8),
            (
                "layer '1', a Conv2d, cannot take what the layers before give for inputs of "
                "1 x 6 x 8 (Calculated padded input size per channel: (2 x 4). Kernel size: "
                "(5 x 5). Kernel size can't be greater than actual input size)"
            ),
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
            (5,),
            (
                "layer '1', a Linear, cannot take what the layers before give for inputs of 5 "
                "(a and b must have same reduction dim, but got [1, 5] X [4, 2].)"
            ),
        ),
        (
            nn.Sequential(nn.Linear(4, 2)),
            (3, 4),
            (
                "layer '0', a Linear, cannot take what the layers before give for inputs of 3 x 4 "
                "(it takes 1 dimensions, not 2)"
            ),
        ),
        (
            nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)),
            (4, 4),
            (
                "layer '0', a MaxPool2d, cannot take what the layers before give for inputs of "
                "4 x 4 (it takes 3 dimensions, not 2)"
            ),
        ),
    ],
)
def test_inputs_that_do_not_fit(module: nn.Sequential, shape: tuple[int, ...], where: str) -> None:
    with pytest.raises(BadInputError) as caught:
        shapes(module, shape)
    assert str(caught.value) == f"{where}; {GIVE}"
