"""The command line: exit codes, sentences, helps."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from secateur.cli import command
from secateur.errors import BadInputError, CheckFailedError
from secateur.stage import Context, Stage, find_stages, order


def _make(context: Context) -> None:
    """Write the seed; the seeds 2, 3 and 4 are bad input, a failed check and a defect."""
    match context.project.seed:
        case 2:
            raise BadInputError("the seed must not be 2; take another")
        case 3:
            raise CheckFailedError("the seed was 3")
        case 4:
            raise ZeroDivisionError("a defect")
        case 6:
            (context.work / "tool.log").write_text("why")
            raise CheckFailedError("a tool said no")
        case 5:
            raise KeyboardInterrupt
    context.outputs["seed.txt"].write_text(str(context.project.seed))


def _double(context: Context) -> None:
    number = int(context.inputs["seed.txt"].read_text())
    extra = context.inputs.get("extra.txt")
    context.outputs["double.txt"].write_text(f"{2 * number}{extra.read_text() if extra else ''}")


STAGES = order([
    Stage(
        name="make",
        summary="write the seed",
        description="Write the seed.",
        example="secateur make a.toml",
        layer="sw",
        run=_make,
        outputs=("seed.txt",),
        settings=("seed",),
    ),
    Stage(
        name="double",
        summary="double it",
        description="Double the seed.",
        example="secateur double a.toml build/seed.txt -o build/double.txt",
        layer="sw",
        run=_double,
        inputs=("seed.txt",),
        optional=("extra.txt",),
        outputs=("double.txt",),
    ),
])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(1, 7):
        Path(f"{seed}.toml").write_text(f"seed = {seed}")


def secateur(*arguments: str) -> Result:
    return CliRunner().invoke(command(STAGES), arguments, prog_name="secateur")


def test_one_stage_after_the_other() -> None:
    result = secateur("make", "1.toml")
    assert (result.exit_code, result.stdout) == (0, "build/seed.txt\n")
    result = secateur("double", "1.toml", "build/seed.txt", "-o", "two.txt")
    assert (result.exit_code, result.stdout) == (0, "two.txt\n")
    assert Path("two.txt").read_text() == "2"


def test_artefacts_that_are_not_given_come_from_a_folder() -> None:
    assert secateur("make", "1.toml", "-o", "other/seed.txt").exit_code == 0
    Path("other/extra.txt").write_text("!")
    assert secateur("double", "1.toml", "--from", "other").exit_code == 0
    assert Path("build/double.txt").read_text() == "2!"


def test_build_ends_with_where_the_files_are() -> None:
    result = secateur("build", "1.toml", "-o", "out")
    (folder,) = (path for path in Path("out").iterdir() if path.name != "cache")
    assert result.exit_code == 0
    assert result.stdout == f"The files are in {folder}/: double.txt, manifest.json, seed.txt\n"
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["make", "double"]
    result = secateur("build", "1.toml", "-o", "out")
    assert result.stderr == "make        unchanged\ndouble      unchanged\n"


@pytest.mark.parametrize("name", ["make", "build"])
@pytest.mark.parametrize(
    ("seed", "code", "sentence"),
    [
        (2, 2, "secateur: the seed must not be 2; take another\n"),
        (3, 1, "secateur: the seed was 3\n"),
        (5, 130, "secateur: interrupted\n"),
    ],
)
def test_errors_are_one_sentence_and_a_code(name: str, seed: int, code: int, sentence: str) -> None:
    result = secateur(name, f"{seed}.toml")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", sentence)
    assert not list(Path().rglob("seed.txt"))


def test_after_a_failed_check_the_logs_are_named() -> None:
    result = secateur("make", "6.toml")
    (log,) = Path("build").rglob("tool.log")
    assert result.exit_code == 1
    assert result.stderr == f"secateur: a tool said no\nThe logs are in {log.parent}\n"


def test_a_defect_keeps_its_traceback() -> None:
    result = secateur("make", "4.toml")
    assert isinstance(result.exception, ZeroDivisionError)
    assert not list(Path().rglob("seed.txt"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["make", "no.toml"], "no.toml does not exist; give the path of a project file"),
        (
            ["double", "1.toml"],
            "build/seed.txt does not exist; make it with `secateur make`",
        ),
        (
            ["double", "1.toml", "x/y.txt"],
            "x/y.txt does not exist; make it with `secateur make`",
        ),
        (
            ["make", "1.toml", "-o", "1.toml/seed.txt"],
            "1.toml cannot be written: Not a directory",
        ),
        (
            ["make", "1.toml", "-o", "1.toml"],
            (
                "1.toml is a file that `secateur make` reads, or two of its results at once; give "
                "another path for the output"
            ),
        ),
        (["make", "1.toml", "-o", ""], ". exists and is no file; give another path for the output"),
    ],
)
def test_missing_files(arguments: list[str], sentence: str) -> None:
    result = secateur(*arguments)
    assert (result.exit_code, result.stderr) == (2, f"secateur: {sentence}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mak"], "Error: No such command 'mak'. Did you mean 'make'?"),
        (["make"], "Error: Missing argument 'PROJECT'."),
        (["make", "1.toml", "--fast"], "Error: No such option '--fast'."),
    ],
)
def test_usage_errors(arguments: list[str], line: str) -> None:
    result = secateur(*arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == line


def test_version() -> None:
    assert secateur("--version").stdout == "secateur 0.1.0\n"


def test_commands_are_listed_in_the_order_of_the_way() -> None:
    lines = secateur("--help").stdout.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in lines if not line.startswith("   ")]
    assert names == ["build", "import", "make", "double", "program", "check"]


@pytest.mark.parametrize("name", ["build", "import", *find_stages(), "program", "check"])
def test_every_help_has_an_example_that_parses(name: str) -> None:
    group = command()
    text = CliRunner().invoke(group, [name, "--help"]).stdout
    (line,) = (line for line in text.splitlines() if line.startswith("    secateur "))
    words = line.split()
    assert words[:2] == ["secateur", name]
    subcommand = group.commands[name]
    context = subcommand.make_context(name, words[2:])
    if name == "check":  # which needs a board and no project
        assert context.params["port"] == "/dev/ttyUSB0"
        return
    if name == "program":  # which needs no project
        assert context.params["weights"] == Path("other/program.sct")
    elif name == "import":
        assert context.params["model"] == Path("mnist/model.onnx")
    else:
        assert context.params["project"] == Path("examples/digits.toml")


def test_help_says_what_is_read_and_what_of_it_may_be_missing() -> None:
    for name, line in (("make", "the project only"), ("double", "seed.txt; if there: extra.txt")):
        assert f"  Reads: {line}\n" in secateur(name, "--help").stdout
    text = CliRunner().invoke(command(), ["report", "--help"]).stdout
    assert "  Reads: if there: model.safetensors, train.json, " in text


def test_as_a_process() -> None:
    """The installed script, with real stages: an exit code and one sentence on stderr."""
    script = Path(sys.executable).with_name("secateur")
    result = subprocess.run(
        [script, "prune", "1.toml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "secateur: build/model.safetensors does not exist; make it with `secateur train`\n"
    )


ENDLESS = """
import time
from secateur import cli
from secateur.stage import Stage

def run(context):
    context.outputs["seed.txt"].write_text("half")
    print("running", flush=True)
    time.sleep(60)

cli.find_stages = lambda: {"make": Stage(
    name="make", summary="", description="", example="", layer="sw", run=run, outputs=("seed.txt",)
)}
cli.main()
"""


@pytest.mark.parametrize("name", ["make", "build"])
def test_told_to_end_it_leaves_nothing(name: str) -> None:
    command = [sys.executable, "-c", ENDLESS, name, "1.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.terminate()
        assert process.communicate(timeout=30) == (b"", b"secateur: interrupted\n")
    assert process.returncode == 130
    assert [path.name for path in Path("build").rglob("*") if path.name != "cache"] in (
        [],
        ["lock"],
    )


def test_fit_is_the_only_target_of_pruning() -> None:
    def run(context: Context) -> None:
        name, value = context.project.prune.target
        context.outputs["seed.txt"].write_text(f"{name} {value} {context.project.prune.quality}")

    fitting = replace(STAGES["make"], run=run, fits=True)
    Path("quality.toml").write_text("[prune]\nquality = 1.5\nrounds = 2\n")
    for arguments, text in (
        ([], "quality 1.5 1.5"),
        (["--fit", "ecp5-25k"], "fit ecp5-25k None"),
    ):
        result = CliRunner().invoke(
            command({"make": fitting}), ["make", "quality.toml", *arguments]
        )
        assert (result.exit_code, Path("build/seed.txt").read_text()) == (0, text)


def test_only_pruning_fits() -> None:
    taking = [name for name, stage in find_stages().items() if stage.fits]
    assert taking == ["prune"]
    result = secateur("make", "1.toml", "--fit", "ecp5-25k")
    assert (result.exit_code, "No such option" in result.stderr) == (2, True)
