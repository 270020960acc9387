"""The facts that all stages found, in one JSON file and one page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from safetensors import SafetensorError
from safetensors.numpy import load_file

from secateur.errors import BadInputError
from secateur.format import Section, memories
from secateur.plots import cycles_plot, density_plot, resources_plot, utilization_plot, weights_plot
from secateur.program import Program
from secateur.summary import ACCURACIES, LAYER_COLUMNS, RESOURCES, SOURCES, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from secateur.project import Project

__all__ = ["collect", "report"]

#: What each stage's JSON must hold.
KEYS = {
    "train.json": ("accuracy",),
    "prune.json": ("accuracy", "accuracy_before_retraining", "layers"),
    "quantize.json": ("accuracy",),
    "simulation.json": (
        *("accuracy", "outputs", "mismatches", "cycles", "ideal", "model", "layers"),
    ),
    "synthesis.json": (
        *("device", "fmax_mhz", "clock_mhz", "seeds", "bitstream"),
        *RESOURCES,
        *(f"{key}_available" for key in RESOURCES),
    ),
}


def collect(project: Project, files: Mapping[str, Path]) -> dict[str, Any]:
    """Gather the stages' results.

    Parameters
    ----------
    project : Project
        The project that they belong to.
    files : mapping of str to Path
        Those of :data:`secateur.summary.SOURCES` that there are.

    Returns
    -------
    dict
        ``accuracy`` (fractions of the test split), ``layers``, ``bit_exact``, ``cycles`` (mean
        over the images simulated), ``storage`` (bits), ``synthesis`` (by device), and ``missing``
        (stages that were not run, whose values are None).

    Raises
    ------
    BadInputError
        If a file is damaged, or belongs to another network than the rest.
    """
    train, prune, quantize, simulation, synthesis = (_read(files, name) for name in KEYS)
    program = Program.load(files["program.sct"]) if "program.sct" in files else None
    cycles = simulation.get("cycles", {})
    device = synthesis.get("device")
    return {
        "project": project.name,
        "seed": project.seed,
        "accuracy": {
            "float": train.get("accuracy"),
            "pruned_before_retraining": prune.get("accuracy_before_retraining"),
            "pruned": prune.get("accuracy"),
            "quantized": quantize.get("accuracy"),
            "rtl": simulation.get("accuracy"),
        },
        "layers": _layers(prune, program, simulation),
        "bit_exact": {key: simulation.get(key) for key in ("outputs", "mismatches")},
        "cycles": {
            **{key: cycles.get(key) for key in ("mean", "min", "max", "period")},
            **{key: simulation.get(key) for key in ("ideal", "model")},
        },
        "storage": {
            "bits_per_weight": round(program.bits_per_weight, 3) if program else None,
            "bits": program.storage() if program else {},
        },
        "synthesis": {device: synthesis} if device else {},
        "missing": [
            stage
            for stage in dict.fromkeys(SOURCES.values())
            if any(name not in files for name, maker in SOURCES.items() if maker == stage)
        ],
    }


def _read(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    """Read one stage's JSON, an empty one where there is none."""
    if name not in files:
        return {}
    try:
        value = json.loads(files[name].read_text())
        if not isinstance(value, dict):
            raise TypeError("it is no JSON object")
        missing = [key for key in KEYS[name] if key not in value]
        missing += ["name" for layer in value.get("layers", ()) if "name" not in layer]
        if missing:
            raise TypeError(f"it has no {missing[0]!r}")
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(
            f"{files[name]} is damaged ({error}); make it again with `secateur {SOURCES[name]}`"
        ) from None
    return value


def _layers(
    prune: Mapping[str, Any], program: Program | None, simulation: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Everything about each layer; unknown values are None."""
    parts: list[dict[str, dict[str, Any]]] = [
        {layer["name"]: layer for layer in prune.get("layers", [])},
        _program_layers(program) if program else {},
        {layer["name"]: layer for layer in simulation.get("layers", [])},
    ]
    known = [[*part] for part in parts if part]
    if any(names != known[0] for names in known):
        raise BadInputError(
            f"the results belong to different networks, with the layers {known}; run the stages "
            "again from the first one that changed"
        )
    keys = ("weights", "nonzeros", "stored_bits", "padding", "cycles", "ideal", "model")
    layers = []
    for name in known[0] if known else []:
        facts = {key: value for part in parts for key, value in part.get(name, {}).items()}
        layer = {"name": name, **{key: facts.get(key) for key in keys}}
        layer["utilization"] = facts.get("utilization")
        layer["pe_busy"] = facts.get("pe_busy", [])
        layer["density"] = facts["nonzeros"] / facts["weights"] if "weights" in facts else None
        layers.append(layer)
    return layers


def _program_layers(program: Program) -> dict[str, dict[str, Any]]:
    """Describe a program's layers; their stored bits add up to all that it stores."""
    spec = program.spec
    widths = {section: memory.record.width for section, memory in memories(spec).items()}
    lengths = [len(program.input_order), *(len(layer.order) for layer in program.layers)]
    words = [-(-length // spec.lanes) for length in lengths]
    codebook = spec.weight_width << spec.codebook_bits if spec.codebook_bits else 0
    return {
        layer.name: {
            "weights": layer.rows * layer.columns,
            "nonzeros": layer.nonzeros,
            "padding": layer.padding,
            "stored_bits": layer.entries * widths[Section.WEIGHTS]
            + words[index] * spec.lanes * spec.pes * widths[Section.COLUMNS]
            + words[index + 1] * widths[Section.BIASES]
            + widths[Section.LAYERS]
            + codebook,
        }
        for index, layer in enumerate(program.layers)
    }


def report(project: Project, files: Mapping[str, Path], *, html: Path, data: Path) -> dict:
    """Write the report as a page that needs no other file, and as JSON.

    Parameters
    ----------
    project, files
        As in :func:`collect`.
    html, data : Path
        Where the page and the JSON go.

    Returns
    -------
    dict
        What :func:`collect` returns.
    """
    facts = collect(project, files)
    environment = Environment(
        loader=PackageLoader("secateur.report"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        **facts,
        settings=json.dumps(project.settings(*type(project).model_fields), indent=2),
        accuracies=ACCURACIES,
        columns=LAYER_COLUMNS,
        resources=RESOURCES,
        number=number,
        percent=percent,
        plots=_plots(facts, files),
    )
    html.write_text(page, encoding="utf-8")
    data.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _plots(facts: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, str]:
    """Draw what there is data for: SVG by name."""
    layers = facts["layers"]
    before, after = (_weights(files, name) for name in ("model.safetensors", "pruned.safetensors"))
    possible: dict[str, tuple[object, Callable[[], str]]] = {
        "density": (layers, lambda: density_plot(layers)),
        "weights": (before and after, lambda: weights_plot(before, after)),
        "cycles": (facts["bit_exact"]["outputs"], lambda: cycles_plot(layers)),
        "utilization": (facts["bit_exact"]["outputs"], lambda: utilization_plot(layers)),
        "resources": (facts["synthesis"], lambda: resources_plot(facts["synthesis"])),
    }
    return {name: draw() for name, (known, draw) in possible.items() if known}


def _weights(files: Mapping[str, Path], name: str) -> dict[str, NDArray[np.floating]]:
    """Weights of each layer of a checkpoint, without biases."""
    if name not in files:
        return {}
    try:
        tensors = load_file(files[name])
    except (OSError, SafetensorError) as error:
        raise BadInputError(
            f"{files[name]} is not readable ({error}); make it again with "
            f"`secateur {SOURCES[name]}`"
        ) from None
    return {
        key.removesuffix(".weight"): tensor for key, tensor in tensors.items() if tensor.ndim > 1
    }
