"""The command line trains into the same store as the app, and answers a wrong value with one line and exit code 2."""

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

import ilora
from ilora import METHODS, Experiment, Ingredient, Method, Stage
from ilora.lab.cli import commands, main, parser
from ilora.lab.cli.flags import add_experiment, read_experiment
from ilora.lab.runs import leases
from ilora.lab.runs.store import Store
from ilora.methods.ingredients import INGREDIENTS
from tests.factory import store_run

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["--ranks", "2,4", "--targets", "value", "--local-steps", "1"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ILORA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ILORA_THREADS", "1")
    return Store()


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused; returns its one line on stderr."""
    try:
        code: object = main(list(arguments))
    except SystemExit as end:
        code = end.code
    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


WRONG = [
    ("task", "mnist"),
    ("method", "fedsgd"),
    ("ranks", "0"),
    ("ranks", "65"),
    ("ranks", ""),
    ("ranks", "2,x"),
    ("ranks", "2,,4"),
    ("ranks", "2.5"),
    ("ranks", "nan"),
    ("ranks", "huge"),
    ("clients", "0"),
    ("clients", "1001"),
    ("clients", "many"),
    ("skew", "none"),
    ("alpha", "0"),
    ("alpha", "-1"),
    ("alpha", "nan"),
    ("alpha", "inf"),
    ("shards", "0"),
    ("noisy-clients", "9"),
    ("left-out", "8"),
    ("participation", "1.5"),
    ("rounds", "0"),
    ("rounds", "1.5"),
    ("rounds", "1e+99"),
    ("local-steps", "-1"),
    ("local-epochs", "0"),
    ("batch-size", "0"),
    ("optimizer", "adam"),
    ("lr", "nan"),
    ("scaling", "r/16"),
    ("backbone", "resnet"),
    ("data", "here,\x07"),
    ("adapter", "there,\x07"),
    ("targets", "conv"),
    ("seed", "-1"),
    ("device", "tpu"),
    ("precision", "int4"),
    ("engine", "flower"),
    ("mode", "fast"),
    ("option", "residual"),
    ("option", "residual=odd"),
    ("option", "speed=1"),
    ("option", "aggregate=magic"),
]


@pytest.mark.parametrize(("flag", "value"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_field(
    capsys: pytest.CaptureFixture[str], store: Store, flag: str, value: str
) -> None:
    line = complaint(capsys, "run", f"--{flag}={value}")
    assert flag.replace("-", "_") in line
    assert any(part in line for part in value.partition("=")[0].split(","))
    assert "allowed" in line
    assert store.runs() == []


def test_every_field_has_a_flag_with_an_explanation_and_a_wrong_value_here() -> None:
    names = {field.name for field in fields(Experiment)} - {"options"}
    experiments = argparse.ArgumentParser(add_help=False)
    add_experiment(experiments, skip=())
    explained = {action.dest.removeprefix("field_"): action.help for action in experiments._actions if action.dest != "option"}
    assert explained.keys() == names
    assert all(explained.values())
    assert {flag.replace("-", "_") for flag, _ in WRONG} >= names


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--speed", "9"], "--speed"),
        (["run", "--alpha"], "--alpha"),
        (["run", "--al", "0.3"], "--al"),
        (["fly"], "fly"),
        (["resume", "nobody"], "nobody"),
        (["step", "../../etc"], "etc"),
        (["pause", "nobody"], "nobody"),
        (["stop", "nobody"], "nobody"),
        (["delete", "nobody"], "nobody"),
        (["export", "nobody", "x.zip"], "nobody"),
        (["import", "nothing.zip"], "nothing.zip"),
        (["compare", "--methods", "ilora,fedsgd"], "fedsgd"),
        (["compare", "--methods", "ilora,fedit:official"], "fedit"),
        (["compare", "--methods", ""], "method"),
        (["compare", "--csv", "/nowhere/x.csv"], "csv"),
        (["run", "--clients", "3", "--ranks", "2,4"], "clients"),
    ],
)
def test_a_wrong_command_is_one_line(capsys: pytest.CaptureFixture[str], store: Store, arguments: list[str], named: str) -> None:
    assert named in complaint(capsys, *arguments)
    assert store.runs() == []


def test_without_a_verb_there_is_help_and_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"ilora {ilora.__version__}\n"


@pytest.mark.parametrize("mistake", [ValueError("shape '[3, -1]'"), ImportError("no module"), OSError("no space")])
def test_a_mistake_in_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, store: Store, mistake: Exception) -> None:
    monkeypatch.setattr(commands, "read_experiment", raising(mistake))
    with pytest.raises(type(mistake), match=re.escape(str(mistake))):
        main(["run"])


def raising(error: Exception) -> Callable[..., Experiment]:
    def raise_it(*_: object, **__: object) -> Experiment:
        raise error

    return raise_it


@pytest.mark.parametrize("arguments", [["--debug", "run"], ["run", "--debug"]])
def test_debug_shows_where_a_value_was_refused(capsys: pytest.CaptureFixture[str], store: Store, arguments: list[str]) -> None:
    assert main([*arguments, "--rounds", "0"]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert last == "python -m ilora run: rounds is 0; allowed: a whole number from 1 to 10000."


def test_an_experiment_in_a_file_is_where_the_flags_start(tmp_path: Path) -> None:
    file = tmp_path / "experiment.json"
    written = Experiment(method="flora", ranks=(2, 4), rounds=3, options={"correction": "control-variates"})
    file.write_text(written.to_json())

    def read(*flags: str) -> Experiment:
        return read_experiment(parser.make_parser().parse_args(["run", "--experiment", str(file), *flags]))

    assert read() == written
    assert read("--rounds", "5") == written.replace(rounds=5)
    assert read("--option", "upload=quantise") == written.replace(options={**written.options, "upload": "quantise"})
    assert read("--ranks", "2,4,8").client_ranks == (2, 4, 8)
    assert read("--task", "toy-text") == Experiment(
        task="toy-text", method="flora", ranks=(2, 4), rounds=3, options=written.options
    )
    assert read("--method", "fedit").options == {}


@pytest.mark.parametrize("text", [None, b"{", b"[]", b"\xff", b'{"rouns": 3}', b'{"rounds": 0}'])
def test_a_file_without_an_experiment_is_one_line(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path, text: bytes | None
) -> None:
    file = tmp_path / "experiment.json"
    if text is not None:
        file.write_bytes(text)
    assert "allowed" in complaint(capsys, "run", "--experiment", str(file))
    assert "not allowed with" in complaint(capsys, "run", "--experiment", str(file), "--preset", "digits")


def test_a_run_as_json_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    assert main(["run", *SMALL, "--rounds", "2", "--json"]) == 0
    output = capsys.readouterr()
    told = json.loads(output.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["id"] == store.runs()[0].id
    assert Experiment.from_dict(told["experiment"]) == store.runs()[0].experiment
    assert [row["index"] for row in told["history"]] == [1, 2]
    told_of = [line for line in output.err.splitlines() if line.startswith("round ")]
    assert [line.partition(":")[0] for line in told_of] == ["round 1 of 2", "round 2 of 2"], "no terminal: one line a round"
    assert "\r" not in output.err


def test_a_foreign_file_in_place_of_the_store_is_one_line(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    for path in store.home.glob("store.sqlite*"):
        path.write_bytes(b"nonsense " * 500)
    assert "store.sqlite" in complaint(capsys, "runs")


def test_a_wrong_number_of_threads_is_one_line(
    capsys: pytest.CaptureFixture[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILORA_THREADS", "none")
    assert "ILORA_THREADS is 'none'" in complaint(capsys, "run")
    assert store.runs() == []


@pytest.mark.parametrize("command", [["run", "--method", "mine"], ["compare", "--methods", "fedit,mine"]])
def test_a_stage_with_a_misspelt_hook_is_one_line(
    capsys: pytest.CaptureFixture[str], store: Store, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    weighting = Ingredient("Mine", "", type("Mine", (Stage,), {"on_round_end": lambda self: {}}))
    monkeypatch.setitem(INGREDIENTS, "weighting", INGREDIENTS["weighting"] | {"mine": weighting})
    monkeypatch.setitem(METHODS, "mine", Method("Mine", weighting="mine"))
    assert "weighting 'mine' has the method on_round_end" in complaint(capsys, *command)
    assert store.runs() == []


def test_methods_and_runs_are_listed_without_torch(store: Store) -> None:
    code = (
        "import sys; from ilora.lab.cli import main; main(['methods']); main(['runs']); main(['methods', '--json']);"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules or 'streamlit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert all(method.title in done.stdout for method in METHODS.values())
    assert "No runs in" in done.stdout


def test_methods_as_json_say_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed) == list(METHODS)
    assert all(method["title"] and method["paper"] and method["provenance"] and method["source"] for method in listed.values())


def test_a_run_is_stored_listed_exported_deleted_and_imported(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path
) -> None:
    assert main(["run", *SMALL, "--rounds", "2", "--name", "mine", "--mode", "official", "--option", "rescale=false"]) == 0
    (run,) = store.runs()
    assert (run.name, run.status, run.done) == ("mine", "finished", 2)
    assert run.experiment.options == {"mode": "official", "rescale": False}
    assert "finished: accuracy" in capsys.readouterr().out
    assert leases.workers(store) == []

    assert main(["runs", "--json"]) == 0
    assert [listed["id"] for listed in json.loads(capsys.readouterr().out)] == [run.id]
    assert main(["export", run.id, str(tmp_path / "run.zip")]) == 0
    assert main(["delete", run.id]) == 0
    assert main(["import", str(tmp_path / "run.zip")]) == 0
    (copy,) = store.runs()
    assert (copy.name, copy.status, copy.last) == ("mine", "finished", run.last)
    capsys.readouterr()
    assert "finished after 2 rounds" in complaint(capsys, "resume", copy.id)


def test_compare_prints_a_table_and_writes_it(capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert main(["compare", "--methods", "fedit,flexlora,ilora:official", *SMALL, "--rounds", "1", "--csv", str(path)]) == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["mode"]) for row in rows] == [("fedit", ""), ("flexlora", ""), ("ilora", "official")]
    assert all(float(row["MB up"]) > 0 and 0 <= float(row["accuracy"]) <= 1 for row in rows)
    assert "aggregation error" in capsys.readouterr().out
    assert len({run.group for run in store.runs()}) == 1
    facts = [store.facts(run.id) for run in store.runs()]
    assert all(fact is not None and facts[0] is not None and list(fact.samples) == list(facts[0].samples) for fact in facts)


def test_a_run_that_fails_ends_with_one_line_and_code_1(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    run_id = store_run(store, Experiment(ranks=(2, 4), rounds=2), done=1, status="stopped")
    store.state_file(run_id, 1).unlink()
    assert main(["resume", run_id]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if run_id in line and "failed" in line]
    assert len(lines) == 1
    assert "state-0001.safetensors" in lines[0]


def test_ctrl_c_stops_at_the_last_finished_round_and_resume_goes_on(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    command = [sys.executable, "-m", "ilora", "run", *SMALL, "--method", "fedit", "--rounds", "80"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background jobs ignore it
    )
    until = time.monotonic() + 120
    while not (store.runs() and store.runs()[0].done) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    (run,) = store.runs()
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last == f"{run.id} is stopped after round {run.done} of 80; python -m ilora resume {run.id} goes on."
    assert (run.status, 1 <= run.done < 80) == ("stopped", True)

    assert main(["step", run.id]) == 0
    assert (store.run(run.id).status, store.run(run.id).done) == ("paused", run.done + 1)
    assert main(["resume", run.id]) == 0
    assert (store.run(run.id).status, store.run(run.id).done) == ("finished", 80)


def test_the_app_can_stop_a_run_of_the_command_line(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    def stop_soon() -> None:
        while not (store.runs() and store.runs()[0].done):
            time.sleep(0.01)
        main(["stop", store.runs()[0].id])

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    assert main(["run", *SMALL, "--method", "fedit", "--rounds", "1000"]) == 1
    stopper.join()
    assert store.runs()[0].status == "stopped"
    assert "resume" in capsys.readouterr().err


def test_the_adapter_of_a_run_is_one_that_peft_loads(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--rounds", "1", *SMALL]) == 0
    run_id = store.runs()[0].id
    assert main(["adapter", run_id, str(tmp_path / "adapter"), "--rank", "2"]) == 0
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size > 1_000
    capsys.readouterr()
    waiting = store.add(Experiment())
    assert "no finished round" in complaint(capsys, "adapter", waiting, str(tmp_path / "none"))
    assert "rank is 9; allowed" in complaint(capsys, "adapter", run_id, str(tmp_path / "none"), "--rank", "9")
    (tmp_path / "file").touch()
    assert "folder is" in complaint(capsys, "adapter", run_id, str(tmp_path / "file"))
