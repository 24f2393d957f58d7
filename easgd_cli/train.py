"""`easgd train`: the algorithms on real networks, from a prediction to a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from easgd_cli.output import to_json
from easgd_cli.progress import Bar, progress, told_how_to_continue
from easgd_cli.question import (
    SCHEDULES,
    AlgorithmName,
    Count,
    FiniteNumber,
    FiniteNumbers,
    Setup,
    collected,
    flag,
    given,
    given_of_record,
    listed,
    one_sentence,
    record_parameters,
)
from easgd_theory.algorithm import Algorithm
from easgd_theory.algorithms import ALGORITHMS
from easgd_theory.schedules import Asynchronous, Schedule

if TYPE_CHECKING:
    from gpu_trainer import Averaging, Job

AVERAGES = {"asgd": ("sgd", False), "mvasgd": ("sgd", True), "adownpour": ("downpour", False)} | {
    "mvadownpour": ("downpour", True)
}
"""Averages over an algorithm, and whether they move: those have a weight."""

AVERAGE_WEIGHT = 0.001
_TRAINED: dict[str, Callable[..., Schedule]] = {**SCHEDULES, "asynchronous": Asynchronous}
FAILED = 1


class TrainedName(AlgorithmName):
    """A registered algorithm or an average over one, in any case; its lower-case name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Find what is meant."""
        name: str = value.lower()
        if name not in AVERAGES:
            super().convert(name, param, ctx)
        return name


class Teller:
    """Says on stderr what is predicted, and shows how far the run is; made in one process, used in another."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._bar: Bar | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Hear of an event of the first process."""
        kind = event["event"]
        if kind == "predicted":
            click.echo(f"easgd: {prediction(event)}", err=True)
        elif kind == "started":
            if event["restarts"]:
                click.echo(f"easgd: a process was lost; going on from step {event['step']}", err=True)
            self._bar = self._open.enter_context(progress("train", event["last"], event["step"]))
        elif kind in ("worker", "progress") and self._bar is not None:
            self._bar.reach(event["step"])
        elif kind == "ended":
            self._open.close()


def prediction(predicted: Mapping[str, Any]) -> str:
    """A prediction in words."""
    note = f" ({predicted['note']})" if predicted["note"] else ""
    if predicted["stable"] is None:
        return str(predicted["note"])
    at = f"at curvatures up to h_max = {predicted['h_max']:.4g}, measured at the start"
    if predicted["stable"]:
        return f"predicted: stable {at}; margin {predicted['margin']:.3g}{note}"
    advice = f"; stable would be {predicted['suggestion']}" if predicted["suggestion"] else ""
    radius = predicted["spectral_radius"]
    return f"predicted: unstable, a round multiplies the distance by up to {radius:.5g} {at}{advice}{note}"


def command() -> click.Command:
    """Build the command."""
    path = click.Path(path_type=Path)
    names = listed([*ALGORITHMS, *AVERAGES])
    asked: list[click.Parameter] = [
        click.Option(["--algorithm"], type=TrainedName(), help=f"One of {names} (required)."),
        click.Option(
            ["--schedule"],
            type=click.Choice(list(_TRAINED)),
            default="synchronous",
            show_default=True,
            help="Who meets the center when.",
        ),
        click.Option(["--workers"], type=Count(), help="How many train; a sequential method has 1."),
        click.Option(["--tau"], type=Count(), default=1, show_default=True, help="Steps per exchange."),
        *record_parameters(),
        click.Option(
            ["--beta"],
            type=FiniteNumber(),
            help="In place of --alpha: alpha = beta / workers, if synchronous, else beta / (workers tau).",
        ),
        click.Option(["--decay"], type=FiniteNumber(), help="gamma of eta / (1 + gamma t)^(1/2), t a worker's steps."),
        click.Option(
            ["--average-weight"],
            type=FiniteNumber(),
            help=f"Of mvasgd and mvadownpour, in (0, 1].  [default: {AVERAGE_WEIGHT}]",
        ),
        click.Option(["--steps"], type=Count(), help="Gradient steps of each worker."),
        click.Option(["--epochs"], type=Count(), help="In place of --steps: how often each worker sees its data."),
    ]
    options: list[click.Parameter] = [
        click.Option(["--data"], default="digits", show_default=True, help="Or fashion-mnist, cifar10, imagefolder."),
        click.Option(["--data-dir"], help="Where the data lie."),
        click.Option(["--shard"], is_flag=True, help="Each worker has a part of the data of its own."),
        click.Option(
            ["--model"], default="cnn", show_default=True, help="Or tiny, cifar7, imagenet11, module:factory."
        ),
        click.Option(
            ["--average-buffers/--own-buffers"],
            default=None,
            help="The center's batch normalisation: the mean of the workers', or the first worker's.",
        ),
        click.Option(["--batch-size"], type=Count(), default=128, show_default=True, help="Of each worker."),
        click.Option(["--weight-decay"], type=FiniteNumber(), default=0.0, show_default=True, help="The l2 weight."),
        click.Option(["--seed"], type=Count(0), default=0, show_default=True, help="Of everything random."),
        click.Option(
            ["--delays"],
            type=FiniteNumbers(),
            help="Injected: seconds by which a worker's steps take longer, worker by worker, with commas.",
        ),
        click.Option(
            ["--transport"],
            type=click.Choice(["processes", "in-process"]),
            default="processes",
            show_default=True,
            help="A process for each worker, or all in one.",
        ),
        click.Option(
            ["--device"], type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where."
        ),
        click.Option(["--no-preflight"], is_flag=True, help="Do not measure the curvature; predict nothing."),
        click.Option(["--evaluate-every"], type=Count(), help="Steps between measurements.  [default: a tenth]"),
        click.Option(["--checkpoint-every"], type=Count(), help="Steps between checkpoints.  [default: a tenth]"),
        click.Option(["--max-restarts"], type=Count(0), default=3, show_default=True, help="After a process was lost."),
        click.Option(
            ["--replace"], is_flag=True, help="Asynchronous: start another process for a worker that is lost."
        ),
        click.Option(["--order"], type=path, help="Asynchronous, in-process: the order.csv of a run to do again."),
        click.Option(
            ["--silence"],
            type=FiniteNumber(),
            default=300.0,
            show_default=True,
            help="Asynchronous: seconds after which a worker that hangs is lost.",
        ),
        click.Option(["--resume"], is_flag=True, help="Go on from the last checkpoint in the directory."),
        click.Option(["-o", "--output"], type=path, default=Path("run"), show_default=True, help="The directory."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
    ]
    return click.Command("train", params=[*collected(asked), *options], callback=_run, help=_HELP)


_HELP = """Train a network with many workers: predict, run, and say how it ended.

The rules are the definitions whose maps are proved. The directory gets metrics.jsonl (one line an event), result.json,
center.safetensors and checkpoints. A run that diverges is a result, and exits with 0; one that could not do its job
exits with 1. torch.distributed has no authentication: everything stays on loopback. For several machines start this
command with torchrun: torchrun --nnodes 2 --nproc-per-node 2 -m easgd_cli.main train ... --workers 4

\b
Example: easgd train --algorithm easgd --workers 4 --eta 0.1 --beta 0.9 --tau 10 --steps 1000 -o run
"""


def asked_setup(context: click.Context) -> tuple[Setup, Averaging | None]:
    """What was asked to be trained, and with which average."""
    from gpu_trainer import Averaging

    asked = given(context, ("algorithm", "schedule", "workers", "tau", "beta", "average_weight"))
    if "algorithm" not in asked:
        raise click.UsageError(f"--algorithm is missing: one of {listed([*ALGORITHMS, *AVERAGES], 'or')}")
    name, moves = AVERAGES.get(asked["algorithm"], (asked["algorithm"], False))
    if "average_weight" in asked and not moves:
        raise click.UsageError(f"--average-weight is that of mvasgd and mvadownpour, got {asked['algorithm']}")
    with one_sentence():
        weight = asked.get("average_weight", AVERAGE_WEIGHT) if moves else None
        averaging = Averaging(weight) if asked["algorithm"] in AVERAGES else None
    rule, values = ALGORITHMS[name], given_of_record(context)
    if "workers" not in asked and "p" not in rule.requires_one:
        raise click.UsageError(f"{rule.__name__} needs --workers: a whole number of at least 1")
    setup = Setup(rule, asked["schedule"], asked.get("workers", 1), asked["tau"], values)
    if "beta" in asked:
        setup = dataclasses.replace(setup, values={**values, "alpha": _alpha(setup, asked["beta"])})
    return setup, averaging


def _alpha(setup: Setup, beta: float) -> float:
    """The moving rate of a beta (paper, Section 5)."""
    if "alpha" in setup.values or "alpha" not in setup.algorithm.parameters():
        got = "both" if "alpha" in setup.values else setup.algorithm.__name__
        raise click.UsageError(f"--beta takes the place of --alpha, got {got}")
    assert setup.p is not None
    return beta / setup.p / (1 if setup.schedule_name == "synchronous" else setup.tau)


def asked_algorithm(context: click.Context, setup: Setup) -> Algorithm:
    """The algorithm with its values, and a rate that decays where that was asked."""
    from gpu_trainer import Decayed

    algorithm = setup.record()
    decay = given(context, ("decay",)).get("decay")
    if decay is None:
        return algorithm
    with one_sentence():
        return dataclasses.replace(algorithm, eta=Decayed(setup.values["eta"], decay))  # type: ignore[type-var]


@click.pass_context
def _run(
    context: click.Context,
    data: str,
    data_dir: str | None,
    shard: bool,
    model: str,
    average_buffers: bool | None,
    batch_size: int,
    weight_decay: float,
    seed: int,
    delays: float | list[float] | None,
    transport: str,
    device: str,
    no_preflight: bool,
    evaluate_every: int | None,
    checkpoint_every: int | None,
    max_restarts: int,
    replace: bool,
    order: Path | None,
    silence: float,
    resume: bool,
    output: Path,
    as_json: bool,
) -> None:
    from gpu_trainer import Failure, Job, Keep, Processes, train
    from gpu_trainer.launch import launched

    setup, averaging = asked_setup(context)
    settings: dict[str, Any] = {
        "data": data,
        "data_dir": data_dir,
        "shard": shard,
        "model": model,
        "batch_size": batch_size,
    }
    settings |= {"average_buffers": average_buffers, "weight_decay": weight_decay, "seed": seed}
    settings["delays"] = tuple(delays) if isinstance(delays, list) else () if delays is None else (delays,)
    schedule, algorithm = setup.schedule(_TRAINED), asked_algorithm(context, setup)
    with one_sentence():
        job = Job(algorithm=algorithm, schedule=schedule, steps=1, averaging=averaging, **settings)
        job = dataclasses.replace(job, steps=_steps(context, job))
    begun = launched()
    first = begun.rank == 0
    if first:
        _prepare(output, resume or begun.restarts > 0)
    keep = Keep(directory=output, evaluate_every=evaluate_every, checkpoint_every=checkpoint_every, resume=resume)
    if (order is not None or replace) and not job.is_asynchronous:
        raise click.UsageError(f"{'--replace' if replace else '--order'} needs --schedule asynchronous")
    if order is not None and transport == "processes":
        raise click.UsageError("--order needs --transport in-process")
    counted = "epochs" in given(context, ("epochs",))  # by torch, whose threads do not live on in a fork
    with one_sentence():
        how = Processes(max_restarts=max_restarts, replace=replace, silence=silence, fork=not counted)
    processes = how if transport == "processes" else None

    def kept() -> str:
        return f"{str(output)!r} holds checkpoints" if any(output.glob("checkpoints/step_*")) else ""

    try:
        with one_sentence(), told_how_to_continue(kept, "--resume goes on from the last one"):
            result, _ = train(
                job,
                predict=not no_preflight,
                keep=keep,
                processes=processes,
                device=device,
                tell=Teller(),
                order=order,
            )
    except Failure as failure:
        click.echo(f"easgd: error: {failure}", err=True)
        raise click.exceptions.Exit(FAILED) from None
    if as_json and first:
        click.echo(to_json(result.record()))
    elif first:
        _show(result.record(), output)


def _steps(context: click.Context, job: Job) -> int:
    """Of each worker."""
    asked = given(context, ("steps", "epochs"))
    if len(asked) != 1:
        raise click.UsageError(f"one of --steps and --epochs must be given, got {'both' if asked else 'neither'}")
    if "steps" in asked:
        return int(asked["steps"])
    from gpu_trainer.batches import Batches
    from gpu_trainer.data import load

    batches = Batches(load(job.data, job.data_dir), job.batch_size, job.seed, job.shard, job.workers)
    return int(asked["epochs"]) * batches.per_epoch


def _prepare(directory: Path, resume: bool) -> None:
    """The directory, which must hold no run but one that is to be resumed."""
    held = [name for name in ("metrics.jsonl", "result.json", "checkpoints") if (directory / name).exists()]
    if held and not resume:
        raise click.UsageError(
            f"-o {str(directory)!r} holds a run already ({listed(held)}): --resume goes on with it, another directory "
            "begins a new one"
        )
    if directory.exists() and not directory.is_dir():
        raise click.UsageError(f"-o must name a directory, got the file {str(directory)!r}")


def _show(result: Mapping[str, Any], directory: Path) -> None:
    """The result for a person: the verdict first."""
    config = result["config"]
    at = f" at step {result['diverged_at']}" if result["diverged_at"] is not None else ""
    values = ", ".join(f"{flag(name)} {value}" for name, value in config["parameters"].items())
    click.echo(f"{result['verdict']}{at}: {config['algorithm']} {values}, {config['workers']} workers")
    if result["test_error"] is not None and at == "":
        click.echo(
            f"center: test error {result['test_error']:.2%}, test loss {_number(result['test_loss'])}, "
            f"train loss {_number(result['train_loss'])}"
        )
    if result["lost_workers"]:
        click.echo(f"lost workers: {', '.join(map(str, result['lost_workers']))}")
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["time"].items())
    click.echo(
        f"{result['steps']} steps in {result['seconds']:.1f} s ({parts}), {result['samples_per_second']:.0f} images/s"
    )
    click.echo(f"wrote {directory}")


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
