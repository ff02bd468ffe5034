"""Networks for devices without Python: an artifact as portable C99."""

from kerasnsoc.embedded.export import CExport, export_c

__all__ = ["CExport", "export_c"]
