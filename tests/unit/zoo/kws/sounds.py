"""Small recordings for tests."""

import wave

import numpy as np

RATE = 8000


def write_wav(path, samples, rate=RATE, channels=1, width=2):
    """Samples of -1 to 1 as 16-bit PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.rint(np.asarray(samples) * 32767).astype("<i2").tobytes())


def tone(hertz, seconds=0.5, rate=RATE, volume=0.5):
    return volume * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
