"""Adds the commands of this room to the `kerasnsoc` command."""

from __future__ import annotations

import typer

from kerasnsoc.commands import keras_models, networks
from kerasnsoc.commands.tools import Tools


def register(app: typer.Typer, tools: Tools) -> None:
    """Add all commands.

    Parameters
    ----------
    app : typer.Typer
    tools : Tools
        How the command reads its inputs.
    """
    keras_models.register(app, tools)
    networks.register(app, tools)
