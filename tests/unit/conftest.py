"""What tests of commands share."""

import pytest


@pytest.fixture
def invoke():
    """Runs a command in this process and holds its exit code against `status`."""
    from typer.testing import CliRunner

    from kerasnsoc import cli

    runner = CliRunner()

    def run(*arguments, status=0):
        result = runner.invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result

    return run
