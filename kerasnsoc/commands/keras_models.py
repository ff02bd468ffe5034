"""Commands that take a Keras model: advise, quantize, convert, compare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from kerasnsoc._quiet import import_keras
from kerasnsoc._tables import printable
from kerasnsoc.commands.tools import (
    AsJson,
    ModelFile,
    Network,
    Tools,
    load_keras_model,
    noted,
    one_line_errors,
    print_json,
    require_keras_suffix,
    require_other,
    save_keras_model,
)

Scaling = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="The artifact takes a * x + b of what the model took: 255,0 for x / 255.",
    ),
]
Sparse = Annotated[
    bool, typer.Option("--sparse", help="The input is events or small integers, no image.")
]


def register(app: typer.Typer, tools: Tools) -> None:
    """Add the commands of this module."""
    app.command("advise")(advise)
    app.command("quantize")(quantize)
    app.command("convert")(convert)

    @app.command("compare")
    def compare(
        model: ModelFile,
        file: Network,
        inputs: Annotated[
            Path, typer.Argument(metavar="INPUT.npy", help="Inputs of the artifact, as for `run`.")
        ],
        as_json: AsJson = False,
    ) -> None:
        """Count values that differ from Keras; 1 if any."""
        network, batch = tools.open_batch(file, inputs)
        source = load_keras_model(model)
        from kerasnsoc.conversion import compare as compare_models

        with one_line_errors():
            report = compare_models(source, network, batch)
        if as_json:
            layers = [asdict(layer) for layer in report.layers]
            first = None if report.first is None else asdict(report.first)
            print_json(
                {
                    "compared": report.compared,
                    "differing": report.differing,
                    "first": first,
                    "layers": layers,
                }
            )
        else:
            typer.echo(str(report))
        if report.differing:
            raise typer.Exit(1)


def advise(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.keras", help="Your model, float or quantized.")
    ],
    fix: Annotated[
        Path | None,
        typer.Option("--fix", metavar="OUT.keras", help="Rewrite what can be, and save it here."),
    ] = None,
    sparse: Sparse = False,
    as_json: AsJson = False,
) -> None:
    """List why a Keras model does not convert; mend it."""
    if fix is not None:
        require_keras_suffix(fix)
        require_other(fix, model)
    import_keras()
    from kerasnsoc.conversion import advise as advise_on
    from kerasnsoc.conversion import fix as fix_model

    source: Any = model if model.is_dir() else load_keras_model(model)
    found: list[Any] = list(advise_on(source, input_is_sparse=sparse))
    content: dict[str, Any] = {"model": str(model), "findings": [asdict(f) for f in found]}
    remaining = [f for f in found if f.blocks]
    if fix is not None and source is not model:
        with one_line_errors():
            fixed = fix_model(source, input_is_sparse=sparse)
        save_keras_model(fixed.model, fix)
        remaining = [f for f in remaining if not f.fix]
        content["fixed"] = {
            "output": str(fix),
            "changes": [asdict(change) for change in fixed.changes],
            "remaining": len(remaining),
        }
    if as_json:
        print_json(content)
    else:
        _tell(found, content.get("fixed"), model, _next_command(source))
    if remaining:
        raise typer.Exit(1)


def _next_command(source: Any) -> str:
    """What comes after `advise` for a model without findings."""
    from kerasnsoc.conversion.rules import QUANTIZED

    is_quantized = any(isinstance(layer, QUANTIZED) for layer in getattr(source, "layers", ()))
    return "convert" if is_quantized else "quantize"


def _tell(found: list[Any], fixed: dict[str, Any] | None, model: Path, next_command: str) -> None:
    blocking = [f for f in found if f.blocks]
    mendable = [f for f in blocking if f.fix]
    for finding in found:
        word = "remark" if not finding.blocks else "mended by --fix" if finding.fix else "to do"
        typer.echo(f"{printable(finding.layer)} ({finding.rule}, {word})")
        typer.echo(f"    {printable(finding.message)}")
        typer.echo(f"    -> {printable(finding.remedy)}")
        if finding.fix:
            typer.echo(f"    --fix: {printable(finding.fix)}")
    if not blocking:
        typer.echo(
            f"nothing keeps this model from being converted: `kerasnsoc {next_command}` comes next"
        )
    else:
        verb = "keeps" if len(blocking) == 1 else "keep"
        typer.echo(
            f"{len(blocking)} finding{'' if len(blocking) == 1 else 's'} {verb} this model from "
            f"being converted; {len(mendable)} of them can be mended without training"
        )
        if mendable and fixed is None:
            typer.echo(f"now: kerasnsoc advise {printable(str(model))} --fix fixed.keras")
    if fixed is not None:
        for change in fixed["changes"]:
            typer.echo(f"changed {printable(change['layer'])}: {printable(change['what'])}")
        typer.echo(f"written: {printable(fixed['output'])}")


def quantize(
    model: ModelFile,
    output: Annotated[Path, typer.Argument(metavar="OUT.keras", help="The quantized model.")],
    weights: Annotated[int, typer.Option(metavar="N", help="Bits of weights, 2 to 8.")] = 4,
    activations: Annotated[
        int, typer.Option(metavar="N", help="Bits of activations: 1, 2, 3, 4 or 8.")
    ] = 4,
    input_weights: Annotated[
        int | None, typer.Option(metavar="N", help="Bits of the first layer's weights.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a Keras model few bits, to be trained on."""
    require_keras_suffix(output)
    require_other(output, model)
    source = load_keras_model(model)
    from kerasnsoc.quantization import quantize as quantize_model

    with noted() as notes, one_line_errors(f" All reasons: kerasnsoc advise {model}"):
        quantized = quantize_model(source, weights, activations, input_weights)
    save_keras_model(quantized, output)
    bits = {
        "weights": weights,
        "activations": activations,
        "input_weights": weights if input_weights is None else input_weights,
    }
    if as_json:
        print_json({"output": str(output), "bits": bits, "notes": notes})
    else:
        typer.echo(
            f"written: {printable(str(output))}, {bits['input_weights']}/{bits['weights']}/"
            f"{bits['activations']} bits (first weights, weights, activations)"
        )
        typer.echo("Ranges are not calibrated to data: kerasnsoc.calibrate, or a few epochs of fit")


def convert(
    model: ModelFile,
    output: Annotated[Path, typer.Argument(metavar="OUT.h5", help="The artifact.")],
    scaling: Scaling = None,
    sparse: Sparse = False,
    input_bits: Annotated[
        int, typer.Option(metavar="N", help="Bits of the events, with --sparse.")
    ] = 4,
    thresholds: Annotated[
        str, typer.Option(metavar="exact|linear", help="How activations are stored.")
    ] = "exact",
    state_bits: Annotated[
        int | None,
        typer.Option(metavar="N", help="Bits of a chip's potentials, for networks over time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze a quantized Keras model to an artifact."""
    require_other(output, model)
    if output.suffix != ".h5":
        raise typer.BadParameter(f"the output is {str(output)!r}, but its name must end with .h5")
    pair = None if scaling is None else _scaling(scaling)
    source = load_keras_model(model)
    from kerasnsoc.artifact import content_digest
    from kerasnsoc.conversion import convert as convert_model

    with noted() as notes, one_line_errors(f" All reasons: kerasnsoc advise {model}"):
        network = convert_model(
            source,
            output,
            pair,
            sparse,
            thresholds=thresholds,  # type: ignore[arg-type]
            input_bits=input_bits,
            state_bits=state_bits,
        )
    spec = network.to_spec()
    content = {
        "output": str(output),
        "file_bytes": output.stat().st_size,
        "content_digest": content_digest(spec),
        "input": {"scale": spec.input.scale, "shift": spec.input.shift},
        "notes": notes,
    }
    if as_json:
        print_json(content)
    else:
        typer.echo(f"written: {printable(str(output))} ({content['file_bytes']:,} bytes)")
        typer.echo(f"content: sha256 {content['content_digest']}")
        typer.echo(
            f"input: integer = {spec.input.scale:g} * Keras value + {spec.input.shift}, "
            f"0 to {2**spec.input.bits - 1}"
        )


def _scaling(text: str) -> tuple[float, int]:
    factor, _, shift = text.partition(",")
    try:
        return float(factor), int(shift)
    except ValueError:
        raise typer.BadParameter(
            f"--scaling is {text!r}, but must be a number and an integer, such as 255,0"
        ) from None
