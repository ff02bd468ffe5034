"""What the commands share: reading, printing, notes, errors in one line."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasnsoc._quiet import import_keras
from kerasnsoc._tables import printable

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt

    from kerasnsoc.runtime import Model

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL.keras", help="A Keras model, .keras or .h5.")
]
Network = Annotated[Path, typer.Argument(metavar="NET.h5", help="An artifact.")]

_HDF5 = b"\x89HDF\r\n\x1a\n"
"""How HDF5 begins; in an artifact it stands behind the head of 512 bytes."""


@dataclass(frozen=True)
class Tools:
    """The readers of the command.

    Attributes
    ----------
    open_batch : callable
        ``(artifact, inputs) -> (Model, array)``, for batches and recordings.
    read_labels : callable
        ``(path, samples) -> array``, one integer for each sample.
    """

    open_batch: Callable[[Path, Path], tuple[Model, npt.NDArray[Any]]]
    read_labels: Callable[[Path, int], npt.NDArray[Any]]


def print_json(content: Any) -> None:
    """Write JSON for other programs."""
    typer.echo(json.dumps(content, indent=2))


def require_other(output: Path, *read: Path | None) -> None:
    """Refuse to overwrite what a command reads."""
    for path in read:
        if path is not None and output.resolve() == path.resolve():
            raise typer.BadParameter(f"the output is {str(output)!r}, which this command reads")


@contextmanager
def one_line_errors(hint: str = "") -> Iterator[None]:
    """Errors about models, which are of several kinds, as the kind that the command expects."""
    try:
        yield
    except (AttributeError, RuntimeError, TypeError) as error:
        if not str(error) or isinstance(error, NotImplementedError | RecursionError):
            raise
        raise ValueError(f"{error}{hint}") from error


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect warnings as notes, shown on standard error at the end."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield notes
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            notes.append(str(warning.message))
            typer.echo(f"note: {printable(' '.join(notes[-1].split()))}", err=True)


def load_keras_model(path: Path) -> keras.Model:
    """A Keras model from a file, without its optimizer."""
    import_keras()
    from kerasnsoc.quantization import load_quantized_model

    try:
        return load_quantized_model(path, compile=False)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error


def is_keras_model(path: Path) -> bool:
    """Whether Keras wrote it: by its name, as a folder, or as HDF5 without an artifact's head."""
    if path.suffix == ".keras" or path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return False  # whoever opens it says what is wrong


def save_keras_model(model: keras.Model, path: Path) -> None:
    """Write a ``.keras`` file at once or not at all."""
    from kerasnsoc.artifact.atomic import write_atomically

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        write_atomically(str(path), file.read_bytes())


def require_keras_suffix(path: Path) -> None:
    """Refuse an output whose name Keras would not read again."""
    if path.suffix != ".keras":
        raise typer.BadParameter(f"the output is {str(path)!r}, but its name must end with .keras")
