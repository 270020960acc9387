"""What makes each layer, and the options that no plain module has."""

import pytest
import torch
from torch import nn

from secateur import leaf
from secateur.errors import BadInputError

ANOTHER = "write the layer in another way"


@pytest.mark.parametrize(
    "part",
    [
        nn.Linear(3, 2),
        nn.Linear(3, 2, bias=False),
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.AvgPool2d((2, 1), count_include_pad=False),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
    ],
    ids=str,
)
def test_what_is_made_is_what_was_described(part: nn.Module) -> None:
    spec = leaf.spec("a", part, type(part))
    assert leaf.spec("a", leaf.make(spec), type(part)) == spec
    assert all(tensor.is_meta for tensor in leaf.make(spec).parameters())
    tensors = [tensor.detach() for tensor in part.parameters()]
    again = leaf.make(spec, *tensors)
    assert [tensor.data_ptr() for tensor in again.parameters()] == [
        tensor.data_ptr() for tensor in tensors
    ]
    if not isinstance(part, (nn.Linear, nn.Dropout)):
        x = torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(1))
        assert torch.equal(again(x), part(x))


@pytest.mark.parametrize(
    ("part", "rule"),
    [
        (
            nn.Conv2d(1, 1, 3, dilation=2),
            "layer 'a', a Conv2d, must have dilation (1, 1), not (2, 2)",
        ),
        (
            nn.Conv2d(1, 1, 3, padding_mode="reflect"),
            "layer 'a', a Conv2d, must have padding_mode 'zeros', not 'reflect'",
        ),
        (
            nn.Conv2d(1, 1, (3, 2), padding="same"),
            "layer 'a', a Conv2d, must have padding two integers, at least 0, not 'same'",
        ),
        (
            nn.MaxPool2d(2, dilation=(1, 2)),
            "layer 'a', a MaxPool2d, must have dilation (1, 1), not (1, 2)",
        ),
        (
            nn.MaxPool2d(2, ceil_mode=True),
            "layer 'a', a MaxPool2d, must have ceil_mode False, not True",
        ),
        (
            nn.MaxPool2d(2, return_indices=True),
            "layer 'a', a MaxPool2d, must have return_indices False, not True",
        ),
        (
            nn.AvgPool2d(2, ceil_mode=True),
            "layer 'a', an AvgPool2d, must have ceil_mode False, not True",
        ),
        (
            nn.AvgPool2d(2, divisor_override=3),
            "layer 'a', an AvgPool2d, must have divisor_override None, not 3",
        ),
        (
            nn.AdaptiveAvgPool2d((2, None)),
            (
                "layer 'a', an AdaptiveAvgPool2d, must have output_size two integers above 0, "
                "not (2, None)"
            ),
        ),
        (nn.Flatten(0), "layer 'a', a Flatten, must have start_dim 1, not 0"),
        (nn.Flatten(1, 2), "layer 'a', a Flatten, must have end_dim -1, not 2"),
    ],
)
def test_options_that_are_refused(part: nn.Module, rule: str) -> None:
    with pytest.raises(BadInputError) as caught:
        leaf.spec("a", part, type(part))
    assert str(caught.value) == f"{rule}; {ANOTHER}"


@pytest.mark.parametrize(
    ("changes", "shapes", "phrase"),
    [
        ({"groups": 3}, None, "in_channels must be divisible by groups"),
        (
            {},
            [(6, 4, 1, 2), (6,)],
            (
                "parameters must have the shapes {'weight': (6, 4, 1, 1), 'bias': (6,)}, "
                "not {'weight': (6, 4, 1, 2), 'bias': (6,)}"
            ),
        ),
        (
            {"bias": False},
            [(6, 4, 1, 1), (6,)],
            (
                "parameters must have the shapes {'weight': (6, 4, 1, 1)}, "
                "not {'weight': (6, 4, 1, 1), 'bias': (6,)}"
            ),
        ),
        (
            {},
            [(6, 4, 1, 1)],
            (
                "parameters must have the shapes {'weight': (6, 4, 1, 1), 'bias': (6,)}, "
                "not {'weight': (6, 4, 1, 1)}"
            ),
        ),
    ],
)
def test_parameters_that_do_not_fit(changes: dict, shapes: list | None, phrase: str) -> None:
    spec = leaf.spec("a", nn.Conv2d(4, 6, 1), nn.Conv2d).model_copy(update=changes)
    with pytest.raises(BadInputError) as caught:
        leaf.make(spec, *map(torch.zeros, shapes or ()))
    assert str(caught.value) == phrase
