"""Ages of faces."""

from kerasnsoc.zoo.utk_face.preprocessing import load_data

__all__ = ["load_data"]
