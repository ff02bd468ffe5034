"""Commands on Keras models and on artifacts, each one call of public Python."""

from kerasnsoc.commands.keras_models import advise
from kerasnsoc.commands.registration import register
from kerasnsoc.commands.tools import Tools, is_keras_model, require_other

__all__ = ["Tools", "advise", "is_keras_model", "register", "require_other"]
