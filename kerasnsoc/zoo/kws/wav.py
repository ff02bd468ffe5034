"""Reading of sound files with the standard library alone."""

from __future__ import annotations

import io
import os
import wave
from typing import BinaryIO

import numpy as np
import numpy.typing as npt


def read_wav(
    file: str | os.PathLike[str] | bytes | BinaryIO,
    sample_rate: int | None = None,
    max_samples: int | None = None,
) -> tuple[npt.NDArray[np.float32], int]:
    """Samples of a .wav file of 16 bits and one channel.

    Parameters
    ----------
    file : path, bytes or binary file
        Bytes are the file's content.
    sample_rate : int, optional
        What the file must have, in hertz.
    max_samples : int, optional
        Read no more than these.

    Returns
    -------
    samples : ndarray of float32, shape (samples,)
        Of -1 to below 1.
    sample_rate : int

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, or has another sample rate: features would silently be wrong.
    """
    name = repr(os.fspath(file)) if isinstance(file, str | os.PathLike) else "the sound"
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with wave.open(os.fspath(source) if isinstance(source, os.PathLike) else source) as sound:
            channels, width = sound.getnchannels(), sound.getsampwidth()
            rate, count = sound.getframerate(), sound.getnframes()
            if (channels, width) != (1, 2):
                raise ValueError(
                    f"{name} has {channels} channels of {8 * width} bits, but one channel of 16 "
                    "bits is needed. Convert it with any sound editor."
                )
            if sample_rate is not None and rate != sample_rate:
                raise ValueError(
                    f"{name} has {rate} samples per second, but {sample_rate} are needed. Resample "
                    "it first."
                )
            data = sound.readframes(count if max_samples is None else min(count, max_samples))
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk ends too early
        raise ValueError(
            f"{name} is no .wav file of 16-bit PCM: {str(error) or 'it ends too early'}"
        ) from None
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / np.float32(32768)
    return samples.astype(np.float32), rate
