"""Configuration: flags win over the environment over the file over the defaults, and whoever asks is told which it
was. Errors name line and key (PROTOCOL.md section 11; docs/CONFIGURATION.md)."""

import json
import os
import subprocess

import pytest

from harness import BINARY, ROOT


def run(*arguments, status=0, **environment):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("STENTOR")}
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30,
                          env={**bare, **environment})
    assert done.returncode == status, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    return done


def shown(*arguments, **environment):
    lines = run("config", "show", *arguments, **environment).stdout.splitlines()
    return {row["key"]: (row["value"], row["source"]) for row in map(json.loads, lines)}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "stentor.toml"
    file.write_text('drain = "3s"\nlisten = "127.0.0.1:7001"\nlog = "warn"\n\n[retention]\nmax_age = "7d"\n')
    return file


def test_each_value_is_shown_with_the_layer_that_won(file):
    keys = shown("--config", file, "--listen", "127.0.0.1:7003", STENTOR_LISTEN="127.0.0.1:7002", STENTOR_LOG="debug")
    assert keys["listen"] == ("127.0.0.1:7003", "--listen")
    assert keys["log"] == ("debug", "STENTOR_LOG")
    assert keys["drain"] == ("3s", f"{file} line 1")
    assert keys["retention.max_age"] == ("7d", f"{file} line 6")
    assert keys["insecure"] == ("false", "default")
    assert keys["retention.max_bytes"] == (None, "default")


def test_every_fault_is_told_at_once_with_its_line_and_key_and_status_2(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('drain = "soon"\ncolour = 1\n[limits]\nmax_event_size = "9GiB"\n')
    for command in (["config", "check"], ["config", "show"], ["serve"], []):
        told = run(*command, "--config", file, status=2, STENTOR_LISTEN="nowhere").stderr
        for part in ("line 1: drain", "line 2: colour", "line 4: limits.max_event_size", "STENTOR_LISTEN: listen"):
            assert part in told, f"{command}: {part} in {told}"


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('drain = "3s"\nlog = \n')
    assert "line 2" in run("config", "check", "--config", file, status=2).stderr
    assert "nothing.toml" in run("config", "check", "--config", tmp_path / "nothing.toml", status=2).stderr


def test_a_name_in_the_environment_that_is_no_key_is_noticed(file):
    done = run("config", "check", "--config", file, STENTOR_DRIAN="4s")
    assert json.loads(done.stdout) == {"valid": True, "keys_set": 4} and "STENTOR_DRIAN" in done.stderr


def test_what_holds_between_keys_is_checked():
    assert "listen" in run("config", "check", "--listen", "0.0.0.0:7836", status=2).stderr
    run("config", "check", "--listen", "0.0.0.0:7836", "--insecure")


def test_the_usual_places_are_respected(file, tmp_path):
    assert shown(STATE_DIRECTORY="/var/lib/stentor:/var/lib/more")["data"] == ("/var/lib/stentor", "STATE_DIRECTORY")
    assert shown(STATE_DIRECTORY="/var/lib/stentor", STENTOR_DATA="here")["data"] == ("here", "STENTOR_DATA")
    (tmp_path / "stentor").mkdir()
    unit, user = tmp_path / "stentor.toml", tmp_path / "stentor" / "stentor.toml"
    user.write_text('drain = "8s"\n')
    assert unit == file
    both = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nonexistent"}
    assert shown(**both)["drain"] == ("8s", f"{user} line 1")
    assert shown(**both, CONFIGURATION_DIRECTORY=str(tmp_path))["drain"] == ("3s", f"{unit} line 1")


def test_every_key_is_documented_with_its_default():
    page = (ROOT / "docs" / "CONFIGURATION.md").read_text()
    rows = dict(line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `"))
    documented = {key.strip(" `"): default.strip(" `") for key, default in rows.items()}
    keys = shown(HOME="/nonexistent")
    assert set(documented) == set(keys)
    for key, (default, source) in keys.items():
        assert source == "default"
        assert default in (None, documented[key]), f"{key}: {default} is documented as {documented[key]}"
