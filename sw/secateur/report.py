"""The facts that all stages found, in one JSON file and one page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from secateur.artefact import ArrayFile
from secateur.digest import digest_file
from secateur.errors import BadInputError
from secateur.format import Section, memories
from secateur.plots import cycles_plot, density_plot, resources_plot, utilization_plot, weights_plot
from secateur.program import Program
from secateur.results import RESULTS
from secateur.schema import parse
from secateur.summary import (
    ACCURACIES,
    LAYER_COLUMNS,
    RESOURCES,
    SOURCES,
    number,
    percent,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from secateur.project import Project

__all__ = ["collect", "report"]

#: A float model's file, as :mod:`secateur.checkpoint` has it, which needs torch.
MODEL = ArrayFile(kind="model", version=2, maker="`secateur train` or `secateur prune`")


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
        over the images simulated), ``storage`` (bits; those of
        memories that are left free apart), ``synthesis`` (by device),
        ``verification`` (rungs, as :class:`secateur.rungs.rung.Rung` has them), and ``missing``
        (stages that were not run, whose values are None).

    Raises
    ------
    BadInputError
        If a file is damaged, or was made of other artefacts than the rest.
    """
    results = {name: _read(files, name) for name in RESULTS}
    program = Program.load(files["program.sct"]) if "program.sct" in files else None
    _check_origins(files, results, program)
    train, prune, quantize, simulation, synthesis, verification = results.values()
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
            "unused": program.unused() if program else {},
        },
        "synthesis": {device: synthesis} if device else {},
        "verification": verification.get("rungs", []),
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
        return parse(RESULTS[name], files[name].read_bytes()).model_dump()
    except (OSError, BadInputError) as error:
        raise BadInputError(
            f"{files[name]} is damaged ({error}); make it again with `secateur {SOURCES[name]}`"
        ) from None


def _check_origins(
    files: Mapping[str, Path], results: Mapping[str, Mapping[str, Any]], program: Program | None
) -> None:
    """Check that all files that know an artefact by its digest know the same one."""
    claims = [
        (name, digest, files[source])
        for source, result in results.items()
        for name, digest in result.get("digests", {}).items()
    ]
    if program:
        claims.append(("network.safetensors", program.network_digest, files["program.sct"]))
    claims += [
        (name, digest_file(path), path) for name, path in files.items() if name not in results
    ]
    first: dict[str, tuple[str, Path]] = {}
    for name, digest, path in claims:
        known, other = first.setdefault(name, (digest, path))
        if known != digest:
            raise BadInputError(
                f"{other} and {path} do not belong together, since {name} was another one for "
                "each; run the stages again from the first one that changed"
            )


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
    keys = ("weights", "nonzeros", "code_bits", "index_bits", "stored_bits", "padding")
    keys += ("cycles", "ideal", "model")
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
    columns = widths[Section.COLUMNS] + widths.get(Section.OFFSETS, 0)
    codebook = spec.weight_width << spec.codebook_bits if spec.codebook_bits else 0
    return {
        layer.name: {
            "weights": layer.rows * layer.columns,
            "nonzeros": layer.nonzeros,
            "padding": layer.padding,
            "code_bits": layer.code_width,
            "index_bits": spec.entry_width - layer.code_width,
            "stored_bits": program.weight_words[index] * widths[Section.WEIGHTS]
            + program.column_words[index] * columns
            + program.rows_words[index] * spec.lanes // spec.drain_lanes * widths[Section.BIASES]
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
        told=told,
        plots=_plots(facts, files),
    )
    html.write_text(page, encoding="utf-8")
    data.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _plots(facts: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, str]:
    """Draw what there is data for: SVG by name."""
    layers = facts["layers"]
    pruned = all(layer["density"] is not None for layer in layers)
    before, after = (_weights(files, name) for name in ("model.safetensors", "pruned.safetensors"))
    if before and after and before.keys() != after.keys():
        raise BadInputError(
            f"{files['pruned.safetensors']} has other layers than {files['model.safetensors']}; "
            "make it again with `secateur prune`"
        )
    possible: dict[str, tuple[object, Callable[[], str]]] = {
        "density": (layers and pruned, lambda: density_plot(layers)),
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
    _, arrays = MODEL.read(files[name])
    return {key.removesuffix(".weight"): array for key, array in arrays.items() if array.ndim > 1}
