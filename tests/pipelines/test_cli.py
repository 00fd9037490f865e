"""The `aurora` command: help, exit codes, one line for what is expected to fail."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines import cli

ROOT = Path(__file__).parents[2]
NAMES = [name for name, _, _ in cli.COMMANDS]


def aurora(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command from outside, as a person does."""
    command = [sys.executable, "-m", "pipelines.cli", *args]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("AURORA_")}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, text=True, check=False, env=environ, cwd=ROOT, **options
    )


def test_help_lists_every_command() -> None:
    """`aurora --help` exits 0, names all commands, and has an example."""
    done = aurora("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "example:" in done.stdout
    for name, _, text in cli.COMMANDS:
        assert f"    {name} " in done.stdout
        assert text in done.stdout


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config"], ["config", "--help"]])
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    """Help and `aurora config` wait for no compiler, solver or client."""
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numba', 'numpy', 'scipy', 'pyarrow', 'polars', 'aiokafka', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.stderr == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_list_says_what_the_module_says(name: str) -> None:
    """The names and words of the list are those of the modules that it stands for."""
    assert cli.build_parser([name]).format_help() == cli.build_parser([]).format_help()


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`aurora COMMAND --help` shows an example and the options that all commands have."""
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])

    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert f"aurora {name}" in shown.partition("example")[2]
    for option in ("--config DIR", "--set KEY=VALUE", "--quiet"):
        assert option in shown


def test_version_is_the_one_of_the_package() -> None:
    """`aurora --version` prints the version that pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert aurora("--version").stdout == f"aurora {project['version']}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: COMMAND (see aurora --help)"),
        (["config", "--sett", "x"], "unrecognized arguments: --sett x (see aurora --help)"),
        (
            ["config", "--config", "no"],
            "--config no: does not exist; expected a folder with "
            "router.yaml, providers.yaml, workloads.yaml",
        ),
        (
            ["config", "--set", "router.window_s=-1"],
            "--set router.window_s: router.window_s is -1; expected a number > 0 and <= 31622400",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(args: list[str], message: str) -> None:
    """A usage error says what is wrong on one line of stderr, without a traceback."""
    done = aurora(*args)

    assert done.returncode == 2
    assert done.stderr == f"aurora: {message}\n"
    assert done.stdout == ""


def test_an_unknown_command_names_the_known_ones() -> None:
    """`aurora confg` is one line with the list."""
    done = aurora("confg")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert all(name in done.stderr for name in NAMES)


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("settings", 2, "aurora: f.yaml: router.policy is 'x'; expected one of greedy, global\n"),
        ("log", 1, "aurora: log.parquet: no such file\n"),
        ("broker", 1, "aurora: no broker answers at localhost:9092\n"),
        ("interrupt", 130, ""),
        ("permission", 1, "aurora: out/decisions.parquet: Permission denied\n"),
        ("port", 1, "aurora: Address already in use\n"),
        ("extra", 1, "aurora: aiokafka is not installed; pip install 'aurora-batch[kafka]'\n"),
    ],
)
def test_an_expected_failure_is_one_line(
    how: str,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each kind of failure has its exit code and one line."""
    monkeypatch.setattr(cli, "COMMANDS", (("fail", "tests.pipelines.failing", "fail"),))

    assert cli.main(["fail", how]) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("how", "kind"), [("bug", ZeroDivisionError), ("module", ImportError)])
def test_a_bug_keeps_its_traceback(
    how: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody expected is not made pretty."""
    monkeypatch.setattr(cli, "COMMANDS", (("fail", "tests.pipelines.failing", "fail"),))

    with pytest.raises(kind):
        cli.main(["fail", how])


def test_a_closed_pipe_is_quiet() -> None:
    """`aurora config | head` says nothing on stderr."""
    command = [sys.executable, "-m", "pipelines.cli", "config"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, cwd=ROOT)
    os.close(writer)

    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device of Linux")
def test_a_full_disk_is_one_line() -> None:
    """Output that cannot be written is an error, not a success."""
    command = [sys.executable, "-m", "pipelines.cli", "config"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, check=False, text=True, cwd=ROOT
        )

    assert done.stderr == "aurora: No space left on device\n"
    assert done.returncode == 1
