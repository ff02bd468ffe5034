"""Commands that take artifacts: learn, diff, upgrade, bench. None of them needs Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kerasnsoc._tables import printable
from kerasnsoc.commands.tools import (
    AsJson,
    Network,
    Tools,
    noted,
    one_line_errors,
    print_json,
    require_other,
)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.h5", help="The new artifact.")]
Optional = Annotated[
    Path | None, typer.Option("--inputs", metavar="INPUT.npy", help="A batch to run, as for `run`.")
]


def register(app: typer.Typer, tools: Tools) -> None:
    """Add the commands of this module."""
    app.command("upgrade")(upgrade)

    @app.command("learn")
    def learn(
        file: Network,
        inputs: Annotated[Path, typer.Argument(metavar="INPUT.npy", help="Samples, as for `run`.")],
        labels: Annotated[
            Path, typer.Argument(metavar="LABELS.npy", help="Class of each sample, integers.")
        ],
        output: Output,
        weights: Annotated[
            int | None,
            typer.Option(
                min=1,
                metavar="N",
                help="Ones per neuron; begins anew. Without it, learning goes on.",
            ),
        ] = None,
        classes: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Classes, with --weights.")
        ] = None,
        add_classes: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Append neurons for more classes.")
        ] = None,
        plasticity: Annotated[
            float | None, typer.Option(metavar="P", help="Initial plasticity, 0 to 1.")
        ] = None,
        min_plasticity: Annotated[
            float | None, typer.Option(metavar="P", help="Where its decay ends, 0 to 1.")
        ] = None,
        decay: Annotated[
            float | None, typer.Option(metavar="D", help="Decay of plasticity per step, 0 to 1.")
        ] = None,
        competition: Annotated[
            float | None, typer.Option(metavar="C", help="Learning competition, 0 to 1.")
        ] = None,
        rule: Annotated[
            str | None, typer.Option(metavar="majority|swap", help="The learning rule.")
        ] = None,
        seed: Annotated[
            int | None, typer.Option(min=0, metavar="N", help="Of the first weights.")
        ] = None,
        epochs: Annotated[
            int, typer.Option(min=1, metavar="N", help="Passes over the samples.")
        ] = 1,
        as_json: AsJson = False,
    ) -> None:
        """Learn samples on the chip's rule; save."""
        given = {
            "num_classes": classes,
            "initial_plasticity": plasticity,
            "min_plasticity": min_plasticity,
            "plasticity_decay": decay,
            "learning_competition": competition,
            "rule": rule,
            "seed": seed,
        }
        options: dict[str, Any] = {key: v for key, v in given.items() if v is not None}
        if weights is None and options:
            raise typer.BadParameter("options of learning need --weights, which begins it anew")
        if weights is not None and add_classes is not None:
            raise typer.BadParameter("--weights begins anew: say the classes with --classes")
        require_other(output, file, inputs, labels)
        model, batch = tools.open_batch(file, inputs)
        truth = tools.read_labels(labels, len(batch))
        with noted() as notes, one_line_errors():
            if weights is not None:
                model.compile(weights, **options)
            if add_classes is not None:
                model.add_classes(add_classes)
            for _ in range(epochs):
                model.fit(batch, truth)
        number = model.layers[-1].learning.num_classes
        correct = int((model.predict(batch, number) == truth).sum())
        model.save(output)
        content = {
            "output": str(output),
            "samples": len(batch),
            "classes": number,
            "correct": correct,
            "accuracy": correct / len(batch),
            "notes": notes,
        }
        if as_json:
            print_json(content)
        else:
            typer.echo(f"learned: {len(batch):,} samples, {number} classes")
            typer.echo(
                f"accuracy on these samples: {content['accuracy']:.2%} "
                f"({correct:,} of {len(batch):,})"
            )
            typer.echo(f"written: {printable(str(output))}")

    @app.command("diff")
    def diff(
        first: Annotated[Path, typer.Argument(metavar="A.h5", help="An artifact.")],
        second: Annotated[Path, typer.Argument(metavar="B.h5", help="Another one.")],
        inputs: Optional = None,
        exit_code: Annotated[
            bool, typer.Option("--exit-code", help="End with 1 if the networks differ.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Show where two artifacts differ."""
        from kerasnsoc.reports import diff as difference_of

        batch = None if inputs is None else tools.open_batch(first, inputs)[1]
        with one_line_errors():
            found = difference_of(first, second, batch)
        typer.echo(found.to_json() if as_json else str(found))
        if exit_code and not found.equal:
            raise typer.Exit(1)

    @app.command("bench")
    def bench(
        file: Network,
        inputs: Optional = None,
        batch: Annotated[
            list[int] | None,
            typer.Option("--batch", min=1, metavar="N", help="Batch size; may be repeated."),
        ] = None,
        rounds: Annotated[
            int, typer.Option(min=1, metavar="N", help="Rounds; the median counts.")
        ] = 7,
        threads: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Default: automatic.")
        ] = None,
        seconds: Annotated[
            float,
            typer.Option(min=0.1, metavar="S", help="About the most that a batch size takes."),
        ] = 60.0,
        as_json: AsJson = False,
    ) -> None:
        """Measure frames per second on this machine."""
        from kerasnsoc.runtime import Model, benchmark

        if inputs is None:
            model, samples = Model(file), None
        else:
            model, samples = tools.open_batch(file, inputs)
        sizes = tuple(batch or (1, 32))
        found = benchmark(
            model,
            samples,
            batch_sizes=sizes,
            rounds=rounds,
            most_seconds=seconds,
            threads=threads,
        )
        if as_json:
            print_json(found.to_dict())
        else:
            typer.echo(str(found))


def upgrade(file: Network, output: Output, as_json: AsJson = False) -> None:
    """Rewrite an artifact in the newest format."""
    from kerasnsoc.artifact import upgrade as upgrade_artifact

    require_other(output, file)
    digest = upgrade_artifact(file, output)
    if as_json:
        print_json({"output": str(output), "content_digest": digest})
    else:
        typer.echo(f"written: {printable(str(output))}, content sha256 {digest}")
