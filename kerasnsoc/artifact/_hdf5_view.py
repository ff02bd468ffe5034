"""What libhdf5 sees in a file, as JSON: the program of the child process behind `verify`.

It gets the file on its standard input and the allowed memory as its argument. It imports nothing of
the package, since it may crash or hang on hostile bytes; the parent believes nothing that it says
without comparing. Its answer is either ``{"datasets": {...}}`` or ``{"refused": text}``.
"""

import hashlib
import json
import sys
from typing import Any

MAX_TEXT = 2000


def limit_resources(memory: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system; the parent's timeout remains
        return
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    try:
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = taken + memory
    except OSError:  # Linux only; elsewhere the limit has no effect anyway
        pass
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))


def dataset_view(file: Any, name: bytes, start: int) -> list[Any]:
    """dtype, shape, offset and digest of one dataset; refuses whatever is not a plain one.

    HDF5 counts offsets from the beginning of the file, the answer counts from `start`.
    """
    import h5py
    from h5py import h5d, h5l, h5o

    # the class of the link comes first: opening the object would already follow it
    if file.links.get_info(name).type != h5l.TYPE_HARD:
        raise ValueError(f"{name!r} is a link to elsewhere")
    if h5o.get_info(file, name).type != h5o.TYPE_DATASET:
        raise ValueError(f"{name!r} is no dataset")
    dataset = h5d.open(file, name)
    creation = dataset.get_create_plist()
    if creation.get_external_count():
        raise ValueError(f"{name!r} keeps its values in another file")
    if creation.get_layout() != h5d.CONTIGUOUS or creation.get_nfilters():
        raise ValueError(f"{name!r} is not stored contiguously")
    if dataset.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise ValueError(f"{name!r} holds no numbers")
    if h5py.h5a.get_num_attrs(dataset):
        raise ValueError(f"{name!r} has attributes")
    values = h5py.Dataset(dataset)
    array = values[()]
    shape = [int(side) for side in values.shape]
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return [values.dtype.str, shape, dataset.get_offset() - start, digest]


def view(data: bytes) -> dict[str, list[Any]]:
    import h5py
    from h5py import h5f, h5p, h5pl

    while h5pl.size():  # filter plugins are code
        h5pl.remove(0)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 16, False)
    access.set_file_image(data)
    file = h5f.open(b"artifact", h5f.ACC_RDONLY, fapl=access)
    root = h5py.h5g.open(file, b"/")
    if h5py.h5a.get_num_attrs(root):
        raise ValueError("the root group has attributes")
    start = file.get_create_plist().get_userblock()
    names = [root.get_objname_by_idx(number) for number in range(root.get_num_objs())]
    return {name.decode("ascii"): dataset_view(root, name, start) for name in names}


def main() -> None:
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    data = sys.stdin.buffer.read()
    import h5py  # noqa: F401  the limits are counted from here on

    limit_resources(memory, seconds)
    try:
        answer: dict[str, Any] = {"datasets": view(data)}
    except Exception as error:
        answer = {"refused": f"{type(error).__name__}: {error}"[:MAX_TEXT]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
