"""Commands on Keras models and on artifacts, each one call of public Python."""

from kerasnsoc.commands.registration import register
from kerasnsoc.commands.tools import Tools

__all__ = ["Tools", "register"]
