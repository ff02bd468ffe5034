"""A wheel holds the package, its stubs, data and licences, and nothing else.

Run in the source tree that the wheel was built from: ``python .ci/check_wheel.py WHEEL``.
"""

import sys
import zipfile
from pathlib import Path

PACKAGES = ("kerasnsoc", "kerasnsoc_ext")
DATA = (
    "kerasnsoc/py.typed",
    "kerasnsoc_ext/py.typed",
    "kerasnsoc/reports/page.html",
    "kerasnsoc/zoo/registry.json",
)
# every file of these belongs into the wheel
FOLDERS = (
    "kerasnsoc/demo",
    "kerasnsoc/nsoc",
    "kerasnsoc/zoo/imagenet",
    "kerasnsoc/zoo/weights",
)
DIST_INFO = {
    "METADATA",
    "RECORD",
    "WHEEL",
    "entry_points.txt",
    "licenses/LICENSE",
    "licenses/NOTICE",
    "top_level.txt",
}


def main(wheel: str) -> int:
    expected = {
        str(path)
        for package in PACKAGES
        for pattern in ("*.py", "*.pyi")
        for path in Path(package).rglob(pattern)
    }
    expected |= {*DATA, *(str(path) for folder in FOLDERS for path in Path(folder).glob("*.*"))}
    expected |= {str(path) for path in Path("kerasnsoc/embedded/engine").iterdir()}
    modules = {path.stem for path in Path("kerasnsoc_ext").glob("*.pyx")}
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
    problems = []
    for name in sorted(found - expected):
        folder, _, rest = name.partition("/")
        is_extension = folder == "kerasnsoc_ext" and rest.endswith((".so", ".pyd"))
        if is_extension and rest.partition(".")[0] in modules:
            modules.discard(rest.partition(".")[0])
        elif not (folder.endswith(".dist-info") and rest in DIST_INFO):
            problems.append(f"{name} does not belong into the wheel")
    problems += [f"{name} is missing" for name in sorted(expected - found)]
    problems += [f"the compiled module kerasnsoc_ext.{name} is missing" for name in sorted(modules)]
    info = {name.partition("/")[2] for name in found if ".dist-info/" in name}
    problems += [f"dist-info/{name} is missing" for name in sorted(DIST_INFO - info)]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{Path(wheel).name}: {len(found)} files, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
