"""`easgd simulate`: what an algorithm does, run for many rounds and replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from easgd_cli.objective import asked_objective, objective_parameters
from easgd_cli.output import (
    PICTURES,
    check_data,
    check_directory,
    check_file,
    one_row_per_value,
    to_json,
    write_data,
    write_picture,
)
from easgd_cli.progress import told_how_to_continue
from easgd_cli.question import (
    SCHEDULES,
    Count,
    FiniteNumbers,
    Setup,
    asked_setup,
    listed,
    one_sentence,
    setup_parameters,
)
from easgd_cli.times import asked_times, times_parameters
from easgd_theory.schedules import Asynchronous, RandomOrder, RoundRobin, Schedule, Synchronous
from easgd_theory.times import Times

if TYPE_CHECKING:
    import xarray as xr

    from easgd_theory.algorithm import Algorithm
    from simulations.objectives import Objective

DATA = (".zarr", ".nc", ".csv")
LARGEST_RECORD = 2**27
"""Numbers that a run may keep: one gibibyte."""

_SIMULATED: dict[str, Callable[..., Schedule]] = {**SCHEDULES, "random": RandomOrder, "asynchronous": Asynchronous}


@dataclass(frozen=True)
class Job:
    """A simulation to run: of what, for how long, what is recorded, written where."""

    setup: Setup
    times: Mapping[str, Any]
    objective: Objective
    rounds: int
    replicas: int
    seed: int
    start: float | list[float]
    recorded: Mapping[str, bool]
    data: Path | None
    picture: Path | None
    checkpoint: Path | None

    def check(self) -> tuple[Algorithm, Schedule]:
        """Refuse what cannot be simulated or written, before anything is; the record and the schedule otherwise."""
        asynchronous = partial(Asynchronous, **self.times)
        schedule = self.setup.schedule({**_SIMULATED, "asynchronous": asynchronous})
        algorithm = self.setup.record()
        self._check_size(type(algorithm), schedule)
        if self.data:
            check_data("-o", self.data, DATA)
        if self.picture:
            check_file("--plot", self.picture, PICTURES)
        if self.checkpoint:
            check_directory("--checkpoint", self.checkpoint.parent, str(self.checkpoint))
        return algorithm, schedule

    def _check_size(self, rule: type[Algorithm], schedule: Schedule) -> None:
        from simulations import Record

        _, width = Record(**self.recorded).layout(rule, schedule.workers(), self.objective.dimension() or 1)
        numbers = (self.rounds + 1) * width * (3 if self.recorded["statistics"] else self.replicas)
        if numbers > LARGEST_RECORD:
            raise click.UsageError(
                f"--rounds {self.rounds} and --replicas {self.replicas} record {numbers} numbers, and {LARGEST_RECORD} "
                "may be kept; --statistics keeps mean and variance in place of every replica"
            )


def run(job: Job, algorithm: Algorithm, schedule: Schedule) -> xr.Dataset:
    """Simulate; a bar shows the progress, and with a checkpoint an interrupted run says that it can be continued."""
    from easgd_cli.progress import progress
    from simulations import Record, simulate

    path = job.checkpoint
    if path is not None and path.exists():
        click.echo(f"easgd: continuing from {str(path)!r}", err=True)

    def kept() -> str:
        return f"{str(path)!r} holds the run so far" if path is not None and path.exists() else ""

    with one_sentence(), told_how_to_continue(kept), progress("simulate", job.rounds) as bar:
        return simulate(
            algorithm,
            schedule,
            job.objective,
            rounds=job.rounds,
            replicas=job.replicas,
            seed=job.seed,
            start=job.start,
            record=Record(**job.recorded),
            progress=lambda done, _: bar.reach(done),
            checkpoint=path,
        )


def predicted(job: Job, algorithm: Algorithm, schedule: Schedule) -> float | None:
    """The spectral radius of a round, where the objective and the schedule have one."""
    import numpy as np

    from easgd_theory.spectrum import spectral_radius
    from simulations.objectives import Quadratic

    if not isinstance(schedule, Synchronous | RoundRobin) or not isinstance(job.objective, Quadratic):
        return None
    h = job.objective.h
    with one_sentence():
        return float(np.asarray(spectral_radius(algorithm, schedule, h, over_spectrum=np.ndim(h) > 0)))


def summary(job: Job, algorithm: Algorithm, schedule: Schedule, result: xr.Dataset, seconds: float) -> dict[str, Any]:
    """What `--json` prints."""
    from easgd_cli.outcome import growth_of, over_replicas

    last = over_replicas(result.isel(round=[-1])).isel(round=0)
    diverged = result.diverged.dropna("replica")
    radius = predicted(job, algorithm, schedule)
    return {
        "algorithm": type(algorithm).__name__,
        "schedule": job.setup.schedule_name,
        "p": schedule.workers(),
        "tau": schedule.tau,
        "times": {name: str(value) if isinstance(value, Times) else value for name, value in job.times.items()},
        "parameters": dict(job.setup.values),
        "objective": type(job.objective).__name__,
        "objective_parameters": {
            name: value if isinstance(value, float) else value.tolist()
            for name, value in job.objective.parameters().items()
        },
        "rounds": job.rounds,
        "replicas": job.replicas,
        "seed": job.seed,
        "diverged": diverged.size,
        "first_diverged_round": int(diverged.min()) if diverged.size else None,
        "center_mean": last.center.sel(statistic="mean").values.tolist(),
        "center_variance": last.center.sel(statistic="variance").values.tolist(),
        "simulated_seconds": last.time.sel(statistic="mean").item() if "time" in last else None,
        "loss": last.loss.sel(statistic="mean").item() if "loss" in last else None,
        "spectral_radius": radius,
        "measured_growth": None if radius is None else growth_of(result),
        "data": job.data and str(job.data),
        "picture": job.picture and str(job.picture),
        "checkpoint": job.checkpoint and str(job.checkpoint),
        "seconds": round(seconds, 3),
    }


def command() -> click.Command:
    """Build the command."""
    own: list[click.Parameter] = [
        click.Option(["--rounds"], type=Count(), help="How many rounds (required)."),
        click.Option(["--replicas"], type=Count(), default=1, show_default=True, help="Independent runs."),
        click.Option(["--seed"], type=Count(0), default=0, show_default=True, help="The same seed, the same bits."),
        click.Option(
            ["--start"],
            type=FiniteNumbers(),
            default=1.0,
            show_default="1",
            help="Where every x starts, or with commas all variables, worker by worker and then the center.",
        ),
        click.Option(["--loss"], is_flag=True, help="Record the objective at the center."),
        click.Option(["--spread"], is_flag=True, help="Record the workers' mean squared distance from the center."),
        click.Option(["--worker-mean"], is_flag=True, help="Record the mean of the workers."),
        click.Option(["--statistics"], is_flag=True, help="Keep mean and variance over the replicas, not every one."),
        click.Option(
            ["-o", "--output"], type=click.Path(path_type=Path), help=f"What was recorded: {listed(DATA, 'or')}."
        ),
        click.Option(["--plot"], type=click.Path(path_type=Path), help=f"The picture: {listed(PICTURES, 'or')}."),
        click.Option(
            ["--checkpoint"],
            type=click.Path(path_type=Path),
            help="A file for the state of the run; the same command goes on from there, to the same bits.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the summary as JSON."),
    ]
    parameters = [*setup_parameters(_SIMULATED, Count()), *times_parameters(), *objective_parameters(), *own]
    return click.Command("simulate", params=parameters, callback=_run, help=_HELP)


_HELP = """Simulate ALGORITHM: say where it went, and whether it diverged.

The rules are the definitions whose maps are proved, compiled. On a quadratic the growth that is measured stands beside
the spectral radius that predicts it.

\b
Example: easgd simulate easgd --p 8 --schedule synchronous --eta 0.1 --alpha 0.1 --noise 1 --rounds 1000
         --replicas 256 --loss -o run.zarr --plot run.png
"""


@click.pass_context
def _run(
    context: click.Context,
    rounds: int | None,
    replicas: int,
    seed: int,
    start: float | list[float],
    loss: bool,
    spread: bool,
    worker_mean: bool,
    statistics: bool,
    output: Path | None,
    plot: Path | None,
    checkpoint: Path | None,
    as_json: bool,
) -> None:
    setup, objective = asked_setup(context), asked_objective(context)
    times = asked_times(context, setup.schedule_name)
    if rounds is None:
        raise click.UsageError("--rounds is missing: how many rounds, such as --rounds 1000")
    recorded = {"loss": loss, "spread": spread, "worker_mean": worker_mean, "statistics": statistics}
    job = Job(setup, times, objective, rounds, replicas, seed, start, recorded, output, plot, checkpoint)
    algorithm, schedule = job.check()
    began = time.perf_counter()
    result = run(job, algorithm, schedule)
    if output:
        write_data(result, output, one_row_per_value)
    if plot:
        from easgd_cli.outcome import curves
        from figures.draw import simulation

        write_picture(simulation(curves(result)), plot)
    record = summary(job, algorithm, schedule, result, time.perf_counter() - began)
    if as_json:
        click.echo(to_json(record))
    else:
        _show(record)


def _show(record: Mapping[str, Any]) -> None:
    """Print the summary for a person: the verdict first."""
    values, of = record["parameters"], record["objective_parameters"]
    rounds, replicas, lost, first = (
        record[name] for name in ("rounds", "replicas", "diverged", "first_diverged_round")
    )
    if not lost:
        verdict = "did not diverge"
    elif replicas == 1:
        verdict = f"diverged at round {first}"
    else:
        verdict = f"{lost} of {replicas} replicas diverged, the first at round {first}"
    click.echo(f"{verdict}: {rounds} rounds, replicas: {replicas}, seed {record['seed']}")
    schedule = f"{record['schedule']}, p={record['p']}, tau={record['tau']}"
    click.echo(f"{_call(record['algorithm'], values)}, {schedule}, {_call(record['objective'], of)}")
    mean, variance = record["center_mean"], record["center_variance"]
    if lost < replicas:
        deviation = "" if replicas - lost == 1 else f", standard deviation {_numbers([v**0.5 for v in variance])}"
        click.echo(f"center at the end: mean {_numbers(mean)}{deviation}")
    if record["loss"] is not None and lost < replicas:
        click.echo(f"loss at the end: {record['loss']:.6g}")
    if record["simulated_seconds"] is not None:
        click.echo(f"simulated time: {record['simulated_seconds']:.6g} s")
    if record["spectral_radius"] is not None:
        growth = record["measured_growth"]
        found = "no single factor was measured" if growth is None else f"measured {growth:.9g}"
        click.echo(f"growth per round: {found}, predicted {record['spectral_radius']:.9g} (the spectral radius)")
    written = [record[name] for name in ("data", "picture", "checkpoint") if record[name]]
    click.echo(f"{record['seconds']:.1f} s" + (f"; wrote {listed(written)}" if written else ""))


def _call(name: str, values: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in values.items())})"


def _numbers(values: list[float]) -> str:
    few = ", ".join(f"{value:.6g}" for value in values[:4])
    return few if len(values) <= 4 else f"{few}, ... ({len(values)} coordinates)"
