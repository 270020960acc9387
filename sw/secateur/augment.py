"""More examples from those that there are: images that are shifted a little show the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["check_shift", "shifted"]


def check_shift(shape: Sequence[int], most: int) -> None:
    """Refuse shifts of inputs that are no images, or that could leave nothing of them."""
    if most and len(shape) != 3:
        raise BadInputError(
            f"train.shift must be 0 for inputs of shape {tuple(shape)}, which are no images, not "
            f"{most}; remove it"
        )
    if most and most >= min(shape[1:]):
        raise BadInputError(
            f"train.shift must be less than the {shape[1]} x {shape[2]} pixels of an image, not "
            f"{most}; lower it"
        )


def shifted(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Shift a batch of images, all by the same random distance, and fill in zeros.

    One distance for a batch costs a copy, and learns as well as one for each image: there are
    hundreds of batches in an epoch and few distances.

    Parameters
    ----------
    x : float32[n, channels, height, width]
    most : int
        Pixels at most, in each direction; less than height and width.
    generator : torch.Generator
        Draws both distances, each of ``2 * most + 1`` equally often.

    Returns
    -------
    float32[n, channels, height, width]

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(1)
    >>> shifted(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 1, generator).tolist()
    [[[[2.0, 0.0], [4.0, 0.0]]]]
    """
    height, width = x.shape[2:]
    top, left = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    padded = F.pad(x, (most, most, most, most))
    return padded[:, :, top : top + height, left : left + width]
