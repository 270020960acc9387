"""Project files: defaults, digests, and every sentence that a wrong one gets."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from secateur.engine import RANGES, EngineSpec
from secateur.errors import BadInputError
from secateur.project import EngineSettings, Project
from secateur.settings import TARGETS

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Each of the targets, in the order in which a sentence names them.
GIVEN = ("quality = 1", "density = 0.1", "budget = 0.1", "loss = 0.01", 'fit = "ecp5-25k"')


def load(folder: Path, text: str) -> Project:
    path = folder / "small.toml"
    path.write_text(text)
    return Project.load(path)


def test_an_empty_file_is_a_project(tmp_path: Path) -> None:
    project = load(tmp_path, "")
    everything = tuple(Project.model_fields)
    assert project.settings(*everything) == Project(name="small").settings(*everything)
    assert project.network.hidden == (128, 64)
    assert project.prune.density == 0.1
    assert project.checkpoint is None
    assert project.engine.fit_arguments() == {
        "pes": 8,
        "padding": 0.05,
        "banks": 2,
    }


def test_an_index_width_by_layer(tmp_path: Path) -> None:
    project = load(tmp_path, "[engine.index_width]\nfc1 = 5\n'block.fc' = 4")
    assert project.engine.fit_arguments()["index_width"] == {"fc1": 5, "block.fc": 4}
    assert project.settings("engine")["engine"]["index_width"] == {"fc1": 5, "block.fc": 4}


@pytest.mark.parametrize(("engine", "groups"), [("", 2), ("lanes = 4", 1), ("lanes = 1", 4)])
def test_balance_is_between_the_groups_of_the_engine(
    tmp_path: Path, engine: str, groups: int
) -> None:
    project = load(tmp_path, f"[prune]\nbalance = true\n[engine]\npes = 4\n{engine}")
    assert project.groups == groups


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    assert Project.load(path).name == path.stem


def test_every_key_can_be_given(tmp_path: Path) -> None:
    """All sections as TOML, back again: what was written is what is read."""
    text = """
name = "all"
seed = 7
[data]
name = "digits"
[network]
architecture = "perceptron"
hidden = [3]
[train]
epochs = 0
batch_size = 4
optimizer = "adam"
learning_rate = 1
momentum = 0
weight_decay = 0.0
l1 = 1e-5
[prune]
quality = [1, 0.5]
schedule = "rounds"
rounds = 1
epochs = 0
learning_rate = 0.01
weight_decay = 0
l1 = 1
dropout = false
freeze = true
balance = true
[quantize]
activation_width = 4
weight_width = 2
codebook_bits = 6
calibration_images = 9
epochs = 0
learning_rate = 0.001
[engine]
pes = 6
lanes = 2
index_width = 8
entry_width = 9
padding = 0
queue_depth = 4
banks = 1
jobs = 4
accumulator_memories = 1
accumulator_width = 48
bias_width = 2
count_width = 13
weight_depth = 2
column_depth = 2
row_depth = 2
activation_depth = 4
bias_depth = 2
layer_depth = 2
[simulate]
simulator = "icarus"
images = 3
[synthesize]
device = "ecp5-85k"
clock_mhz = 25
seeds = [1, 2]
baud = 115200
[verify]
netlist_images = 3
"""
    project = load(tmp_path, text)
    settings = project.settings(*Project.model_fields)
    assert settings["prune"] == {
        "quality": [1.0, 0.5],
        "density": None,
        "budget": None,
        "loss": None,
        "fit": None,
        "schedule": "rounds",
        "rounds": 1,
        "epochs": 0,
        "ramp": 0.6,
        "regrow": False,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "l1": 1.0,
        "dropout": False,
        "freeze": True,
        "balance": True,
    }
    assert settings["network"] == {
        "architecture": "perceptron",
        "hidden": [3],
        "checkpoint": None,
    }
    assert settings["synthesize"]["seeds"] == [1, 2]
    assert settings["verify"] == {"netlist_images": 3}
    arguments = project.engine.fit_arguments()
    assert arguments.pop("padding") == 0
    assert EngineSpec(**arguments).weight_depth == 2
    assert (project.engine.groups, project.groups) == (3, 3)
    assert sorted(set(RANGES) - set(EngineSettings.model_fields)) == [
        "activation_width",
        "codebook_bits",
        "weight_width",
    ]


def test_every_key_of_the_others_can_be_given(tmp_path: Path) -> None:
    """Keys that exclude those of the test above."""
    text = """
[data]
name = "mnist"
validation = 0
[network]
architecture = "lenet5"
[train]
shift = 16
[prune]
budget = 0.01
schedule = "smooth"
ramp = 0.5
regrow = true
"""
    project = load(tmp_path, text)
    assert (project.data.name, project.data.validation) == ("mnist", 0)
    assert (project.network.architecture, project.train.shift) == ("lenet5", 16)
    assert (project.prune.schedule, project.prune.ramp) == ("smooth", 0.5)
    assert project.prune.regrow


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", ("density", 0.1)),
        ("rounds = 2", ("density", 0.1)),
        ("density = [0.5, 1]", ("density", (0.5, 1.0))),
        ("quality = 0", ("quality", 0.0)),
        ("quality = [0, 10]", ("quality", (0.0, 10.0))),
        ("budget = 1", ("budget", 1.0)),
        ("loss = 0.01", ("loss", 0.01)),
        ('fit = "ecp5-25k"', ("fit", "ecp5-25k")),
        ('schedule = "smooth"', ("density", 0.1)),
        ('schedule = "smooth"\nloss = 0.01', ("loss", 0.01)),
    ],
)
def test_the_one_target(tmp_path: Path, text: str, target: tuple[str, Any]) -> None:
    prune = load(tmp_path, f"[prune]\n{text}").prune
    assert prune.target == target
    assert [key for key in TARGETS if getattr(prune, key) is not None] == [target[0]]


def test_settings_are_frozen(tmp_path: Path) -> None:
    project = load(tmp_path, "")
    with pytest.raises(ValidationError, match="frozen"):
        project.engine.pes = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = [", " is not TOML: Invalid value (at end of document); correct it there"),
        (
            "name = 'a'\nseed = = 1",
            " is not TOML: Invalid value (at line 2, column 8); correct it there",
        ),
        ("pes = 3", ": pes is not a known key; the nearest is engine.pes"),
        ("sede = 3", ": sede is not a known key; the nearest is seed"),
        ("[engines]", ": engines is not a known key; the nearest is engine"),
        ("[engine]\npse = 3", ": engine.pse is not a known key; the nearest is engine.pes"),
        ("[prune]\nepoch = 3", ": prune.epoch is not a known key; the nearest is prune.epochs"),
        ("[train]\nepoch = 3", ": train.epoch is not a known key; the nearest is train.epochs"),
        ("[engine]\npes = 257", ": engine.pes must be an integer between 1 and 256, not 257"),
        ("[engine]\npes = 0", ": engine.pes must be an integer between 1 and 256, not 0"),
        ("[engine]\npes = true", ": engine.pes must be an integer between 1 and 256, not True"),
        ("[engine]\npes = 1.0", ": engine.pes must be an integer between 1 and 256, not 1.0"),
        (
            "[engine]\nindex_width = 9",
            (
                ": engine.index_width must be an integer between 1 and 8, or a table of those by "
                "layer, not 9"
            ),
        ),
        (
            "[engine.index_width]\nfc1 = true",
            (
                ": engine.index_width must be an integer between 1 and 8, or a table of those by "
                "layer, not {'fc1': True}"
            ),
        ),
        ("[engine]\npadding = 1", ": engine.padding must be a number from 0, below 1, not 1"),
        (
            "[engine]\nweight_depth = 3",
            ": engine.weight_depth must be a power of two between 2 and 1048576, not 3",
        ),
        (
            "[engine]\npes = 6\nlanes = 4",
            ": [engine] must have lanes that divide pes (6), not 4; leave lanes out for 2",
        ),
        (
            "[train]\nlearning_rate = '1'",
            ": train.learning_rate must be a number above 0, at most 10, not '1'",
        ),
        (
            "[train]\nlearning_rate = nan",
            ": train.learning_rate must be a number above 0, at most 10, not nan",
        ),
        ("[train]\nmomentum = 1", ": train.momentum must be a number from 0, below 1, not 1"),
        (
            "[train]\noptimizer = 'lion'",
            ': train.optimizer must be "sgd" or "adam", not \'lion\'',
        ),
        (
            "[network]\nhidden = [3, 0]",
            (
                ": network.hidden must be a list of at most 63 integers between 1 and 65536, "
                "not [3, 0]"
            ),
        ),
        (
            "[network]\nhidden = [3]\ncheckpoint = 'a'",
            ": [network] must have hidden or checkpoint, not both; remove one",
        ),
        (
            "[network]\ncheckpoint = '../a'",
            (
                ": network.checkpoint must be a file in the project's folder, not '../a'; "
                "copy it there"
            ),
        ),
        (
            "[network]\ncheckpoint = '/etc/passwd'",
            (
                ": network.checkpoint must be a file in the project's folder, not '/etc/passwd'; "
                "copy it there"
            ),
        ),
        (
            "[network]\ncheckpoint = 'link'",
            (
                ": network.checkpoint must be a file in the project's folder, not 'link'; "
                "copy it there"
            ),
        ),
        (
            "[network]\ncheckpoint = 'a'",
            (
                ": network.checkpoint names 'a', which is no file in the project's folder; "
                "correct the name or give network.hidden instead"
            ),
        ),
        (
            "[data]\nname = 'digits'\nfile = 'a'",
            ": [data] must have name or file, not both; remove one",
        ),
        (
            "[data]\nfile = '../a.npz'",
            ": data.file must be a file in the project's folder, not '../a.npz'; copy it there",
        ),
        (
            "[data]\nfile = 'a.npz'",
            (
                ": data.file names 'a.npz', which is no file in the project's folder; "
                "correct the name or give data.name instead"
            ),
        ),
        (
            '[network]\ncheckpoint = "a\\u0000"',
            ": network.checkpoint must be a file name in the project's folder, not 'a\\x00'",
        ),
        (
            "[network]\nhidden = [3]\n[prune]\nquality = [1]",
            ": prune.quality must have one number for each of the network's 2 layers, not 1",
        ),
        (
            "[prune]\nquality = -1",
            (
                ": prune.quality must be a number between 0 and 10, or a list of one for each "
                "layer, not -1"
            ),
        ),
        (
            "[prune]\ndensity = [0.5, 0]",
            (
                ": prune.density must be a number above 0, at most 1, or a list of one for each "
                "layer, not [0.5, 0]"
            ),
        ),
        (
            "[data]\nname = 'emnist'",
            ': data.name must be "digits", "digits-8x8", "mnist" or "none", not \'emnist\'',
        ),
        (
            "[data]\nname = 'digits'\nfile = 'a.npz'",
            ": [data] must have name or file, not both; remove one",
        ),
        *(
            (
                f"[data]\n{other}\nvalidation = 5000",
                ': [data] must have validation with the name "mnist" only; remove it',
            )
            for other in ("", "name = 'digits'", "name = 'none'", "file = 'a.npz'")
        ),
        (
            "[data]\nname = 'mnist'\nvalidation = 30001",
            ": data.validation must be an integer between 0 and 30000, not 30001",
        ),
        (
            "[network]\narchitecture = 'resnet'",
            (
                ': network.architecture must be "perceptron", "digits-cnn", "lenet-300-100", '
                '"lenet5", "alexnet" or "vgg16", not \'resnet\''
            ),
        ),
        (
            "[network]\narchitecture = 'lenet5'\nhidden = [3]",
            (
                ': [network] must have hidden for the architecture "perceptron" only, not for '
                '"lenet5"; remove one'
            ),
        ),
        (
            "[network]\nhidden = [3]\narchitecture = 'perceptron'\ncheckpoint = 'a'",
            ": [network] must have architecture or checkpoint, not both; remove one",
        ),
        ("[train]\nepochs = -1", ": train.epochs must be an integer between 0 and 100000, not -1"),
        ("[train]\nl1 = 1.5", ": train.l1 must be a number between 0 and 1, not 1.5"),
        ("[prune]\nl1 = -1", ": prune.l1 must be a number between 0 and 1, not -1"),
        (
            "[prune]\nweight_decay = '0'",
            ": prune.weight_decay must be a number between 0 and 1, not '0'",
        ),
        *(
            (
                f"[prune]\n{one}\n{other}",
                f": [prune] must have {one.split()[0]} or {other.split()[0]}, not both; remove one",
            )
            for one, other in itertools.combinations(GIVEN, 2)
        ),
        ("[prune]\nbudget = 0", ": prune.budget must be a number above 0, at most 1, not 0"),
        ("[prune]\nbudget = 1.1", ": prune.budget must be a number above 0, at most 1, not 1.1"),
        ("[prune]\nloss = 0", ": prune.loss must be a number above 0, below 1, not 0"),
        ("[prune]\nloss = 1.0", ": prune.loss must be a number above 0, below 1, not 1.0"),
        (
            "[prune]\nfit = 'ECP5'",
            ": prune.fit must be the name of a device, such as \"ecp5-25k\", not 'ECP5'",
        ),
        (
            "[prune]\nschedule = 'cubic'",
            ': prune.schedule must be "rounds" or "smooth", not \'cubic\'',
        ),
        *(
            (
                f"[prune]\n{key} = {value}",
                (
                    f': [prune] must have {key} with the schedule "smooth" only; remove it or '
                    "change that"
                ),
            )
            for key, value in (("ramp", 0.6), ("regrow", "true"), ("regrow", "false"))
        ),
        (
            "[prune]\nregrow = true\nramp = 0.5",
            ': [prune] must have ramp with the schedule "smooth" only; remove it or change that',
        ),
        (
            "[prune]\nschedule = 'smooth'\nrounds = 4",
            ': [prune] must have rounds with the schedule "rounds" only; remove one',
        ),
        (
            "[prune]\nschedule = 'smooth'\nquality = 1",
            (
                ': [prune] must have a density or a budget with the schedule "smooth", not a '
                "quality; change one"
            ),
        ),
        (
            "[prune]\nschedule = 'smooth'\nramp = 1",
            ": prune.ramp must be a number above 0, below 1, not 1",
        ),
        *(
            (f"[prune]\n{key} = 1", f": prune.{key} must be true or false, not 1")
            for key in ("regrow", "dropout", "freeze", "balance")
        ),
        (
            "[quantize]\nepochs = 1.0",
            ": quantize.epochs must be an integer between 0 and 100000, not 1.0",
        ),
        (
            "[quantize]\nlearning_rate = 0",
            ": quantize.learning_rate must be a number above 0, at most 10, not 0",
        ),
        ("train = 5", ": train must be a table of settings, not 5"),
        ("[[train]]", ": train must be a table of settings, not [{}]"),
        (
            "name = 'a/b'",
            (
                ": name must be 1 to 64 letters, digits, - and _, the first a letter or digit, "
                "not 'a/b'"
            ),
        ),
        (
            f"a = {'[' * 100_000}",
            " is not TOML: it nests too deep; correct it there",
        ),
        (
            f"seed = {'1' * 5000}",
            (
                " is not TOML: Exceeds the limit (4300 digits) for integer string conversion: "
                "value has 5000 digits; correct it there"
            ),
        ),
        (
            f"seed = 0x{'1' * 5000}",
            (
                ": seed must be an integer between 0 and 2147483647, not a number of thousands of "
                "digits"
            ),
        ),
        (
            f"train.learning_rate = 0x{'1' * 5000}",
            (
                ": train.learning_rate must be a number above 0, at most 10, not a number of "
                "thousands of digits"
            ),
        ),
        (
            f"data.file = '{'a' * 300}'",
            (
                f": data.file names '{'a' * 300}', which is no file in the project's folder; "
                "correct the name or give data.name instead"
            ),
        ),
        (
            "data.file = 'loop'",
            (
                ": data.file names 'loop', which is no file in the project's folder; "
                "correct the name or give data.name instead"
            ),
        ),
        ("seed = -1", ": seed must be an integer between 0 and 2147483647, not -1"),
        (
            "[synthesize]\nseeds = []",
            (
                ": synthesize.seeds must be a list of at least one integer between 0 and "
                "2147483647, not []"
            ),
        ),
        (
            "[synthesize]\ndevice = 'ECP5'",
            ": synthesize.device must be the name of a device, such as \"ecp5-25k\", not 'ECP5'",
        ),
        (
            "[simulate]\nimages = 0",
            ": simulate.images must be an integer between 1 and 1000000, not 0",
        ),
        (
            "[verify]\nnetlist_images = 0",
            ": verify.netlist_images must be an integer between 1 and 1000000, not 0",
        ),
    ],
)
def test_sentences(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BadInputError) as caught:
        load(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'small.toml'}{sentence}"


def test_a_file_whose_name_is_no_projects(tmp_path: Path) -> None:
    path = tmp_path / "my net.toml"
    path.write_text("")
    with pytest.raises(BadInputError) as caught:
        Project.load(path)
    assert str(caught.value) == (
        f"{path} gives no name, and the file's must be 1 to 64 letters, digits, - and _, the first "
        f"a letter or digit, not 'my net'; rename the file or give name"
    )
    path.write_text('name = "mine"')
    assert Project.load(path).name == "mine"


def test_files_that_are_none(tmp_path: Path) -> None:
    missing, binary = tmp_path / "no.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for path, sentence in (
        (missing, "does not exist; give the path of a project file"),
        (tmp_path, "cannot be read (Is a directory); give the path of a project file"),
        (binary, "is not UTF-8 text; give a TOML project file"),
    ):
        with pytest.raises(BadInputError) as caught:
            Project.load(path)
        assert str(caught.value) == f"{path} {sentence}"


def test_digest_covers_what_is_asked(tmp_path: Path) -> None:
    plain = load(tmp_path, "")
    other: dict[str, Any] = {"train": {"epochs": 3}}
    changed = Project.model_validate({"name": "small"} | other)
    assert plain.digest("seed", "train") == plain.digest("train", "seed")
    assert plain.digest("train") != changed.digest("train")
    assert plain.digest("seed", "network") == changed.digest("seed", "network")


def test_digest_covers_the_checkpoint(tmp_path: Path) -> None:
    model = tmp_path / "sub" / "a.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"one")
    project = load(tmp_path, "[network]\ncheckpoint = 'sub/a.safetensors'")
    assert project.checkpoint == model.resolve()
    digests = project.digest("network"), project.digest("train")
    model.write_bytes(b"two")
    assert project.digest("network") != digests[0]
    assert project.digest("train") == digests[1]


def test_digest_covers_the_examples(tmp_path: Path) -> None:
    examples = tmp_path / "mine.npz"
    examples.write_bytes(b"first")
    project = load(tmp_path, "[data]\nfile = 'mine.npz'")
    assert project.data_file == examples.resolve()
    before = {name: project.digest(name) for name in ("data", "train")}
    examples.write_bytes(b"second")
    assert project.digest("data") != before["data"]
    assert project.digest("train") == before["train"]
