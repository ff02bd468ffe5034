"""Upper bounds of everything a file may declare, so that no number in it can exhaust the reader."""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 1 << 31
"""A whole file."""

MAX_INDEX_BYTES: Final = 4 << 20
"""The sealed index, as JSON text."""

MAX_JSON_DEPTH: Final = 16
"""Nested brackets in the index, counted before it is parsed."""

MAX_JSON_VALUES: Final = 1 << 18
"""Values in the index, counted before it is parsed."""

MAX_METADATA_BYTES: Final = 1 << 20
"""The metadata alone, as JSON text."""

MAX_METADATA_DEPTH: Final = 12
"""Nested lists and mappings in the metadata; the index adds less than the difference."""

MAX_METADATA_VALUES: Final = 1 << 16
"""Values and keys in the metadata."""

MAX_LAYERS: Final = 2048

MAX_INBOUNDS: Final = 256
"""Inputs of one concatenation."""

MAX_NAME_LENGTH: Final = 128

MAX_SIDE: Final = 1 << 16
"""Width or height of a map, a kernel, a stride or a pooling window."""

MAX_FEATURES: Final = 1 << 20
"""Channels or neurons of one layer."""

MAX_MAP_VALUES: Final = 1 << 28
"""width * height * features of one map, before or after pooling."""

MAX_TOTAL_VALUES: Final = 1 << 30
"""All maps of a network together: what an inference may have to hold."""

MAX_PARTIAL: Final = 1 << 62
"""Largest sum, in absolute value; beyond it 64-bit integers would be in reach of overflow."""

MIN_TIME_STEP: Final = 1e-12
MAX_TIME_STEP: Final = 1e9
"""Seconds per step of a network over time; filters stay finite in between."""

INT32_MIN: Final = -(1 << 31)
INT32_MAX: Final = (1 << 31) - 1
