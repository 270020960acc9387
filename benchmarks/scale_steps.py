"""The steps of `benchmarks/scale.py`, each in a process of its own, whose memory is measured.

`python benchmarks/scale_steps.py STEP PROJECT FOLDER` reads what the steps before left in the
folder, and writes its own artefacts there and what it found as STEP.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from huffman import coded_bits
from safetensors import safe_open
from safetensors.numpy import save_file

from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.fixed import NumberFormat, Requant, round_to
from secateur.network import Layer, Network
from secateur.program import Program
from secateur.project import Project
from secateur.streams import encode_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import nn

#: Bits of a codebook's values, and of a convolution's codes: the paper's have 8, ours at most 6.
VALUE_BITS, CONVOLUTION_BITS = 8, 6
#: Bits of a code and of an index in Deep Compression (Han et al., ICLR 2016), of a convolution and
#: of a fully connected layer.
PAPER_BITS = {True: (8, 8), False: (5, 5)}
#: Bits of a bias and of a codebook's value there.
FLOAT_BITS = 32
#: One output in so many is drawn as one that learning left unused, its weights so much smaller, for
#: pruning to leave dead channels at all.
UNUSED, SMALL = 32, 1e-3


def draw(project: Project, folder: Path) -> dict[str, Any]:
    """Draw weights of a realistic distribution, and write them as a model.

    Laplace's, whose tails are heavier than normal ones, as those of trained networks are (V.
    Fortuin et al., "Bayesian neural network priors revisited", ICLR 2022; R. Banner et al.,
    NeurIPS 2019), with the deviation ``sqrt(2 / inputs)`` of K. He et al., ICCV 2015.
    """
    import torch

    from secateur import architectures, checkpoint
    from secateur.model import weighted

    generator = torch.Generator().manual_seed(1)
    module = architectures.build(project.network, (), 0, generator)
    layers = [*weighted(module).values()]
    with torch.no_grad():
        for layer in layers:
            # The difference of two exponential variables; of a large layer, some rows at a time.
            scale = layer.weight[0].numel() ** -0.5
            for rows in layer.weight.split(256):
                rows.exponential_(generator=generator)
                rows -= torch.empty_like(rows).exponential_(generator=generator)
                rows *= scale
            if layer is not layers[-1]:
                layer.weight[::UNUSED] *= SMALL
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1, generator=generator)
    checkpoint.save(module, folder / "model.safetensors")
    return {"weights": sum(layer.weight.numel() for layer in layers)}


def choose(project: Project, folder: Path) -> dict[str, Any]:
    """Choose and remove weights without anything else, to compare with :func:`torch_prune`."""
    from secateur import target
    from secateur.masking import cut

    module = _module(folder / "model.safetensors")
    start = time.perf_counter()
    cut(module, target.find(project, module, None).masks(module, 1.0))
    return {"own_s": time.perf_counter() - start, "left": _left(module)}


def torch_prune(project: Project, folder: Path) -> dict[str, Any]:
    """Do the same with torch.nn.utils.prune."""
    from torch.nn.utils import prune

    from secateur.model import weighted

    module = _module(folder / "model.safetensors")
    layers = [*weighted(module).values()]
    densities = project.prune.density
    assert isinstance(densities, tuple)
    start = time.perf_counter()
    for layer, density in zip(layers, densities, strict=True):
        size = layer.weight.numel()
        prune.l1_unstructured(layer, "weight", amount=size - round(density * size))
        prune.remove(layer, "weight")
    return {"own_s": time.perf_counter() - start, "left": _left(module)}


def shrink(project: Project, folder: Path) -> dict[str, Any]:
    """Remove dead channels and neurons; compare the outputs for an image of noise."""
    import torch

    from secateur import architectures, checkpoint
    from secateur.shrink import dead_neurons
    from secateur.shrink import shrink as remove

    module = _module(folder / "pruned.safetensors")
    dead = dead_neurons(module)
    smaller = remove(module)
    shape = architectures.ARCHITECTURES[project.network.architecture].shape
    x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y, again = (each.eval()(x) for each in (module, smaller))
    checkpoint.save(smaller, folder / "smaller.safetensors")
    return {"dead": dead, "difference": float((y - again).abs().max() / y.abs().max())}


def codebook(project: Project, folder: Path) -> dict[str, Any]:
    """Let the weights of each layer share few values: int8, with the layer's biases."""
    from secateur.model import weighted
    from secateur.quantize import quantize_weights

    arrays: dict[str, NDArray] = {}
    bits = {}
    for name, layer in weighted(_module(folder / "smaller.safetensors")).items():
        weights = layer.weight.detach().numpy()
        bits[name] = CONVOLUTION_BITS if weights.ndim == 4 else project.quantize.codebook_bits
        settings = project.quantize.model_copy(
            update={"codebook_bits": bits[name], "weight_width": VALUE_BITS}
        )
        integers, values, fraction = quantize_weights(weights, settings, name)
        assert values is not None
        assert layer.bias is not None
        wide = NumberFormat(width=32, signed=True)
        bias = layer.bias.detach().double().numpy()
        arrays[f"{name}.weights"] = integers.astype(np.int8)
        arrays[f"{name}.codebook"] = values
        arrays[f"{name}.bias"] = round_to(bias, fraction, wide)
    save_file(arrays, folder / "integers.safetensors")
    return {"bits": bits}


def pack(project: Project, folder: Path) -> dict[str, Any]:
    """Encode each layer as a network of its own, and write its program."""
    storage = {}
    for name, weights, values, bias in _integers(folder):
        unsigned = NumberFormat(width=8, signed=False)
        layer = Layer(
            name=name,
            weights=_matrix(weights).astype(np.int64),
            bias=bias,
            weight_width=VALUE_BITS,
            input=unsigned,
            requant=Requant(shift=0, output=unsigned, relu=True),
            codebook=values,
        )
        network = Network(name=name, layers=(layer,))
        program = encode(network, fit(network, **project.engine.fit_arguments()))
        program.save(folder / f"{name.replace('/', '-')}.sct")
        storage[name] = program.storage()
    return {"storage": storage}


def unpack(project: Project, folder: Path) -> dict[str, Any]:
    """Decode each layer's program, and compare every weight and every bias."""
    compared = stored = 0
    for name, weights, _, bias in _integers(folder):
        program = Program.load(folder / f"{name.replace('/', '-')}.sct")
        ((found, biases),) = decode(program)
        matrix = _matrix(weights)
        used = matrix.any(axis=0)  # columns without weights are not stored
        if not np.array_equal(found, matrix[:, used]) or not np.array_equal(biases, bias):
            raise AssertionError(f"layer {name}: what was decoded is not what was encoded")
        compared += weights.size
        stored += int(np.count_nonzero(weights))
    return {"compared": compared, "stored": stored}


def stream(project: Project, folder: Path) -> dict[str, Any]:
    """Count the bits of the layout of Deep Compression: a layer is one stream, without pointers.

    Codes, relative indices, padding entries, biases and codebooks; with our codes, with as many
    bits as the paper's have, and with Huffman's code of our codes and indices, short of its table.
    """
    found = {}
    for name, weights, values, bias in _integers(folder):
        paper_code, index = PAPER_BITS[weights.ndim == 4]
        streams = encode_matrix(weights.reshape(-1, 1), pes=1, index_width=index)
        code = (len(values) - 1).bit_length()
        fixed = FLOAT_BITS * (len(values) + bias.size)
        found[name] = {
            "entries": streams.entries,
            "codes": streams.entries * (code + index) + fixed,
            "codes_as_paper": streams.entries * (paper_code + index) + fixed,
            "huffman": coded_bits(streams.weights[0]) + coded_bits(streams.zeros[0]) + fixed,
        }
    return {"stream": found}


def _module(path: Path) -> nn.Sequential:
    from secateur import checkpoint

    return checkpoint.load(path).module


def _left(module: nn.Sequential) -> dict[str, int]:
    from secateur.model import weighted

    return {name: int(layer.weight.count_nonzero()) for name, layer in weighted(module).items()}


def _integers(folder: Path) -> Iterator[tuple[str, NDArray, NDArray, NDArray]]:
    """Read one layer after the other: name, int8 weights, int64 codebook, int64 biases."""
    with safe_open(folder / "integers.safetensors", framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            name, part = key.rsplit(".", 1)
            if part == "weights":
                array = file.get_tensor
                yield name, array(key), array(f"{name}.codebook"), array(f"{name}.bias")


def _matrix(weights: NDArray) -> NDArray:
    """Look at a weight as [outputs, inputs]; at one of a convolution as [outputs, inputs * y * x].

    The engine cannot compute convolutions: their matrices are stored, no more.
    """
    return weights.reshape(len(weights), -1)


STEPS = {
    step.__name__: step
    for step in (draw, choose, torch_prune, shrink, codebook, pack, unpack, stream)
}


def run(step: str, file: Path, folder: Path) -> None:
    """Run a step."""
    found = STEPS[step](Project.load(file), folder)
    (folder / f"{step}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    run(sys.argv[1], *map(Path, sys.argv[2:]))
