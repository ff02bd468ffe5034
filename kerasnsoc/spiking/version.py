"""The version of the package in the form that spiking code asks for."""

from __future__ import annotations

from kerasnsoc._version import __version__

_release, _, _dev = __version__.partition(".dev")

version_info: tuple[str, ...] = tuple(_release.split("."))
"""Text, so that ``".".join(version_info)`` is the release."""

dev: int | None = int(_dev) if _dev else None
version: str = ".".join(version_info) + ("" if dev is None else f".dev{dev}")
