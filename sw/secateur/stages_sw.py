"""The stages from a project to a program, and the report: thin adapters of the Python API.

Each imports what it adapts only when it runs, so that the command line starts at once, and works
without PyTorch where nothing is trained.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from secateur.digest import digest_file, digest_sources
from secateur.project import Project
from secateur.stage import Stage
from secateur.summary import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rich.table import Table
    from torch import nn

    from secateur.dataset import Dataset
    from secateur.rounds import LayerStats
    from secateur.stage import Context

__all__ = ["ENCODE", "PRUNE", "QUANTIZE", "REPORT", "SENSITIVITY", "TRAIN"]

#: The distributions that decide what is learnt and measured.
LEARNING = ("torch", "numpy", "safetensors", "scikit-learn")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _digests(files: Mapping[str, Path], name: str) -> dict[str, str]:
    """Say which artefact of that name it was; see :class:`secateur.results.Result`."""
    return {name: digest_file(files[name])}


def _accuracy(module: nn.Module, dataset: Dataset | None) -> float | None:
    """Give the accuracy on the test split; None, where there are no examples."""
    from secateur import model

    return None if dataset is None else model.accuracy(module, dataset.test)


def _train(context: Context) -> None:
    from secateur import checkpoint, data
    from secateur.train import train

    dataset = data.load(context.project.data, context.project.data_file, context.progress)
    module = train(
        context.project, dataset, context.progress, folder=context.resume, log=context.log
    )
    checkpoint.save(module, context.outputs["model.safetensors"])
    _write(
        context.outputs["train.json"],
        {
            "accuracy": _accuracy(module, dataset),
            "digests": _digests(context.outputs, "model.safetensors"),
        },
    )


TRAIN = Stage(
    name="train",
    summary="train the dense network, or take the trained one that the project names",
    description=(
        "Train the dense network of PROJECT, or load the checkpoint that it names. A training that "
        "was broken off goes on where it was, and ends as if it had not been."
    ),
    example="secateur train examples/digits.toml -o build/model.safetensors",
    layer="sw",
    run=_train,
    outputs=("model.safetensors", "train.json"),
    settings=("seed", "data", "network", "train"),
    tools=LEARNING,
    curves=True,
    shared=True,
)


def _sensitivity(context: Context) -> None:
    from secateur import checkpoint, data, figures
    from secateur.sensitivity import sensitivity

    dataset = data.load(context.project.data, context.project.data_file, context.progress)
    module = checkpoint.load(context.inputs["model.safetensors"]).module
    scan = sensitivity(module, dataset, context.progress)
    digests = _digests(context.inputs, "model.safetensors")
    _write(context.outputs["sensitivity.json"], {**scan, "digests": digests})
    figures.save(figures.sensitivity_figure(scan), context.outputs["sensitivity.svg"])


def _sensitivity_table(files: Mapping[str, Path]) -> Table:
    from secateur.sensitivity import read, tabulate

    return tabulate(read(files["sensitivity.json"]))


SENSITIVITY = Stage(
    name="sensitivity",
    summary="measure what pruning each layer alone costs, without retraining",
    description=(
        "Prune each layer alone, to many densities and without retraining, and measure what the "
        "network then gets right, on the examples that are watched in training. prune.loss makes "
        "`secateur prune` choose the layers' densities from this."
    ),
    example=(
        "secateur sensitivity examples/digits.toml build/model.safetensors "
        "-o build/sensitivity.json"
    ),
    layer="sw",
    run=_sensitivity,
    inputs=("model.safetensors",),
    outputs=("sensitivity.json", "sensitivity.svg"),
    settings=("data",),
    tools=(*LEARNING, "matplotlib"),
    show=_sensitivity_table,
)


def _prune(context: Context) -> None:
    from secateur import checkpoint, data, sensitivity
    from secateur.prune import prune

    dataset = data.load(context.project.data, context.project.data_file, context.progress)
    module = checkpoint.load(context.inputs["model.safetensors"]).module
    scan = None
    if context.project.prune.loss is not None and "sensitivity.json" in context.inputs:
        model = digest_file(context.inputs["model.safetensors"])
        scan = sensitivity.read(context.inputs["sensitivity.json"], model)
    pruning = prune(
        module,
        context.project,
        dataset,
        context.progress,
        scan=scan,
        folder=context.resume,
        log=context.log,
    )
    checkpoint.save(pruning.module, context.outputs["pruned.safetensors"])
    _write(
        context.outputs["prune.json"],
        {
            "accuracy_before_retraining": _accuracy(pruning.unretrained, dataset),
            "accuracy": _accuracy(pruning.module, dataset),
            "digests": {
                **_digests(context.inputs, "model.safetensors"),
                **_digests(context.outputs, "pruned.safetensors"),
            },
            "layers": _pruned_layers(pruning.layers),
            # Accuracies of the split that is watched while learning.
            "rounds": [
                {
                    "accuracy_before_retraining": each.pruned,
                    "accuracy": each.retrained,
                    "layers": _pruned_layers(each.layers),
                }
                for each in pruning.rounds
            ],
        },
    )


def _pruned_layers(layers: Iterable[LayerStats]) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "weights": layer.weights,
            "nonzeros": layer.non_zeros,
            "threshold": layer.threshold,
        }
        for layer in layers
    ]


def _pruned_for(project: Project) -> tuple[str, ...]:
    """Name the sections that say what the network is pruned for, where it is for something."""
    settings = project.prune
    fit = ("engine", "quantize") if settings.fit is not None else ()
    return fit or (("engine",) if settings.balance else ())


def _devices(project: Project) -> dict[str, str]:
    """Say which description of the devices it is that decides what fits."""
    return {} if project.prune.fit is None else {"devices": digest_sources("hw")}


PRUNE = Stage(
    name="prune",
    summary="remove the connections of small magnitude and retrain the rest",
    description=(
        "Remove the connections of small magnitude, in rounds or smoothly, and retrain the rest "
        "from the values that they have. Removed connections stay zero. A run that was broken off "
        "goes on where it was, and ends as if it had not been."
    ),
    example=(
        "secateur prune examples/digits.toml build/model.safetensors -o build/pruned.safetensors"
    ),
    layer="sw",
    run=_prune,
    inputs=("model.safetensors",),
    optional=("sensitivity.json",),
    outputs=("pruned.safetensors", "prune.json"),
    settings=("seed", "data", "train", "prune"),
    more_settings=_pruned_for,
    programs=_devices,
    fits=True,
    tools=LEARNING,
    curves=True,
    shared=True,
)


def _quantize(context: Context) -> None:
    from secateur import checkpoint, data, model
    from secateur.finetune import finetune
    from secateur.quantize import quantize

    project, progress = context.project, context.progress
    dataset = data.require(project.data, project.data_file, progress)
    module = checkpoint.load(context.inputs["pruned.safetensors"]).module
    rounded = quantize(module, dataset.train.x, project.quantize, project.name, progress)
    network = finetune(rounded, project, dataset, progress, folder=context.resume, log=context.log)
    network.save(context.outputs["network.safetensors"])
    before = model.accuracy(rounded, dataset.test)
    # The test set takes seconds, and without retraining it is the same network.
    after = before if network is rounded else model.accuracy(network, dataset.test)
    _write(
        context.outputs["quantize.json"],
        {
            "accuracy_before_retraining": before,
            "accuracy": after,
            "accumulator_width": network.accumulator_width,
            "digests": {
                **_digests(context.inputs, "pruned.safetensors"),
                "network.safetensors": network.digest,
            },
        },
    )


QUANTIZE = Stage(
    name="quantize",
    summary="turn the model into integers, which are what the hardware computes",
    description=(
        "Turn weights, biases and activations into integers with scales that are powers of two, "
        "calibrated on training examples, and retrain them as far as the project says. The result "
        "is the definition of what the hardware computes."
    ),
    example=(
        "secateur quantize examples/digits.toml build/pruned.safetensors "
        "-o build/network.safetensors"
    ),
    layer="sw",
    run=_quantize,
    inputs=("pruned.safetensors",),
    outputs=("network.safetensors", "quantize.json"),
    settings=("name", "data", "quantize"),
    more_settings=lambda project: ("seed", "train") if project.quantize.epochs else (),
    tools=LEARNING,
    curves=True,
    shared=True,
)


def _encode(context: Context) -> None:
    from secateur.encode import encode, fit
    from secateur.network import Network

    network = Network.load(context.inputs["network.safetensors"])
    spec = fit(network, **context.project.engine.fit_arguments())
    encode(network, spec).save(context.outputs["program.sct"])


ENCODE = Stage(
    name="encode",
    summary="pack the weights that are left into a program for the engine",
    description=(
        "Deal the rows of each layer to groups of processing elements and pack the weights that "
        "are left. What the project does not say about the engine is the smallest that holds the "
        "network."
    ),
    example="secateur encode examples/digits.toml build/network.safetensors -o build/program.sct",
    layer="sw",
    run=_encode,
    inputs=("network.safetensors",),
    outputs=("program.sct",),
    settings=("engine",),
    tools=("numpy",),
)


def _report(context: Context) -> None:
    from secateur.report import report

    outputs = context.outputs
    report(
        context.project, context.inputs, html=outputs["report.html"], data=outputs["report.json"]
    )


REPORT = Stage(
    name="report",
    summary="gather the results of all stages in one page",
    description=(
        "Gather the results of the stages in one page that needs no other file, and in JSON. "
        "A stage that was not run is named there."
    ),
    example="secateur report examples/digits.toml --from build -o build/report.html",
    layer="sw",
    run=_report,
    optional=tuple(SOURCES),
    outputs=("report.html", "report.json"),
    settings=tuple(Project.model_fields),
    tools=("jinja2", "matplotlib", "numpy"),
)
