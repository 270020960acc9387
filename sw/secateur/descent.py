"""Learning by gradient descent, of a dense network and of what pruning left of one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from secateur import parallel
from secateur.augment import check_shift, shifted
from secateur.errors import BadInputError
from secateur.logs import unlogged
from secateur.masking import Held
from secateur.model import accuracy
from secateur.progress import silent
from secateur.regularize import add_l1, resting
from secateur.repeatable import placed, reproducible
from secateur.resume import Resume
from secateur.state import restore, state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from secateur.dataset import Dataset
    from secateur.logs import Log
    from secateur.progress import Progress
    from secateur.settings import TrainSettings

__all__ = ["descend"]


def descend(
    module: nn.Module,
    dataset: Dataset,
    settings: TrainSettings,
    *,
    epochs: int,
    learning_rate: float,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | Held | None = None,
    freeze: bool = False,
    progress: Progress = silent,
    log: Log = unlogged,
    resume: Resume | None = None,
) -> None:
    """Minimise the cross-entropy on the training split, in place.

    The learning rate falls from ``learning_rate`` to zero along half a cosine, a little every step.
    Where a process group runs, each process computes its share of every batch, and all of them end
    with the same module.

    Parameters
    ----------
    module : nn.Module
    dataset : Dataset
        Of the watched split, nothing is learnt.
    settings : TrainSettings
        The optimizer, its batches, L1 and L2.
    epochs : int
    learning_rate : float
    generator : torch.Generator
        Shuffles and shifts the examples, and seeds dropout.
    masks : mapping of str to bool tensor, or Held, optional
        By parameter: where false, the parameter is and stays zero.
    freeze : bool
        Whether convolutions rest in the first half of the epochs and fully connected layers in the
        second.
    progress : callable
        Told after every epoch.
    log : callable
        Given the loss, the watched accuracy and, with masks, the density of every epoch.
    resume : Resume, optional
        Keeps the state after every epoch; a run that is found there goes on.

    Raises
    ------
    BadInputError
        If the loss or a weight becomes infinite or NaN, or images are to be shifted and the
        inputs are none.
    """
    check_shift(dataset.shape, settings.shift)
    held = masks if isinstance(masks, Held) else Held(masks or {})
    resume = resume or Resume()
    with reproducible(), placed(module) as (device, memory_format):
        optimizer = _optimizer(module, settings)
        kept = resume.take()
        first = 0 if kept is None else restore(kept, module, optimizer, held, generator)
        parallel.agree({"epoch": torch.tensor(first)}, "state of the run that was broken off")
        x = torch.from_numpy(dataset.train.x).to(device)
        labels = torch.from_numpy(dataset.train.labels).to(device)
        each = math.ceil(len(x) / settings.batch_size)  # steps
        replica = parallel.replicated(module.train())
        parameters, rate = [*module.parameters()], learning_rate
        brief = settings.precision == "bfloat16"
        with held.on(module, optimizer, steps=epochs * each, done=first * each):
            for epoch in range(first, epochs):
                # Dropout draws from the global generator. What it draws is settled here, so that
                # a run can go on at any epoch.
                seed = int(torch.randint(2**62, (), generator=generator))
                torch.manual_seed(seed + parallel.rank())
                order = torch.randperm(len(x), generator=generator).to(device)
                frozen = resting(module, epoch / epochs) if freeze else []
                total = torch.zeros((), device=device)
                for step, batch in enumerate(order.split(settings.batch_size), epoch * each):
                    if held.due(step):  # by weights that diverge, nothing can be chosen
                        _check_finite(module, epoch, rate, resume)
                    held.before_step(step)
                    rate = learning_rate * (1 + math.cos(math.pi * step / (epochs * each))) / 2
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    mine = parallel.share(batch)
                    inputs = x[mine]
                    if settings.shift:
                        inputs = shifted(inputs, settings.shift, generator)
                    inputs = inputs.contiguous(memory_format=memory_format)
                    with torch.autocast(device.type, torch.bfloat16, enabled=brief):
                        outputs = replica(inputs)
                    # Not the mean, since the processes' shares may differ by one example.
                    loss = F.cross_entropy(outputs.float(), labels[mine], reduction="sum")
                    (loss * (parallel.size() / len(batch))).backward()
                    if settings.l1:
                        add_l1(parameters, settings.l1)
                    held.after_backward()
                    for parameter in frozen:
                        parameter.grad = None  # the optimizer leaves its momentum alone, too
                    optimizer.step()
                    optimizer.zero_grad()
                    total += loss.detach()
                mean = parallel.total(total).item() / len(x)
                _check_finite(module, epoch, rate, resume, loss=mean)
                right = accuracy(module, dataset.watched)
                note = f"loss {mean:.4f}, validation {right:.1%}"
                log("loss", mean, epoch + 1)
                log("accuracy", right, epoch + 1)
                if held.masks:
                    log("density", held.density, epoch + 1)
                    note += f", density {held.density:.2%}"
                progress(epoch + 1, epochs, note)
                resume.keep(state(epoch + 1, module, optimizer, held, generator))


def _check_finite(
    module: nn.Module, epoch: int, rate: float, resume: Resume, *, loss: float = 0.0
) -> None:
    """Stop a training that diverges, before its state is kept."""
    bad = [name for name, value in module.named_parameters() if not torch.isfinite(value).all()]
    if bad:
        layer, _, kind = bad[0].rpartition(".")
        where = f"layer {layer!r}: {kind} holds NaN or infinity"
    elif not math.isfinite(loss):
        where = "the loss is not finite"
    else:
        return
    raise BadInputError(
        f"training diverged in epoch {epoch + 1} at learning rate {rate:.3g} ({where}); "
        f"lower the learning rate{resume.note}"
    )


def _optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    parameters, decay = module.parameters(), settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=0.0, weight_decay=decay, fused=True)
    momentum = settings.momentum
    return torch.optim.SGD(parameters, lr=0.0, momentum=momentum, weight_decay=decay, fused=True)
