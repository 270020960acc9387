"""All that a training is, between two epochs, as tensors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from secateur.masking import Held

__all__ = ["restore", "state"]

# Names are "epoch", "generator", "parameter <name>", "mask <name>", and "moment <key> <name>" of
# what the optimizer keeps for a parameter.


def state(
    epoch: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    held: Held,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Give the state of a training after ``epoch`` epochs; shares memory with it."""
    found = {"epoch": torch.tensor(epoch), "generator": generator.get_state()}
    found |= {f"mask {name}": mask for name, mask in held.masks.items()}
    for name, parameter in module.named_parameters():
        found[f"parameter {name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                found[f"moment {key} {name}"] = value
    return found


@torch.no_grad()
def restore(
    kept: Mapping[str, Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    held: Held,
    generator: torch.Generator,
) -> int:
    """Put a training into a state that :func:`state` gave, and return the epochs that are done."""
    generator.set_state(kept["generator"])
    for entry, value in kept.items():
        kind, _, name = entry.partition(" ")
        if kind == "mask":
            held.masks[name] = value
        elif kind == "parameter":
            module.get_parameter(name).copy_(value)
        elif kind == "moment":
            key, _, name = name.partition(" ")
            parameter = module.get_parameter(name)
            # As the optimizer makes it: of the parameter's shape in its memory format, or a count.
            like = parameter if value.shape == parameter.shape else value
            moment = torch.empty_like(like, device=parameter.device).copy_(value)
            optimizer.state[parameter][key] = moment
    return int(kept["epoch"])
