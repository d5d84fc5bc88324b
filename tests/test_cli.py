"""The command line: where options come from, what is refused and how, what is on which stream."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import minicnn as package
from minicnn import kernels, recipes
from minicnn.apps import cli, train
from minicnn.apps.run_folder import RunConfig
from minicnn.kernels import parallel
from minicnn.recipes import Recipe
from tests.programs import Result, command, environment, in_process_of_its_own, minicnn

COMMANDS = (
    *("train", "eval", "study", "export", "data", "data import", "data info", "data export", "gradcheck"),
    *("bench", "bench train", "bench infer", "bench kernels", "doctor", "camera"),
)
SUMMARY = {
    "run": "runs/train-1",
    "layers": 4,
    "epochs": 12,
    "best_epoch": 3,
    "val_accuracy": 0.5,
    "val_loss": 1.5,
    "images_per_second": 100.0,
    "seconds": 60.0,
    "ended": "finished",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with no FER2013 imported and no option in a variable."""
    for name in [name for name in os.environ if name.startswith("MINICNN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What `minicnn train` would train."""
    configs: list[RunConfig] = []

    def start(config: RunConfig, *_: object, **__: object) -> dict[str, Any]:
        configs.append(config)
        return SUMMARY

    monkeypatch.setattr(train, "start", start)
    return configs


def usage_error(result: Result) -> str:
    """The line that says what is wrong with the usage."""
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err
    (line,) = (line for line in result.err.splitlines() if line.startswith("Error: "))
    return line.removeprefix("Error: ")


# Help


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(name: str, option: str) -> None:
    result = minicnn(*name.split(), option)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: minicnn {name} ")


def test_help_names_every_command_with_a_whole_line() -> None:
    result = minicnn("--help")
    assert result.code == 0
    for name in ("train", "eval", "study", "export", "data", "gradcheck", "bench", "doctor", "camera"):
        (line,) = (line for line in result.out.splitlines() if line.startswith(f"  {name} "))
        assert line.endswith(".")
        assert not line.endswith("...")


def test_help_loads_none_of_what_training_needs() -> None:
    code = (
        "import sys\nfrom minicnn.apps import cli\n"
        "cli.cli(['train', '--help'], standalone_mode=False)\n"
        "print(sorted({'pandas', 'cv2', 'matplotlib', 'jinja2', 'safetensors'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [*command()[:2], code], capture_output=True, text=True, env=environment(), check=True, timeout=60
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_help_shows_the_default_presets_values_and_choices() -> None:
    text = " ".join(minicnn("train", "--help").out.split())
    assert "--epochs INTEGER How often to see all images. [default: (14)]" in text
    assert "--device [auto|cpu|gpu]" in text


def test_the_version_is_the_packages() -> None:
    assert minicnn("--version").out == f"minicnn, version {package.__version__}\n"


def test_no_command_at_all_is_wrong_usage_and_shows_the_help() -> None:
    result = minicnn()
    assert result.code == 2
    assert "Commands:" in result.err + result.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "--epoch", 3], "No such option"),
        (["train", "faces.csv"], "unexpected extra argument (faces.csv)"),
        (["train", "--epochs"], "Option '--epochs' requires an argument"),
        (["data", "export", "x"], "Missing option '--layout'"),
        (["data", "import"], "Missing argument 'PATH'"),
    ],
)
def test_wrong_usage_says_what_is_wrong(arguments: list[object], what: str) -> None:
    assert what in usage_error(minicnn(*arguments))


# Where options come from


def test_a_depth_is_trained_by_the_default_preset(trained: list[RunConfig]) -> None:
    minicnn("train", "--data", "synthetic", "--layers", 5)
    assert trained[0].recipe == recipes.preset("default", layers=5)


def test_a_study_is_of_the_default_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunConfig] = []
    monkeypatch.setattr("minicnn.apps.study.study", lambda config, *_, **__: asked.append(config) or [])
    monkeypatch.setattr("minicnn.apps.paper_tables.format_tables", lambda rows: "")
    minicnn("study", "--data", "synthetic")
    assert asked[0].recipe == recipes.preset("default", layers=3)


def test_without_depth_and_preset_it_is_the_best_one(trained: list[RunConfig]) -> None:
    minicnn("train", "--data", "synthetic")
    (config,) = trained
    assert config.recipe == recipes.preset("best")
    assert (config.data, config.protocol, config.limit) == ("synthetic", "official", 0)


def test_a_preset_sets_what_is_not_given(trained: list[RunConfig]) -> None:
    minicnn("train", "--data", "synthetic", "--preset", "paper", "--epochs", 3)
    recipe = trained[0].recipe
    assert (recipe.preset, recipe.lr, recipe.contrast, recipe.epochs) == ("paper", 0.01, "equalize", 3)


def test_the_line_beats_the_variable_beats_the_file_beats_the_preset(
    trained: list[RunConfig], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "run.toml").write_text('data = "synthetic"\nepochs = 2\nseed = 2\nlr = 0.2\nflip = false\n')
    monkeypatch.setenv("MINICNN_TRAIN_EPOCHS", "3")
    monkeypatch.setenv("MINICNN_TRAIN_SEED", "3")
    minicnn("train", "--epochs", 4, "--config", "run.toml")
    recipe = trained[0].recipe
    assert (recipe.epochs, recipe.seed, recipe.lr, recipe.momentum, recipe.flip) == (4, 3, 0.2, 0.9, False)


def test_a_variable_may_name_the_file(trained: list[RunConfig], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "run.toml").write_text('data = "synthetic"\nbatch-size = 7\n')
    monkeypatch.setenv("MINICNN_TRAIN_CONFIG", "run.toml")
    minicnn("train")
    assert trained[0].recipe.batch_size == 7


def test_a_file_may_set_every_option_of_the_command(here: Path, trained: list[RunConfig]) -> None:
    (here / "run.toml").write_text('data = "synthetic"\njson = true\nlayers = 3\nthreads = 1\nkernels = "im2col"\n')
    result = minicnn("train", "--config", "run.toml")
    assert json.loads(result.out) == SUMMARY
    assert trained[0].recipe.layers == 3


def test_a_run_folders_configuration_makes_the_same_run_again(
    trained: list[RunConfig], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = ["--layers", 5, "--lr", 1e-05, "--mixup", 0.2, "--flip", "no", "--limit", 9, "--protocol", "paper"]
    minicnn("train", "--data", 'a "b" ü.csv', *odd)
    Path("run").mkdir()
    train.RunFolder("run").create(trained[0])
    minicnn("train", "--config", "run/config.toml")
    assert trained[1] == trained[0]


def test_a_configuration_of_before_there_were_three_contrasts_is_understood(
    trained: list[RunConfig], here: Path
) -> None:
    (here / "run.toml").write_text("equalize = false\n")
    minicnn("train", "--data", "synthetic", "--config", "run.toml")
    assert trained[0].recipe.contrast == "keep"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("bach_size = 3\n", "unknown bach_size; known are batch_size, "),
        ("[train]\nepochs = 3\n", "unknown train; known are"),
        ("epochs = \n", "Invalid value (at line 1, column 10)"),
        ("epochs = 3\nepochs = 4\n", "Cannot overwrite a value (at line 2"),
        ("epochs = [3]\n", "epochs: expected a number, a text, true or false, got [3]"),
        ("epochs = 1979-05-27\n", "epochs: expected a number, a text, true or false"),
    ],
)
def test_a_file_of_options_that_is_wrong_is_named(trained: list[RunConfig], here: Path, text: str, what: str) -> None:
    (here / "run.toml").write_text(text)
    line = usage_error(minicnn("train", "--config", "run.toml"))
    assert line.startswith("--config run.toml: ")
    assert what in line


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('epochs = "three"\n', "Invalid value for '--epochs': 'three' is not a valid integer."),
        ("epochs = 2.7\n", "Invalid value for '--epochs': '2.7' is not a valid integer."),
        ("lr = true\n", "Invalid value for '--lr': 'True' is not a valid float."),
        ('flip = "maybe"\n', "Invalid value for '--flip': 'maybe' is not a valid boolean."),
        ('preset = "odd"\n', "Invalid value for '--preset': 'odd' is not one of 'default', 'best', 'paper', 'bench'."),
        ("limit = -1\n", "Invalid value for '--limit': -1 is not in the range x>=0."),
        ("clip = inf\n", "clip: expected a finite number, got inf"),
        ("layers = 2.0\n", "--layers: expected 2 to 8 convolutional layers, got '2.0'"),
    ],
)
def test_a_value_in_a_file_is_checked_as_if_it_had_been_typed(
    trained: list[RunConfig], here: Path, text: str, what: str
) -> None:
    (here / "run.toml").write_text(text)
    assert usage_error(minicnn("train", "--data", "synthetic", "--config", "run.toml")).startswith(what)


@pytest.mark.parametrize(("name", "what"), [("none.toml", "No such file or directory"), (".", "Is a directory")])
def test_a_file_of_options_that_cannot_be_read_is_named(name: str, what: str) -> None:
    assert usage_error(minicnn("train", "--config", name)) == f"--config {name}: {what}"


def test_a_file_of_options_that_is_no_text_is_named(here: Path) -> None:
    (here / "run.toml").write_bytes(b"\xff\xfe\x00epochs")
    assert usage_error(minicnn("train", "--config", "run.toml")).startswith("--config run.toml: ")


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("--epochs", "0", "epochs: expected at least 1, got 0"),
        ("--epochs", "many", "Invalid value for '--epochs': 'many' is not a valid integer."),
        ("--batch-size", "-1", "batch_size: expected at least 1, got -1"),
        ("--layers", "9", "--layers: expected 2 to 8 convolutional layers, got '9'"),
        ("--layers", "four", "--layers: expected 2 to 8 convolutional layers, got 'four'"),
        ("--layers", "3-6", "--layers: expected 2 to 8 convolutional layers, got '3-6'"),
        ("--seed", "-1", "seed: expected at least 0, got -1"),
        ("--lr", "nan", "lr: expected at least 0, got nan"),
        ("--lr", "inf", "lr: expected a finite number, got inf"),
        ("--warmup", "41", "warmup: expected at most all 40 epochs, got 41.0"),
        ("--warmup", "1e308", "warmup: expected at most all 40 epochs, got 1e+308"),
        ("--ema", "1", "ema: expected from 0 to below 1, got 1.0"),
        ("--crop", "48", "crop: expected from 0 to below 48, got 48"),
        ("--degrees", "181", "Augmentation: expected degrees in 0..180, got 181.0"),
        ("--mixup", "inf", "mixup: expected a finite number, got inf"),
        ("--threads", "0", "Invalid value for '--threads': 0 is not in the range x>=1."),
        ("--time-limit", "-1", "Invalid value for '--time-limit'"),
        ("--device", "tpu", "Invalid value for '--device': 'tpu' is not one of 'auto', 'cpu', 'gpu'."),
        ("--kernels", "cuda", "Invalid value for '--kernels'"),
        ("--protocol", "mine", "Invalid value for '--protocol'"),
        ("--preset", "best-ever", "Invalid value for '--preset'"),
    ],
)
def test_a_value_out_of_range_is_wrong_usage(
    trained: list[RunConfig], here: Path, option: str, value: str, what: str
) -> None:
    assert usage_error(minicnn("train", "--data", "synthetic", option, value)).startswith(what)
    assert trained == []
    assert list(here.iterdir()) == []


def test_options_of_the_machine_are_in_force_while_a_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, object]] = []

    def start(*_: object, **named: object) -> dict[str, Any]:
        seen.append((kernels.chosen(), named["device"]))
        return SUMMARY

    threads: list[object] = []
    set_threads = parallel.set_threads
    monkeypatch.setattr(parallel, "set_threads", lambda count: threads.append(count) or set_threads(count))
    monkeypatch.setattr(train, "start", start)
    minicnn("train", "--data", "synthetic", "--kernels", "reference", "--device", "cpu", "--threads", 2)
    assert seen == [("reference", "cpu")]
    assert threads[0] == 2


# What is on which stream, and how it ends


def test_a_users_mistake_is_one_line_on_stderr_and_code_1(here: Path) -> None:
    result = in_process_of_its_own("train", "--resume", here / "nowhere")
    assert result == (1, "", f"minicnn: {here}/nowhere: expected a run folder, with a config.toml in it\n")


def test_wrong_usage_is_code_2(here: Path) -> None:
    result = in_process_of_its_own("train", "--epochs", "0")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("\nError: epochs: expected at least 1, got 0\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "\nminicnn: interrupted"),
        (MemoryError("Unable to allocate 9 TiB"), "minicnn: out of memory: try a smaller --batch-size"),
        (PermissionError(13, "Permission denied", "/root/x"), "minicnn: /root/x: Permission denied"),
        (OSError(28, "No space left on device"), "minicnn: input or output: No space left on device"),
    ],
)
def test_trouble_from_outside_is_one_line(monkeypatch: pytest.MonkeyPatch, error: BaseException, line: str) -> None:
    def start(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(train, "start", start)
    result = minicnn("train", "--data", "synthetic")
    assert (result.code, result.out) == (1, "")
    assert result.err.removeprefix("training 6 layers on synthetic: runs/train-1\n").startswith(line)
    assert "Traceback" not in result.err


def test_a_mistake_of_the_program_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(train, "start", start)
    with pytest.raises(ZeroDivisionError):
        cli.cli(["train", "--data", "synthetic"], standalone_mode=False)


def test_a_reader_that_has_gone_is_no_trouble() -> None:
    with subprocess.Popen(
        command("gradcheck", "--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("then", ["", "raise UserError('nothing more')"], ids=["it ends well", "it fails"])
def test_a_reader_that_goes_before_the_last_line_is_written_is_no_trouble(then: str) -> None:
    """The last line may still be in print's buffer; without PYTHONUNBUFFERED, with which there is none."""
    program = f"""
from minicnn.apps import cli
from minicnn.errors import UserError
def command(**_):
    print("the last line")
    {then}
cli.cli = command
cli.main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == (b"minicnn: nothing more\n" if then else b"")
        assert process.wait(timeout=60) == 1


def buffered() -> dict[str, str]:
    """The environment of a program whose output is buffered."""
    return {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}


def test_output_that_is_closed_from_the_start_is_no_trouble() -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *command("--version")],
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_on_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("--version"), stdout=full, stderr=subprocess.PIPE, env=buffered(), check=False)
    assert (done.returncode, done.stderr) == (1, b"minicnn: input or output: No space left on device\n")


def test_a_terminal_that_cannot_show_every_letter_is_no_trouble() -> None:
    folder = train.RunFolder("лица")
    folder.path.mkdir()
    folder.create(RunConfig(Recipe(), "synthetic"))
    folder.write_result(SUMMARY)
    result = in_process_of_its_own("train", "--resume", "лица", PYTHONIOENCODING="latin-1")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("report: \\u043b\\u0438\\u0446\\u0430/report.html\n")


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    from minicnn import device
    from minicnn.errors import DeviceError

    def missing() -> None:
        raise DeviceError("device gpu: CuPy is not installed")

    monkeypatch.setattr(device, "_cupy", missing)
    for arguments in (["train", "--data", "synthetic"], ["eval", "run"], ["study"], ["gradcheck"]):
        result = minicnn(*arguments, "--device", "gpu")
        assert result == (1, "", "minicnn: device gpu: CuPy is not installed\n")
    assert list(here.iterdir()) == []
