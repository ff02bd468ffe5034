"""Commands of the zoo: build a model file, train it, and handle trained networks.

Heavy packages are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasnsoc._quiet import import_keras
from kerasnsoc._tables import printable, render
from kerasnsoc.zoo.recipes.options import (
    TAKEN_BY,
    check_folder,
    check_options,
    checked_save_path,
)

if TYPE_CHECKING:
    from kerasnsoc.zoo.recipes.task import Data

_MODELS: dict[str, tuple[str, ...]] = {
    "convtiny_cwru": (),
    "convtiny_dvs_gesture": ("classes",),
    "convtiny_dvs_handy": ("classes",),
    "ds_cnn_cifar10": ("classes", "alpha"),
    "ds_cnn_kws": ("classes",),
    "gxnor_mnist": (),
    "mobilenet_edge_imagenet": ("classes", "base_model"),
    "mobilenet_imagenet": ("classes", "alpha", "image_size"),
    "pointnet_plus_modelnet40": ("classes", "alpha"),
    "vgg_cifar10": ("classes",),
    "vgg_imagenet": ("classes",),
    "vgg_utk_face": (),
    "yolo_base": ("classes", "alpha", "number_anchors", "base_weights"),
}
_ALIASES = {"mobilenet_imagenet_edge": "mobilenet_edge_imagenet"}
_WITHOUT_BITS = ("convtiny_cwru", "mobilenet_edge_imagenet")
_WITHOUT_INPUT_BITS = ("convtiny_dvs_gesture", "convtiny_dvs_handy", "pointnet_plus_modelnet40")
_SIZES = (32, 64, 96, 128, 160, 192, 224)


class Action(StrEnum):
    """What `kerasnsoc train` does."""

    RUN = "run"
    TRAIN = "train"
    TUNE = "tune"
    EVAL = "eval"
    RESCALE = "rescale"
    EXTRACT = "extract"


zoo = typer.Typer(help="Trained networks: list, fetch, verify.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
DataPath = Annotated[
    Path | None,
    typer.Option(
        "--data", "--data_dir", "-d", help="Default: in the folder datasets of KERASNSOC_HOME."
    ),
]
SavePath = Annotated[
    Path | None, typer.Option("--savemodel", "-s", help="Default: the model is replaced.")
]
Seed = Annotated[int, typer.Option(min=0)]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(create)
    app.command()(train)
    app.command()(prune)
    app.command()(macs)
    app.command()(sparsity)
    app.add_typer(zoo, name="zoo")


def create(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=", ".join(_MODELS))],
    save: Annotated[
        Path | None, typer.Option("--save", "-s", metavar="PATH", help="Default: MODEL.keras.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image_size", "-i", help="32, 64, … 224, or 160.")
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", "-a", help="Width.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", "-c", min=1)] = None,
    number_anchors: Annotated[int | None, typer.Option("--number_anchors", "-na", min=1)] = None,
    base_model: Annotated[
        Path | None, typer.Option("--base_model", "-bm", help="A quantized mobilenet_imagenet.")
    ] = None,
    base_weights: Annotated[
        Path | None,
        typer.Option("--base_weights", "-bw", help="MobileNet, detector, or body."),
    ] = None,
    input_bits: Annotated[int | None, typer.Option("--input_bits", "-iq", min=0, max=8)] = None,
    weight_bits: Annotated[int, typer.Option("--weight_bits", "-wq", min=0, max=8)] = 0,
    activation_bits: Annotated[int, typer.Option("--activation_bits", "-aq", min=0, max=8)] = 0,
    summary: Annotated[bool, typer.Option("--summary", help="Print the layers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a model of the zoo and save it."""
    name = _ALIASES.get(model, model)
    if name not in _MODELS:
        raise typer.BadParameter(f"{model!r} is no model; there are {', '.join(_MODELS)}")
    given = {
        "classes": classes,
        "alpha": alpha,
        "image_size": image_size,
        "number_anchors": number_anchors,
        "base_model": base_model,
        "base_weights": base_weights,
    }
    for option, value in given.items():
        if value is not None and option not in _MODELS[name]:
            raise typer.BadParameter(f"{name} takes no --{option}")
    bits = (weight_bits, activation_bits, input_bits)
    if any(bits) and name in _WITHOUT_BITS:
        raise typer.BadParameter(f"{name} takes no bits; quantize the saved model")
    if image_size is not None and image_size not in _SIZES:
        raise typer.BadParameter(f"--image_size is {image_size}, but must be one of {_SIZES}")
    if name == "mobilenet_edge_imagenet" and base_model is None:
        raise typer.BadParameter(f"{name} needs --base_model")
    path = None if save is None else _save_path(save)
    _quiet()
    built = _built(name, given, bits)
    if path is None:
        path = _save_path(Path(built.name if name.startswith("mobilenet") else name))
    built.save(path)
    if summary:
        built.summary(print_fn=lambda text: typer.echo(text, err=as_json))
    if as_json:
        content = {"name": built.name, "parameters": built.count_params(), "output": str(path)}
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"{built.name}: {built.count_params():,} parameters, saved as {path}")


def train(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="cifar10, cifar10-small, cwru, dvs, imagenet, kws, kws-edge, kws-voices, mnist, "
            "modelnet40, utk_face or yolo.",
        ),
    ],
    action: Annotated[
        Action,
        typer.Argument(
            help="run: the whole recipe; train, tune, eval: one model file; rescale: the same "
            "weights for another size of images; extract: samples of imagenet, or the body of yolo."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out_dir",
            "-o",
            metavar="DIR",
            help="run: folder of the run; imagenet extract: folder of the samples.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="All but run: a .keras file.")
    ] = None,
    savemodel: SavePath = None,
    data: DataPath = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", min=1, help="run: at most so many in a step.")
    ] = None,
    initial_epoch: Annotated[
        int,
        typer.Option(
            "--initial_epoch", "-ie", min=0, help="imagenet train, tune: epochs done before."
        ),
    ] = 0,
    batch_size: Annotated[int | None, typer.Option("--batch_size", "-b", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning_rate", "-lr")] = None,
    freeze_before: Annotated[
        str | None, typer.Option("--freeze_before", "-fb", metavar="LAYER")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", "-t", help="A model file, for distillation.")
    ] = None,
    last_bits: Annotated[
        int | None,
        typer.Option(
            "--last_activ_quantization",
            "-laq",
            min=1,
            max=8,
            help="kws train, tune: bits of the last activation.",
        ),
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option("--anchors_path", "-ap", help="yolo: JSON list of [width, height]."),
    ] = None,
    objects: Annotated[
        float | None,
        typer.Option("--obj_threshold", "-obj", min=0, max=1, help="yolo: default 0.5."),
    ] = None,
    overlaps: Annotated[
        float | None,
        typer.Option("--nms_threshold", "-nms", min=0, max=1, help="yolo: default 0.5."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="NAME,…", help="yolo with --data: classes; default: all, sorted."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image_size", "-i", min=1, help="rescale: the new size; imagenet extract: 224."
        ),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option("--num_samples", "-ns", min=1, help="imagenet extract: default 1024."),
    ] = None,
    runtime: Annotated[
        bool, typer.Option("--runtime", "-rt", "-ak", help="eval: run on integers.")
    ] = False,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Train a network by its recipe, or go on with it."""
    _check_recipe(name)
    _check_action(name, action)
    _check_taken(ctx, name, action)
    _check_needed(name, action, model=model, savemodel=savemodel, output=output, epochs=epochs)
    if learning_rate is not None and not (math.isfinite(learning_rate) and learning_rate > 0):
        raise typer.BadParameter(
            f"--learning_rate is {learning_rate}, but must be a finite number above 0"
        )
    if action is Action.RESCALE and (image_size is None or image_size < _SIZES[0]):
        raise typer.BadParameter(
            f"rescale needs --image_size N of at least {_SIZES[0]}: the network halves images "
            "five times"
        )
    if output is not None:
        _usage(check_folder, output)
    target = model if savemodel is None else savemodel
    if target is not None and action is not Action.EVAL:
        target = _save_path(target)
    if labels is not None and data is None:
        raise typer.BadParameter("--labels chooses among those of --data FOLDER, which is missing")
    _check_paths(data, model, teacher, anchors)
    _quiet()
    if action is Action.RESCALE:
        assert model is not None
        assert image_size is not None
        assert target is not None
        _rescale(model, image_size, target, as_json)
        return
    if action is Action.EXTRACT:
        if output is not None:
            size, count = image_size or 224, num_samples or 1024
            _extract_samples(data, output, size, count, batch_size, as_json)
        else:
            assert model is not None
            assert target is not None
            _extract_body(model, target, as_json)
        return
    from kerasnsoc.zoo.recipes.catalog import get_task

    task = get_task(name)
    if last_bits is not None and not task.last_activation:
        raise typer.BadParameter("--last_activ_quantization is for train and tune of kws")
    if teacher is not None and task.kind != "classes":
        raise typer.BadParameter(
            f"--teacher is for networks that tell classes apart; {name} finds {task.finds}"
        )

    def echo(line: str) -> None:
        typer.echo(line, err=as_json)

    # JSON alone on the standard output, not what Keras writes there
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        if name == "yolo" and data is not None and action is not Action.RUN:
            assert model is not None
            names = () if labels is None else tuple(one.strip() for one in labels.split(","))
            loaded = _annotated(data, names, model, anchors, seed, echo)
        else:
            loaded = task.load(data, seed)
        if any(value is not None for value in (anchors, objects, overlaps)):
            from kerasnsoc.zoo.recipes.boxes import with_choices

            loaded = with_choices(loaded, anchors, objects, overlaps)
        if action is Action.RUN:
            from kerasnsoc.zoo.recipes.runs import run_recipe

            assert output is not None
            command = shlex.join(["kerasnsoc", *sys.argv[1:]])
            result = run_recipe(
                task, loaded, output, command=command, seed=seed, most_epochs=epochs, echo=echo
            )
        else:
            from kerasnsoc.zoo.recipes.singles import evaluate_file, train_file

            assert model is not None
            if action is Action.EVAL:
                result = evaluate_file(task, loaded, model, on_runtime=runtime)
                more = f", top 5 {result['top_5']:.4f}" if "top_5" in result else ""
                echo(f"{result['metric']} {result['value']:.4f}{more} on {result['runs_on']}")
            else:
                assert epochs is not None
                assert target is not None
                result = train_file(
                    task,
                    loaded,
                    model,
                    target,
                    action="train" if action is Action.TRAIN else "tune",
                    epochs=epochs,
                    batch=batch_size,
                    rate=learning_rate,
                    first_epoch=initial_epoch,
                    freeze_before=freeze_before,
                    teacher=teacher,
                    last_bits=last_bits,
                    seed=seed,
                    echo=echo,
                )
    if as_json:
        typer.echo(json.dumps(result, indent=2))


def prune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe, as for train.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A .keras file.")],
    savemodel: SavePath = None,
    data: DataPath = None,
    loss: Annotated[
        float, typer.Option("--loss", min=0, help="What the metric may lose at most.")
    ] = 0.01,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Delete filters that a network hardly needs."""
    _check_recipe(name)
    target = _save_path(model if savemodel is None else savemodel)
    _check_paths(data, model)
    _quiet()
    from kerasnsoc.zoo.recipes.catalog import get_task
    from kerasnsoc.zoo.recipes.singles import prune_file

    task = get_task(name)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = prune_file(
            task,
            task.load(data, seed),
            model,
            target,
            loss=loss,
            echo=lambda line: typer.echo(line, err=as_json),
        )
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    rows = [[layer, f"{rate:.0%}"] for layer, rate in result["deleted"].items()]
    typer.echo(render(["layer", "filters deleted"], rows))


def sparsity(
    model: Annotated[Path, typer.Option("--model", "-m", help="A .keras file or an artifact.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Samples, .npy or .npz; default: 10 random ones."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many activations of each layer are zero."""
    from kerasnsoc.zoo.sparsity import activation_sparsity, read_samples

    with open(model, "rb") as file:
        is_artifact = file.read(5) == b"KNSOC"
    samples = None if data is None else read_samples(data)
    network: Any
    if is_artifact:
        from kerasnsoc.runtime import Model

        network = Model(model)
    else:
        _quiet()
        from kerasnsoc.quantization import load_quantized_model

        network = load_quantized_model(model, compile=False)
    found = activation_sparsity(network, samples)
    if as_json:
        typer.echo(json.dumps({"random_samples": samples is None, "layers": found}, indent=2))
        return
    if samples is None:
        typer.echo("of random inputs; real ones differ, give them with --data", err=True)
    typer.echo(render(["layer", "zeros"], [[name, f"{x:.2%}"] for name, x in found.items()]))


def macs(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras file.")],
    as_json: AsJson = False,
) -> None:
    """Count multiplications of each layer for one input."""
    _quiet()
    from kerasnsoc.quantization import load_quantized_model
    from kerasnsoc.zoo.counts import multiplications

    counts = multiplications(load_quantized_model(model, compile=False))
    total = sum(counts.values())
    if as_json:
        typer.echo(json.dumps({"layers": counts, "total": total}, indent=2))
        return
    rows = [[name, f"{count:,}"] for name, count in counts.items()]
    typer.echo(render(["layer", "multiplications"], [*rows, ["total", f"{total:,}"]]))


@zoo.command("list")
def list_networks(as_json: AsJson = False) -> None:
    """Show all trained networks, also those without weights."""
    from kerasnsoc.zoo.registry import list_pretrained

    records = list_pretrained()
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records], indent=2))
        return
    rows = []
    for record in records:
        metrics = [v for k, v in record.metrics.items() if k.startswith("integer_")]
        where = "here" if record.is_bundled else "download" if record.urls else "recipe only"
        rows.append(
            [
                record.key,
                where,
                f"{record.bytes:,}" if record.bytes else "-",
                f"{metrics[0]:.2%}" if metrics else "-",
                printable(str(record.metrics.get("dataset", "-"))),
            ]
        )
    typer.echo(render(["network", "weights", "bytes", "on integers", "data"], rows))


@zoo.command()
def fetch(key: Annotated[str, typer.Argument(metavar="KEY")], as_json: AsJson = False) -> None:
    """Print the path of a verified network; download it if allowed."""
    from kerasnsoc.zoo.registry import pretrained_path

    path = str(pretrained_path(key))
    typer.echo(json.dumps({"key": key, "path": path}, indent=2) if as_json else path)


@zoo.command("verify")
def verify_networks(as_json: AsJson = False) -> None:
    """Check digest and content of all networks that are here."""
    from kerasnsoc.zoo.registry import verify_pretrained

    verified = []
    for record in verify_pretrained():
        verified.append({"key": record.key, "ok": True, "sha256": record.sha256})
        if not as_json:
            typer.echo(f"ok: {record.key}, sha256 {record.sha256}")
    if as_json:
        typer.echo(json.dumps(verified, indent=2))


def _built(name: str, given: dict[str, Any], bits: tuple[int, int, int | None]) -> Any:
    """The model of the command `create`."""
    import kerasnsoc.zoo

    function = getattr(kerasnsoc.zoo, name)
    if name == "mobilenet_edge_imagenet":
        return function(given["base_model"], given["classes"] or 1000)
    arguments: dict[str, Any] = {}
    for option in ("classes", "alpha"):
        if given[option] is not None:
            arguments[option] = given[option]
    if given["image_size"] is not None:
        arguments["input_shape"] = (given["image_size"], given["image_size"], 3)
    if name == "yolo_base":
        arguments.setdefault("alpha", 0.5)
        arguments["nb_box"] = given["number_anchors"] or 5
    if any(bits):
        weights, activations, inputs = bits
        arguments |= {"weight_quantization": weights, "activ_quantization": activations}
        if inputs is not None:
            if name in _WITHOUT_INPUT_BITS:
                raise typer.BadParameter(f"{name} takes no --input_bits")
            arguments["input_weight_quantization"] = inputs
    model = function(**arguments)
    if given["base_weights"] is not None:
        from kerasnsoc.quantization import load_quantized_model
        from kerasnsoc.zoo.recipes.bodies import copy_body

        copy_body(model, load_quantized_model(given["base_weights"], compile=False))
    return model


def _check_recipe(name: str) -> None:
    from kerasnsoc.zoo.recipes.catalog import TASKS

    if name not in TASKS:
        raise typer.BadParameter(f"{name!r} is no recipe; there are {', '.join(TASKS)}")


def _annotated(
    path: Path,
    labels: tuple[str, ...],
    model: Path,
    anchors: Path | None,
    seed: int,
    echo: Callable[[str], None],
) -> Data:
    """Images of a folder, with anchors that fit the model."""
    from kerasnsoc.zoo.recipes.annotated import (
        check_anchors,
        load_annotated,
        output_of,
        with_generated_anchors,
    )
    from kerasnsoc.zoo.recipes.boxes import with_choices

    output, loaded = output_of(model), load_annotated(path, labels)
    if anchors is None:
        return with_generated_anchors(loaded, output, seed, echo)
    loaded = with_choices(loaded, anchors)
    check_anchors(output[-1], loaded)
    return loaded


def _check_action(name: str, action: Action) -> None:
    is_imagenet = name == "imagenet"
    if action is Action.RESCALE and not is_imagenet:
        raise typer.BadParameter("rescale is for imagenet")
    if action is Action.EXTRACT and name not in ("imagenet", "yolo"):
        raise typer.BadParameter("extract is for imagenet and yolo")
    if action is Action.RUN and is_imagenet:
        raise typer.BadParameter(
            "imagenet has no run: use create, train, quantize and tune (docs/zoo.md)"
        )


def _check_taken(ctx: typer.Context, name: str, action: Action) -> None:
    """Refuse what stands on the command line and would change nothing."""
    given = {}
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in TAKEN_BY and source is not None and source.name == "COMMANDLINE":
            given[parameter.name] = parameter.opts[0]
    _usage(check_options, name, action.value, given)


def _check_needed(name: str, action: Action, **given: Any) -> None:
    needed = {
        Action.RUN: ("output",),
        Action.TRAIN: ("model", "epochs"),
        Action.TUNE: ("model", "epochs"),
        Action.EVAL: ("model",),
        Action.RESCALE: ("model",),
        Action.EXTRACT: ("output",) if name == "imagenet" else ("model", "savemodel"),
    }[action]
    words = {"output": "--output DIR", "epochs": "--epochs N"}
    missing = [option for option in needed if given[option] is None]
    if missing:
        options = " and ".join(words.get(option, f"--{option} FILE") for option in missing)
        raise typer.BadParameter(f"{name} {action.value} needs {options}")


def _save_path(path: Path) -> Path:
    checked: Path = _usage(checked_save_path, path)
    return checked


def _usage(check: Callable[..., Any], *arguments: Any) -> Any:
    """What a check returns; what it refuses is a wrong usage of the command."""
    try:
        return check(*arguments)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _check_paths(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path} does not exist")


def _rescale(model: Path, image_size: int, save: Path, as_json: bool) -> None:
    from kerasnsoc.quantization import load_quantized_model
    from kerasnsoc.zoo.imagenet.rescaling import rescale_model

    rescaled = rescale_model(load_quantized_model(model, compile=False), image_size)
    rescaled.save(save)
    if as_json:
        shape = list(rescaled.input_shape[1:])
        content = {"name": rescaled.name, "input_shape": shape, "output": str(save)}
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"{rescaled.name}: input {rescaled.input_shape[1:]}, saved as {save}")


def _extract_samples(
    data: Path | None, folder: Path, side: int, count: int, batch: int | None, as_json: bool
) -> None:
    from kerasnsoc.zoo.recipes.records import extract_samples, load_records

    records = load_records(data, 0).records
    assert records is not None
    path = folder / f"imagenet_{side}.npz"
    found = extract_samples(records, path, side, count, 64 if batch is None else batch)
    if as_json:
        content = {"samples": found, "image_size": side, "output": str(path)}
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"{found} samples of {side} x {side} pixels, saved as {path}")


def _extract_body(model: Path, save: Path, as_json: bool) -> None:
    from kerasnsoc.quantization import load_quantized_model
    from kerasnsoc.zoo.recipes.bodies import body_of

    body = body_of(load_quantized_model(model, compile=False))
    body.save(save)
    last = body.layers[-1].name
    if as_json:
        typer.echo(json.dumps({"last_layer": last, "output": str(save)}, indent=2))
        return
    typer.echo(f"the layers up to {last!r}, saved as {save}")


def _quiet() -> None:
    # the exact forward that conversion is compared with needs float64; training stays in float32
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    import_keras()
