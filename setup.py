"""Extension modules and their build switches; everything else is in pyproject.toml.

``KERASNSOC_DEBUG=1`` builds the checked variant: bounds and overflow checks in Cython, checks in
the C kernels, debug symbols, annotated HTML.
"""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("KERASNSOC_DEBUG") == "1"
CFLAGS = os.environ.get("CFLAGS", "")
ROOT = Path(__file__).parent
# the C of each extension module
C_FOLDERS = {
    "_plan": "kernels",
    "_learning": "learning",
    "_emulator": "emulator",
    "_neurons": "neurons",
}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "overflowcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
}

# File times do not tell that only a switch has changed since the last build; this file does.
VARIANT = f"debug={DEBUG} cflags={CFLAGS}"
VARIANT_FILE = ROOT / "build" / "variant.txt"
SWITCHED = not VARIANT_FILE.exists() or VARIANT_FILE.read_text() != VARIANT


class BuildExtensions(build_ext):
    """Builds anew after a switch has changed."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = self.force or SWITCHED

    def run(self) -> None:
        super().run()
        VARIANT_FILE.parent.mkdir(exist_ok=True)
        VARIANT_FILE.write_text(VARIANT)


def extension(pyx: Path) -> Extension:
    if sys.platform == "win32":
        flags = ["/O2", "/std:c11"]
    else:
        flags = ["-std=c11", *(["-O1", "-g"] if DEBUG else ["-O3", "-g0"])]
    folder = pyx.parent / C_FOLDERS[pyx.stem]
    sources = [pyx, *sorted(folder.glob("*.c"))]
    return Extension(
        f"kerasnsoc_ext.{pyx.stem}",
        [str(source.relative_to(ROOT)) for source in sources],
        include_dirs=[str(folder.relative_to(ROOT)), numpy.get_include()],
        depends=[str(h.relative_to(ROOT)) for h in folder.glob("*.h")],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            *([("KNSOC_CHECKED", "1")] if DEBUG else []),
        ],
        # A user's CFLAGS (sanitizers, -O1) come after ours, so that they win.
        extra_compile_args=[*flags, *CFLAGS.split()],
    )


setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=cythonize(
        [extension(pyx) for pyx in sorted((ROOT / "kerasnsoc_ext").glob("*.pyx"))],
        compiler_directives=DIRECTIVES,
        annotate=DEBUG,
        force=SWITCHED,
    ),
)
