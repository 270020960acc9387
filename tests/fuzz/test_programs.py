"""Program files from elsewhere: refused in one sentence, or programs that compute what they say."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.damage import altered, damaged
from secateur.bench.networks import random_network
from secateur.container import pack_container, write_file
from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.engine import RANGES
from secateur.errors import BadInputError
from secateur.fixed import Requant
from secateur.format import IMAGE_HEADER, IMAGE_MAGIC, IMAGE_VERSION, Section, memories
from secateur.image import CRC_SIZE, parse_image, read_image, write_image
from secateur.program import Program
from secateur.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random


def program(seed: int, codebook: bool, pes: int) -> Program:
    network = random_network(seed, [9, 7, 4], density=0.6, codebook=codebook)
    return encode(network, fit(network, pes=pes))


def map_program(seed: int, codebook: bool, pes: int, lengths: list[int]) -> Program:
    network = random_convolutional_network(
        seed, (2, 6, 5), convolutions=2, lengths=lengths, codebook=codebook, most_kernel=3
    )
    return encode(network, fit(network, pes=pes, positions=2))


def flat_map_program() -> Program:
    network = random_network(4, [9, 7, 4], density=0.6)
    return encode(network, fit(network, pes=4, positions=4))


PROGRAMS = [
    program(1, False, 4),
    program(2, True, 2),
    map_program(50, False, 4, [5]),
    map_program(41, True, 2, []),
    flat_map_program(),
]


def test_programs_have_maps_of_all_kinds() -> None:
    layers = [layer.convolution for each in PROGRAMS for layer in each.layers if layer.convolution]
    assert {layer.pool.kind for layer in layers if layer.pool} == {"max", "average"}
    assert any(layer.pool is None for layer in layers)
    assert any(layer.groups > 1 for layer in layers)
    assert any(any(layer.padding) for layer in layers)
    assert any(max(layer.stride) > 1 for layer in layers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.sct"


def refused(path: Path) -> Program | None:
    """Load, and check the sentence of a refusal."""
    try:
        return Program.load(path)
    except BadInputError as error:
        said = str(error)
        assert said.startswith(str(path))
        assert said.endswith(("`secateur encode`", "`secateur encode` writes", "the file again"))
        assert "\n" not in said
        return None


def check_sound(found: Program, path: Path) -> None:
    """Compute with the golden model and with the decoded layers, which must be the same."""
    found.save(path)
    assert Program.load(path) == found
    assert found.bits_per_weight > 0
    assert sum(found.storage().values()) + sum(found.unused().values()) > 0
    first = found.layers[0].input
    x = np.random.default_rng(1).integers(first.lowest, first.highest + 1, (3, found.inputs))
    x[0] = first.highest
    reference = Reference(found.spec)
    reference.load(found.image)
    got = found.restore(reference.infer(found.arrange(x)))
    table = read_image(found.spec, found.image)[Section.LAYERS, 0]
    y = x if found.layers[0].convolution else x[:, sorted(found.input_order)]
    for index, (layer, (weights, bias)) in enumerate(zip(found.layers, decode(found), strict=True)):
        assert np.count_nonzero(weights) <= layer.nonzeros
        requant = Requant(
            shift=int(table["shift"][index]), output=layer.output, relu=bool(table["relu"][index])
        )
        if layer.convolution is None:
            y = requant.compute(y @ weights.T + bias)
            continue
        channels = y.shape[1] // (layer.convolution.height * layer.convolution.width)
        whole = replace(layer.convolution, channels=channels, groups=1)
        y = requant.compute(whole.sums(y, weights) + bias[:, None, None])
        y = y if whole.pool is None else whole.pool.compute(y)
        y = y.reshape(len(x), -1)
    np.testing.assert_array_equal(got, y)


def parts(whole: Program) -> tuple[dict, bytes]:
    """Give the description of a program file, and its image."""
    body = whole._body()
    return json.loads(body[16 : -len(whole.image) - 4]), whole.image


def test_a_damaged_file(fuzz: Callable[..., None], path: Path) -> None:
    def case(rng: Random) -> None:
        whole = rng.choice(PROGRAMS)
        whole.save(path)
        raw = damaged(rng, path.read_bytes())
        unchanged = raw == path.read_bytes()
        path.write_bytes(raw)
        assert refused(path) == (whole if unchanged else None)

    fuzz(case, 3)


def test_a_damaged_file_with_its_digest(fuzz: Callable[..., None], path: Path) -> None:
    def case(rng: Random) -> None:
        write_file(path, damaged(rng, rng.choice(PROGRAMS)._body()))
        found = refused(path)
        if found is not None:
            check_sound(found, path)

    fuzz(case, 3)


def test_an_altered_description(fuzz: Callable[..., None], path: Path) -> None:
    def case(rng: Random) -> None:
        text, image = parts(rng.choice(PROGRAMS))
        write_file(path, pack_container(json.dumps(altered(rng, text)).encode(), image))
        found = refused(path)
        if found is not None:
            check_sound(found, path)

    fuzz(case, 3)


def test_a_damaged_text(fuzz: Callable[..., None], path: Path) -> None:
    """Not JSON any more, keys twice, nesting."""

    def case(rng: Random) -> None:
        text, image = parts(rng.choice(PROGRAMS))
        raw = json.dumps(text).encode()
        if rng.random() < 0.3:
            key = rng.choice([*text])
            raw = raw[:-1] + f', "{key}": {json.dumps(altered(rng, text[key]))}}}'.encode()
        elif rng.random() < 0.3:
            place, depth = rng.randrange(len(raw)), rng.choice((9, 1000, 100_000))
            raw = raw[:place] + rng.choice((b"[", b'{"a":')) * depth + raw[place:]
        else:
            raw = damaged(rng, raw)
        write_file(path, pack_container(raw, image))
        found = refused(path)
        if found is not None:
            check_sound(found, path)

    fuzz(case)


def test_altered_memories(fuzz: Callable[..., None], path: Path) -> None:
    """Digests and checksums are right: what is left are the checks of the words themselves."""

    def case(rng: Random) -> None:
        whole = rng.choice(PROGRAMS)
        contents = read_image(whole.spec, whole.image)
        for _ in range(rng.randint(1, 3)):
            section, pe = key = rng.choice([*contents])
            field = rng.choice(memories(whole.spec)[section].record.fields)
            low = -(1 << (field.width - 1)) if field.signed else 0
            high = low + (1 << field.width) - 1
            words = contents[key][field.name]
            if not len(words):
                continue
            match rng.randrange(5):
                case 0:
                    keep = rng.randrange(len(words))
                    contents[key] = {name: all_[:keep] for name, all_ in contents[key].items()}
                case 1 if (section, 1 - pe) in contents:
                    contents[key] = contents[section, 1 - pe]
                case _:
                    value = rng.choice((low, high, rng.randint(low, high)))
                    words[rng.randrange(len(words))] = value
        write_file(path, replace(whole, image=write_image(whole.spec, contents))._body())
        found = refused(path)
        if found is not None:
            check_sound(found, path)

    fuzz(case, 4)


def test_a_damaged_image(fuzz: Callable[..., None], path: Path) -> None:
    """Sections lost, twice, exchanged and cut, all with the right CRC-32."""

    def case(rng: Random) -> None:
        whole = rng.choice(PROGRAMS)
        contents = read_image(whole.spec, whole.image)
        sections = [write_image(whole.spec, {key: words})[9:-10] for key, words in contents.items()]
        for _ in range(rng.randint(1, 3)):
            one, other = rng.randrange(len(sections)), rng.randrange(len(sections))
            match rng.randrange(4):
                case 0:
                    sections[one], sections[other] = sections[other], sections[one]
                case 1:
                    sections.insert(one, sections[other])
                case 2 if len(sections) > 1:
                    del sections[one]
                case _:
                    sections[one] = damaged(rng, sections[one])
        image = whole.image[:9] + b"".join(sections) + bytes(6)
        image += zlib.crc32(image).to_bytes(CRC_SIZE, "little")
        write_file(path, replace(whole, image=image)._body())
        found = refused(path)
        if found is not None:
            assert parse_image(found.spec, found.image)[1] == len(found.image)
            check_sound(found, path)

    fuzz(case, 3)


def test_an_altered_engine(fuzz: Callable[..., None], path: Path) -> None:
    """The fingerprint is that of the other engine: does the program fit into that one?"""

    def case(rng: Random) -> None:
        whole = rng.choice(PROGRAMS)
        name = rng.choice([*RANGES])
        most = getattr(whole.spec, name)
        value = rng.choice((most - 1, most + 1, most // 2, most * 2, rng.randint(*RANGES[name])))
        try:
            spec = replace(whole.spec, **{name: value})
        except BadInputError:
            return
        image = IMAGE_HEADER.pack({
            "magic": [IMAGE_MAGIC],
            "version": [IMAGE_VERSION],
            "fingerprint": [spec.fingerprint],
        }).tobytes()
        image += whole.image[len(image) : -CRC_SIZE]
        image += zlib.crc32(image).to_bytes(CRC_SIZE, "little")
        write_file(path, replace(whole, spec=spec, image=image)._body())
        found = refused(path)
        if found is not None:
            check_sound(found, path)

    fuzz(case, 2)
