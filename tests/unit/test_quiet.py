"""What native code prints goes to a file; what Python code prints stays on standard error."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, sys
from pathlib import Path
from kerasnsoc._quiet import native_messages_to

with native_messages_to(Path(sys.argv[1])):
    os.write(2, b"native\\n")
    print("inside", file=sys.stderr)
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.warning("logged inside")
logging.warning("logged behind")
os.write(2, b"native behind\\n")
"""


def test_a_logger_made_inside_goes_on_behind(tmp_path):
    log = tmp_path / "native.log"
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, str(log)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert log.read_text() == "native\n"
    assert run.stderr.split("\n") == [
        *("inside", "logged inside", "logged behind", "native behind", "")
    ]


@pytest.mark.keras
def test_a_command_keeps_warnings_of_tensorflow_to_itself():
    pytest.importorskip("tensorflow")
    program = """
import logging
from kerasnsoc._quiet import import_keras
import_keras()
logging.getLogger("tensorflow").warning("retracing")
logging.getLogger("tensorflow").error("broken")
"""
    arguments = [sys.executable, "-c", program]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=True)
    assert "Logging error" not in run.stderr
    assert "retracing" not in run.stderr
    assert "broken" in run.stderr
