"""The command line has every command and flag of PROTOCOL.md section 11, and its completions know them."""

import os
import subprocess

import pytest

from harness import BINARY, stentor

COMMANDS = {
    "serve": ["--data", "--listen", "--config"],
    "publish": ["CHANNEL", "DATA", "--id", "--key", "--header", "--ndjson"],
    "subscribe": ["PATTERN", "--as", "--from", "--count", "--exec"],
    "read": ["PATTERN", "--from", "--to", "--limit"],
    "subscriber ls": [], "subscriber show": ["NAME"], "subscriber seek": ["NAME", "TO"],
    "subscriber wait": ["NAME", "OFFSET", "--timeout"], "subscriber rm": ["NAME"],
    "connector add": ["NAME", "--url", "PATTERN", "--header", "--format"],
    "connector ls": [], "connector show": ["NAME"], "connector pause": ["NAME"], "connector resume": ["NAME"],
    "connector seek": ["NAME", "TO"], "connector rm": ["NAME"],
    "connector test": ["NAME"], "connector attempts": ["NAME"], "connector replay": ["NAME", "--from", "--to"],
    "connector rotate-secret": ["NAME"],
    "dead-letter ls": [], "dead-letter retry": [],
    "receipts": ["--offset", "--subscriber", "--channel"],
    "export": ["--out", "--data", "PATTERN", "--from", "--to"],
    "verify": ["PATH"],
    "repair": ["DATA", "--from"],
    "status": [], "top": ["--count"],
    "bench publish": ["--count", "--seconds"], "bench fanout": ["--count", "--seconds"],
    "bench replay": ["--count", "--seconds"], "bench connector": ["--count", "--seconds"],
    "demo": [],
    "config check": [], "config show": [],
    "completions": ["SHELL"],
}
ALONE = {"serve", "verify", "repair", "demo", "config check", "config show", "completions"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_takes_what_the_contract_says(command):
    shown = stentor(*command.split(), "--help").stdout
    for word in COMMANDS[command]:
        assert word in shown, f"{command}: {word} in {shown}"
    # Whatever talks to a broker is told where it is; connector add has its endpoint under --url.
    broker = [] if command in ALONE else ["STENTOR_URL", "--token", "STENTOR_TOKEN", "--output"]
    for word in broker:
        assert word in shown, f"{command}: {word} in {shown}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_there_are_completions_for_every_shell(shell):
    script = stentor("completions", shell).stdout
    for word in ("subscriber", "connector", "completions"):
        assert word in script


def test_bash_completes_with_them(tmp_path):
    script = tmp_path / "stentor.bash"
    script.write_text(stentor("completions", "bash").stdout)
    ask = f"source {script}; COMP_WORDS=(stentor subscriber s); COMP_CWORD=2; _stentor stentor s subscriber; " \
          'printf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=10)
    assert sorted(found.stdout.split()) == ["seek", "show"], found


def test_a_reader_that_has_had_enough_is_no_fault_to_tell(broker):
    for _ in range(3):
        stentor("publish", "--ndjson", "-", url=broker.url,
                input="".join('{"channel":"a","data":"' + "x" * 900 + '"}\n' for _ in range(1000)))
    reading = f'"{BINARY}" read | head -1'
    done = subprocess.run(["sh", "-c", reading], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "STENTOR_URL": broker.url})
    assert done.stdout.startswith('{"') and done.stderr == "", done
