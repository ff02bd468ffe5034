"""The `kerasnsoc` command: each subcommand is a thin layer over public Python.

Exit codes: 0 success, 1 a file, an input or the installation is bad, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zipfile import is_zipfile

import typer
from typer.core import TyperGroup

from kerasnsoc._quiet import import_keras
from kerasnsoc._tables import printable, render
from kerasnsoc.commands import Tools, advise, is_keras_model, register, require_other
from kerasnsoc.commands.cluster import Workers, run_on_cluster
from kerasnsoc.zoo.commands import register as register_zoo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kerasnsoc.artifact import NetworkSpec
    from kerasnsoc.distributed.worker import Method
    from kerasnsoc.runtime import Model

# Room by room, imports happen inside the commands: `--help` answers at once, and everything but
# `demo` works without Keras and TensorFlow.

_EXPECTED_ERRORS = (ImportError, MemoryError, OSError, OverflowError, ValueError)
_KERNEL = ("layer", "kernel", "form")
_PREVIEW = 20
_RANDOM_SAMPLES = 10
_EXTRAS = {
    "train": ("keras", "tensorflow"),
    "plot": ("matplotlib",),
    "report": ("pandas", "tqdm", "jinja2"),
    "nsoc": ("scipy",),
    "nir": ("nir",),
    "yaml": ("yaml",),
    "events": ("aedat",),
    "images": ("PIL",),
    "jax": ("jax",),
    "distributed": ("ray",),
}
"""Modules of the extras that users install, in the order in which they are likely to."""
_DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "yaml": ("pyyaml",),
    "PIL": ("pillow",),
}
"""Packages that bring a module, where they bear another name."""


class _Commands(TyperGroup):
    """Turns expected errors into one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe went away; the library ends quietly
        except _EXPECTED_ERRORS as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"kerasnsoc: {_one_line(error)}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="kerasnsoc",
    cls=_Commands,
    help="Inspect, check, run and price networks frozen by kerasnsoc.",
    epilog="Exit codes: 0 success, 1 bad file, input or installation, 2 wrong usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="An artifact, such as net.h5.")]
Inputs = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="An .npy of integers, images (n, h, w, channels) or events (n, w, h, channels); or "
        "a recording of events: .aedat, .bin (N-MNIST) or an .npy with fields t, x, y, p. For a "
        "network over time sequences (n, steps, h, w, channels) or (n, steps, features).",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Show each image (n, h, w, channels) for N steps to a network over time.",
    ),
]
ChipFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An artifact, what NSoCNetwork.save wrote (.json, .npz), or a Keras model (.keras).",
    ),
]
DeviceFile = Annotated[
    Path | None,
    typer.Option("--device-file", metavar="CHIP.json", help="A chip of one's own, as JSON."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def main() -> None:
    """Entry point of the command."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without the letter µ must not turn a result into an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from kerasnsoc import __version__

        typer.echo(f"kerasnsoc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; before the command.")
    ] = False,
) -> None:
    pass


@app.command()
def info(
    file: File,
    kernels: Annotated[
        bool,
        typer.Option("--kernels", help="Also what runs each layer here; packs the weights for it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show layers, shapes, bits, bytes, scaling."""
    from kerasnsoc.artifact import content_digest, load

    spec = load(file)
    content = _describe(spec)
    content = {
        "file": str(file),
        "file_bytes": file.stat().st_size,
        "content_digest": content_digest(spec),
        **content,
    }
    if kernels:
        from kerasnsoc.runtime import Model

        found = Model.from_spec(spec).kernels
        content["kernels"] = [dict(zip(_KERNEL, entry, strict=True)) for entry in found]
    if as_json:
        _print_json(content)
        return
    height, width, channels = content["input"]["shape_hwc"]
    typer.echo(f"file: {printable(str(file))} ({content['file_bytes']:,} bytes)")
    typer.echo(f"content: sha256 {content['content_digest']}")
    typer.echo(
        f"input: {content['input']['kind']}, {height} x {width} x {channels} "
        f"(height, width, channels), {content['input']['bits']} bits; "
        f"integer = {content['input']['scale']:g} * Keras value + {content['input']['shift']}"
    )
    if "time_step" in content:
        typer.echo(f"time: steps of {content['time_step']:g} s")
    shapes, figures = [], []
    for layer in content["layers"]:
        weights, activation = layer["weights_bits"], layer["activation_bits"]
        sent_on = "potentials" if activation is None else str(activation)
        if "neuron" in layer:
            sent_on = f"spikes ({layer['neuron']['rule']})"
        elif layer["type"] == "Pooling":
            sent_on = "spikes"
        elif layer["type"] == "Filter":
            sent_on = "real values"
        shapes.append(
            [
                layer["name"],
                layer["type"],
                ", ".join(layer["inbounds"]) or "-",
                " x ".join(map(str, layer["output_dims_whc"])),
            ]
        )
        figures.append(
            [
                layer["name"],
                "-" if weights is None else str(weights),
                sent_on,
                f"{layer['bytes']:,}",
            ]
        )
    # two tables, since one is wider than a terminal
    typer.echo(f"\n{render(['layer', 'type', 'from', 'output (w x h x f)'], shapes)}")
    typer.echo(f"\n{render(['layer', 'weight bits', 'output bits', 'bytes'], figures)}")
    if kernels:
        entries = [list(entry.values()) for entry in content["kernels"]]
        typer.echo(f"\n{render(_KERNEL, entries)}")
    typer.echo(f"\narrays: {content['array_bytes']:,} bytes")
    # JSON text keeps a stranger's control characters escaped.
    typer.echo(f"metadata: {json.dumps(content['metadata'], sort_keys=True)}")


@app.command()
def run(
    file: File,
    inputs: Inputs,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.npy",
            help="Write the classes (or the potentials) here.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="L.npy", help="True classes, to report the accuracy.")
    ] = None,
    potentials: Annotated[
        bool, typer.Option("--potentials", help="Give the last layer's integers, (n, w, h, f).")
    ] = False,
    packet_us: Annotated[
        int | None,
        typer.Option(min=1, metavar="T", help="Cut a recording into samples of T microseconds."),
    ] = None,
    packet_events: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cut a recording every N events.")
    ] = None,
    steps: Steps = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Run a batch; show classes and activity."""
    if potentials and output is None and not as_json:
        raise typer.BadParameter("--potentials needs --output OUT.npy or --json to go to")
    if packet_us is not None and packet_events is not None:
        raise typer.BadParameter("--packet-us and --packet-events exclude each other")
    if output is not None:
        require_other(output, file, inputs, labels)
    model, batch = _open(file, inputs, packet_us, packet_events, steps)
    expected = None if labels is None else _read_labels(labels, len(batch))
    values = None
    if workers is None:
        classes = model.predict(batch)
        layers = _layer_rows(model.get_statistics())  # now: what follows counts the batch again
        values = model.forward(batch) if potentials else None
    else:
        methods: tuple[Method, ...] = ("predict", "forward") if potentials else ("predict",)
        first, *others = run_on_cluster(model, batch, workers, *methods)
        classes, layers = first.outputs, _layer_rows(first.statistics)
        values = others[0].outputs if others else None
    content: dict[str, Any] = {"samples": len(batch), "classes": classes.tolist()}
    if expected is not None:
        correct = int((classes == expected).sum())
        content |= {"correct": correct, "accuracy": correct / len(batch)}
    if values is not None:
        content["potentials"] = values.tolist() if output is None else None
    if output is not None:
        _write(output, classes if values is None else values)
        content["output"] = str(output)
    content["layers"] = layers
    if as_json:
        _print_json(content)
        return
    shown = " ".join(map(str, content["classes"][:_PREVIEW]))
    more = f" ... ({len(batch) - _PREVIEW:,} more)" if len(batch) > _PREVIEW else ""
    typer.echo(f"classes: {shown}{more}")
    if expected is not None:
        correct = content["correct"]
        typer.echo(f"accuracy: {content['accuracy']:.2%} ({correct:,} of {len(batch):,})")
    if output is not None:
        typer.echo(f"written: {printable(str(output))}")
    typer.echo(_activity_table(layers, len(batch)))


@app.command()
def energy(
    file: File,
    inputs: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="As for `run`. Without it random samples run."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="A device of the energy table, or 'all'.")
    ] = "all",
    steps: Steps = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Run a batch and price what was counted."""
    from kerasnsoc.energy import compare_devices, energy_of_run, get_device
    from kerasnsoc.runtime import Model, random_inputs

    # Before the run: a misspelt name should not cost a minute.
    priced_on = None if device.strip().lower() == "all" else get_device(device)
    if inputs is None:
        model = Model(file)
        _require_time(file, model, steps)
        batch: npt.NDArray[Any] = random_inputs(model, _RANDOM_SAMPLES, steps=steps or 10)
        typer.echo(
            f"note: {_RANDOM_SAMPLES} random samples, whose events are not those of real ones; "
            f"give an INPUT.npy to know the energy",
            err=True,
        )
    else:
        model, batch = _open(file, inputs, steps=steps)
    counted: Any = model
    if workers is None:
        model.forward(batch)
    else:
        counted = run_on_cluster(model, batch, workers, "forward")[0].statistics
    result = compare_devices(counted) if priced_on is None else energy_of_run(counted, priced_on)
    typer.echo(result.to_json() if as_json else str(result))


@app.command()
def emulate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="An artifact, what NSoCNetwork.save wrote, or a .keras model."
        ),
    ],
    inputs: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="An .npy of integers (n, h, w, channels), for an artifact of events "
            "(n, w, h, channels); or a recording of events.",
        ),
    ],
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chip; default akd1000 or speck2fmodule."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="timing|functional", help="With time, or only what comes out.")
    ] = "timing",
    period_us: Annotated[
        float, typer.Option(min=0.0, metavar="T", help="Microseconds between two frames.")
    ] = 1000.0,
    packet_us: Annotated[
        int | None,
        typer.Option(min=1, metavar="T", help="Cut a recording into packets of T microseconds."),
    ] = None,
    slow_clock: Annotated[
        float | None, typer.Option(metavar="HZ", help="Frequency of leak ticks.")
    ] = None,
    multipass: Annotated[
        bool, typer.Option("--multipass", help="Run in several passes if the mesh is small.")
    ] = False,
    queue_policy: Annotated[
        str | None,
        typer.Option(metavar="block|stall|drop", help="At a full queue; default as the chip says."),
    ] = None,
    queue_capacity: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Events that may wait at a core.")
    ] = None,
    device_file: DeviceFile = None,
    as_json: AsJson = False,
) -> None:
    """Run events through an emulated chip."""
    import warnings

    from kerasnsoc.nsoc.emulator import NSoCEmulator
    from kerasnsoc.nsoc.emulator_files import (
        frames_as_input,
        open_network,
        read_chip_events,
        recording_as_input,
    )
    from kerasnsoc.nsoc.emulator_warnings import BandwidthWarning, SaturationWarning

    own = _registered(device_file)
    _quieten(file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = open_network(file, device or own, slow_clock, multipass)
    notes = [str(warning.message) for warning in caught]
    recording = read_chip_events(inputs)
    if recording is None:
        recording = _read_recording(inputs)
    ends = None
    given: Any
    if recording is not None:
        given, ends = recording_as_input(config, recording, packet_us)
    elif packet_us is not None:
        raise ValueError(f"{inputs} is a batch; --packet-us cuts recordings")
    else:
        given = frames_as_input(config, _read_array(inputs), period_us)
    with warnings.catch_warnings():
        for category in (BandwidthWarning, SaturationWarning):  # shown below, with the table
            warnings.simplefilter("ignore", category)
        emulator = NSoCEmulator(
            config,
            engine=engine,  # type: ignore[arg-type]
            queue_policy=queue_policy,  # type: ignore[arg-type]
            queue_capacity=queue_capacity,
        )
        result = emulator.run(given, packet_ends=ends)
    result.warnings[:0] = notes
    if as_json:
        content = result.to_dict()
        if engine == "timing":
            content["energy"] = result.energy.to_dict()
        _print_json(content)
        return
    columns = ["layer", "core", "events in", "spikes out", "synaptic ops", "busy", "queue", "drops"]
    rows = [
        [
            record["name"],
            str(record["core"]),
            f"{record['events_in']:,}",
            f"{record['spikes_out']:,}",
            f"{record['synops']:,}",
            f"{load:.1%}",
            f"{record['queue_max']:,}",
            f"{record['drops']:,}",
        ]
        for record, load in zip(result.per_core, result.utilization, strict=True)
    ]
    typer.echo(render(columns, rows, title=str(result)))
    for number, entry in enumerate(result.passes if len(result.passes) > 1 else (), 1):
        typer.echo(
            f"pass {number}: layers {entry['layers'][0]} to {entry['layers'][-1]}, "
            f"{entry['configuration_bytes']:,} bytes written in "
            f"{entry['configuration_ps'] / 1e6:,.3f} us, {entry['events_in']:,} events in, from "
            f"{entry['begin_ps'] / 1e6:,.3f} to {entry['end_ps'] / 1e6:,.3f} us"
        )
    names = {
        "spike_ps": "latency of a spike",
        "first_output_ps": "first output of an event",
        "packet_ps": "latency of a packet",
    }
    for name, ranks in result.latency.summary().items():
        shown = ", ".join(f"{key} {ranks[key] / 1e6:,.3f} us" for key in ("p50", "p95", "max"))
        typer.echo(f"{names[name]}: {shown} ({ranks['count']:,})")
    if engine == "timing":
        typer.echo(f"energy: {result.energy.summary()}")
    for message in result.warnings:
        typer.echo(f"warning: {printable(message)}", err=True)


@app.command()
def devices(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show one chip with all its figures.")
    ] = None,
    device_file: DeviceFile = None,
    as_json: AsJson = False,
) -> None:
    """List the chips, or show one."""
    from kerasnsoc.nsoc import get_device
    from kerasnsoc.nsoc.device_file import device_content
    from kerasnsoc.nsoc.reports import device_rows, device_text, devices_text

    own = _registered(device_file)
    name = own if name is None else name
    if name is not None:
        device = get_device(name)
        if as_json:
            _print_json(device_content(device))
        else:
            typer.echo(device_text(device))
        return
    rows = device_rows()
    if as_json:
        _print_json(rows)
    else:
        typer.echo(devices_text(rows))


@app.command()
def check(
    file: ChipFile,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chip, or 'all'; exit code 1 if it does not fit."),
    ] = None,
    device_file: DeviceFile = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="OUT.keras", help="As for `advise`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a network fits a chip, and why not.

    A Keras model without --device is advised on, as by `advise`.
    """
    if device is None and device_file is None and is_keras_model(file):
        advise(file, fix, as_json=as_json)
        return
    if fix is not None:
        raise typer.BadParameter("--fix rewrites a Keras model, without --device")
    device = device or "all"
    from kerasnsoc.nsoc import list_devices
    from kerasnsoc.nsoc.reports import check_content, check_text, open_chip_network

    own = _registered(device_file)
    _quieten(file)
    network = open_chip_network(file)
    is_one = device.strip().lower() != "all"
    names = [device] if is_one else list_devices() if own is None else [own]
    content = check_content(network, names)
    if as_json:
        _print_json(content)
    else:
        typer.echo(check_text(content))
    if is_one and not content[0]["compatible"]:
        raise typer.Exit(1)


@app.command(name="map")
def map_to_chip(
    file: ChipFile,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="A chip, such as speck2f or akd1000.")
    ] = None,
    ordering: Annotated[
        str | None, typer.Option(metavar="C0,C1,…", help="Core of each layer; default automatic.")
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="lex|min_waste|fast_first", help="What the placement minimizes.")
    ] = "lex",
    multipass: Annotated[
        bool, typer.Option("--multipass", help="Split over several passes if the mesh is small.")
    ] = False,
    slow_clock: Annotated[
        float | None, typer.Option(metavar="HZ", help="Frequency of leak ticks.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="CONFIG.json", help="Write the configuration here."),
    ] = None,
    device_file: DeviceFile = None,
    as_json: AsJson = False,
) -> None:
    """Place a network on a chip."""
    import warnings

    from kerasnsoc.artifact.atomic import write_atomically
    from kerasnsoc.nsoc.reports import map_content, map_text, open_chip_network

    own = _registered(device_file)
    if device is None and own is None:
        raise typer.BadParameter("name a chip with --device, or describe one with --device-file")
    if output is not None:
        require_other(output, file, device_file)
    _quieten(file)
    network = open_chip_network(file)
    cores: Any = "auto" if ordering is None else _cores(ordering)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = network.make_config(
            cores,
            device or own or "",
            slow_clk_frequency=slow_clock,
            objective=objective,  # type: ignore[arg-type]
            allow_multipass=multipass,
        )
    content = map_content(network, config)
    content["warnings"] = [str(warning.message) for warning in caught]
    if output is not None:
        write_atomically(str(output), config.to_json(indent=1).encode("ascii"))
        content["output"] = str(output)
    if as_json:
        _print_json(content)
        return
    typer.echo(map_text(content))
    for message in content["warnings"]:
        typer.echo(f"warning: {printable(message)}", err=True)
    if output is not None:
        typer.echo(f"written: {printable(str(output))}")


def _registered(device_file: Path | None) -> str | None:
    """Name of the chip that a file describes."""
    from kerasnsoc.nsoc import register_device

    return None if device_file is None else register_device(device_file).name


def _quieten(file: Path) -> None:
    """Before a Keras model is opened: without the start-up messages of its backend."""
    if file.suffix.lower() == ".keras" and is_zipfile(file):  # others are refused without Keras
        import_keras()


def _cores(ordering: str) -> list[int]:
    try:
        return [int(core) for core in ordering.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--ordering is {ordering!r}, but it must be numbers of cores such as 0,3,5"
        ) from None


@app.command()
def verify(file: File, as_json: AsJson = False) -> None:
    """Check seal, index, rules and HDF5 view."""
    from kerasnsoc.artifact import content_digest, load
    from kerasnsoc.artifact import verify as verify_artifact

    spec = load(file)
    verify_artifact(file)
    digest = content_digest(spec)
    if as_json:
        _print_json({"file": str(file), "ok": True, "content_digest": digest})
    else:
        typer.echo(f"ok: {printable(str(file))}, content sha256 {digest}")


@app.command()
def report(
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page to write.")
    ] = Path("report.html"),
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="INPUT.npy", help="A batch to run, as for `run`."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="L.npy", help="True classes of the batch.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page on a network."""
    from kerasnsoc.reports import report as make_report

    if not as_json:
        require_other(output, file, inputs, labels)
    batch = expected = None
    if inputs is not None:
        _, batch = _open(file, inputs)
        if labels is not None:
            expected = _read_labels(labels, len(batch))
    elif labels is not None:
        raise typer.BadParameter("--labels needs --inputs")
    found = make_report(file, batch, expected)
    if as_json:
        typer.echo(found.to_json())
    else:
        found.save(output)
        typer.echo(f"written: {printable(str(output))} ({output.stat().st_size:,} bytes)")


@app.command("export-c")
def export_c(
    file: File,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the C files.")],
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="INPUT.npy", help="Samples of the self-test."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a network as portable C99."""
    from kerasnsoc.embedded import export_c as export

    samples = None if inputs is None else _open(file, inputs)[1]
    report = export(file, folder, samples=samples)
    if as_json:
        _print_json(report.to_dict())
    else:
        typer.echo(f"{report}\nnow: make -C {printable(str(folder))} test")


@app.command()
def doctor(
    as_json: AsJson = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Only the kernels that this processor can run.")
    ] = False,
) -> None:
    """Say what is installed and works here."""
    content = _diagnose()
    if kernels:
        names = content["kernels"]["available"]
        typer.echo(json.dumps(names) if as_json else "\n".join(names))
    elif as_json:
        _print_json(content)
    else:
        typer.echo(_diagnosis_text(content))
    for problem in content["problems"]:
        typer.echo(f"kerasnsoc: {problem}", err=True)
    if content["problems"]:
        raise typer.Exit(1)


class _Demo(StrEnum):
    """What `kerasnsoc demo` shows."""

    DIGITS = "digits"
    KWS = "kws"


@app.command()
def demo(
    what: Annotated[
        _Demo,
        typer.Argument(
            metavar="WHAT",
            help="digits: train, freeze, run and price a network. kws: name the spoken digits of a "
            "sound file with a trained one.",
        ),
    ] = _Demo.DIGITS,
    wav: Annotated[
        Path | None,
        typer.Argument(metavar="WAV", help="kws: 16-bit mono at 8 kHz; default: one that ships."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the artifact and its inputs."
        ),
    ] = Path("kerasnsoc-demo"),
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the training.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Epochs of float training.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a network from training to joules."""

    def echo(text: str) -> None:
        typer.echo(text, err=as_json)  # JSON alone on the standard output

    if what is _Demo.KWS:
        from kerasnsoc.demo.kws import run_kws_demo

        heard = run_kws_demo(wav, echo=echo)
        if as_json:
            _print_json(heard.to_dict())
        return
    if wav is not None:
        raise typer.BadParameter(f"the demo {what.value!r} takes no file; 'kws' does")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for package in ("tensorflow", "keras"):
        # Before anything is imported or made: TensorFlow alone takes seconds.
        if _installed(package) is None:
            raise ImportError(
                f"the demo trains a network, but {package} is not installed: "
                'pip install "kerasnsoc[train]"'
            )
    from kerasnsoc.demo import run_demo

    given = {} if epochs is None else {"epochs": epochs}
    result = run_demo(output, seed, **given, echo=echo)
    if as_json:
        _print_json(result.to_dict())


register_zoo(app)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = f"not enough memory {error}"
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _describe(spec: NetworkSpec) -> dict[str, Any]:
    from kerasnsoc.artifact.geometry import output_dims

    dims: dict[str, tuple[int, int, int]] = {}
    layers = []
    for layer in spec.layers:
        p = layer.parameters
        dims[layer.name] = output_dims(p, [dims[name] for name in layer.inbounds])
        bits = getattr(p, "threshold_fire_bits", None)
        if not getattr(p, "activations_enabled", True):
            bits = None
        layers.append(
            {
                "name": layer.name,
                "type": layer.layer_type.name,
                "inbounds": list(layer.inbounds),
                "output_dims_whc": list(dims[layer.name]),
                "weights_bits": getattr(p, "weights_bits", None),
                "activation_bits": getattr(p, "input_bits", bits),
                "bytes": sum(array.nbytes for array in layer.variables.values()),
                "variables": {
                    name: {"dtype": str(array.dtype), "shape": list(array.shape)}
                    for name, array in sorted(layer.variables.items())
                },
                **({} if layer.neuron is None else {"neuron": asdict(layer.neuron)}),
            }
        )
    return {
        **({} if spec.time_step is None else {"time_step": spec.time_step}),
        "input": {
            "kind": spec.input.kind,
            "shape_hwc": list(spec.input.shape_hwc),
            "bits": spec.input.bits,
            "scale": spec.input.scale,
            "shift": spec.input.shift,
        },
        "layers": layers,
        "array_bytes": sum(layer["bytes"] for layer in layers),
        "metadata": dict(spec.metadata),
    }


def _open(
    file: Path,
    inputs: Path,
    packet_us: int | None = None,
    packet_events: int | None = None,
    steps: int | None = None,
) -> tuple[Model, npt.NDArray[Any]]:
    import numpy as np

    from kerasnsoc.runtime import CountWindow, Model, TimeWindow, event_batch

    model = Model(file)
    _require_time(file, model, steps)
    events = _read_recording(inputs)
    if events is not None:
        window: CountWindow | TimeWindow | None = None
        if packet_us is not None:
            window = TimeWindow(packet_us)
        elif packet_events is not None:
            window = CountWindow(packet_events)
        batch = event_batch(model, events, window)
    elif packet_us is not None or packet_events is not None:
        raise ValueError(f"{inputs} is a batch; --packet-us and --packet-events cut recordings")
    else:
        batch = _read_array(inputs)
        if steps is not None:
            # a view: repeated frames take no memory before they run
            repeated = (batch.shape[0], steps, *batch.shape[1:])
            batch = np.broadcast_to(batch[:, np.newaxis], repeated)
    if batch.dtype.kind not in "biu":
        spec = model.to_spec().input
        raise ValueError(
            f"{inputs} holds {batch.dtype}, but the network takes integers of 0 to "
            f"{2**spec.bits - 1}. They are {spec.scale:g} * x + {spec.shift} of the values x "
            "that the Keras model took; convert and round them first."
        )
    if not len(batch):
        raise ValueError(f"{inputs} holds no samples, its shape is {batch.shape}")
    return model, batch


def _require_time(file: Path, model: Model, steps: int | None) -> None:
    if steps is not None and model.time_step is None:
        raise ValueError(f"{file} is a network of one pass; --steps is for networks over time")


def _read_recording(path: Path) -> npt.NDArray[Any] | None:
    """Events of a camera, or None if the file holds something else."""
    import numpy as np

    from kerasnsoc.runtime import read_events

    if path.suffix.lower() in (".aedat", ".aedat4", ".bin"):
        return read_events(path)
    if path.suffix.lower() != ".npy":
        return None
    try:
        names = np.load(path, mmap_mode="r", allow_pickle=False).dtype.names
    except (EOFError, ValueError):
        return None  # whoever reads it as a batch says what is wrong
    return None if names is None else read_events(path)


def _read_array(path: Path) -> npt.NDArray[Any]:
    import numpy as np

    try:
        # Pickles are code; an array of numbers needs none.
        array = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        # NumPy's own words advise to allow pickles.
        raise ValueError(
            f"{path} is no .npy file of numbers, as numpy.save writes it for an array of integers"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{path} is an archive of arrays (.npz), but a single .npy is needed")
    if array.ndim == 0:
        raise ValueError(f"{path} holds a single number, but a batch is needed")
    return array


def _read_labels(path: Path, samples: int) -> npt.NDArray[np.integer[Any]]:
    labels = _read_array(path)
    if labels.dtype.kind not in "iu" or labels.shape != (samples,):
        raise ValueError(
            f"{path} holds {labels.dtype} of shape {labels.shape}, but labels are integers of "
            f"shape ({samples},), one per sample"
        )
    return labels


def _write(path: Path, array: npt.NDArray[Any]) -> None:
    from io import BytesIO

    import numpy as np

    from kerasnsoc.artifact.atomic import write_atomically

    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_atomically(str(path), stream.getvalue())


def _layer_rows(layers: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, statistics in layers.items():
        rows.append(
            {
                "name": name,
                "events_in": int(statistics.events_in),
                "events_out": int(statistics.nb_activations),
                "output_sparsity": float(statistics.output_sparsity),
                "synaptic_ops": int(statistics.synaptic_ops),
                "neuron_updates": int(statistics.neuron_updates),
                "connections": int(statistics.connections),
            }
        )
    return rows


def _activity_table(layers: list[dict[str, Any]], samples: int) -> str:
    rows = [
        [
            layer["name"],
            f"{layer['events_in'] / samples:,.1f}",
            f"{layer['events_out'] / samples:,.1f}",
            f"{layer['output_sparsity']:.1%}",
            f"{layer['synaptic_ops'] / samples:,.1f}",
            f"{layer['connections']:,}",
        ]
        for layer in layers
    ]
    columns = ["layer", "events in", "events out", "sparsity", "synaptic ops", "dense ops"]
    plural = "" if samples == 1 else "s"
    return render(columns, rows, title=f"Per sample, mean over {samples:,} sample{plural}")


def _diagnose() -> dict[str, Any]:
    import platform

    from kerasnsoc import __version__

    problems = []
    needed = {name: _installed(name) for name in ("numpy", "h5py", "typer")}
    problems += [f"{name} is not installed" for name, version in needed.items() if version is None]
    kernels: dict[str, Any] = {"chosen": None, "available": [], "missing": {}}
    try:
        from kerasnsoc.runtime.plan import chosen_kernel
        from kerasnsoc_ext import available_kernels, missing_kernels

        kernels["available"] = list(available_kernels())
        kernels["missing"] = missing_kernels()
        kernels["chosen"] = chosen_kernel()
    except (ImportError, ValueError) as error:
        problems.append(_one_line(error))
    return {
        "kerasnsoc": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": needed,
        "kernels": kernels,
        "extras": {
            extra: {name: _installed(name) for name in packages}
            for extra, packages in _EXTRAS.items()
        },
        "problems": problems,
    }


def _diagnosis_text(content: dict[str, Any]) -> str:
    kernels = content["kernels"]
    rows = [["kerasnsoc", content["kerasnsoc"]], ["python", content["python"]]]
    rows += [["platform", content["platform"]]]
    rows += [[name, version or "missing"] for name, version in content["packages"].items()]
    rows += [["kernel", kernels["chosen"] or "none"]]
    rows += [["kernels that run here", ", ".join(kernels["available"]) or "none"]]
    rows += [[f"no kernel {name}", reason] for name, reason in kernels["missing"].items()]
    for extra, packages in content["extras"].items():
        hint = f'missing; pip install "kerasnsoc[{extra}]"'
        rows += [[name, version or hint] for name, version in packages.items()]
    return render(["what", "found"], rows)


def _installed(package: str) -> str | None:
    """Version of an installed package, without importing it; TensorFlow takes seconds."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    try:
        if find_spec(package) is None:
            return None
    except ValueError:  # blocked in sys.modules
        return None
    for name in _DISTRIBUTIONS.get(package, (package,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "installed, version unknown"


register(app, Tools(open_batch=_open, read_labels=_read_labels))
