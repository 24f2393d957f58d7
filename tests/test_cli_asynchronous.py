"""`easgd train --schedule asynchronous`, with real processes: killed, hung, replaced; and the recorded order."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_cli import easgd
from test_cli_train import ENVIRONMENT, done, events, kept, start, until, with_processes  # noqa: F401

pytestmark = with_processes

RUN = "train --schedule asynchronous --batch-size 32 --model tiny --no-preflight"
ELASTIC = f"{RUN} --algorithm easgd --eta 0.1 --beta 0.9 --tau 2 --workers 3"


def pid_of(directory, rank):
    """Of the last process that began as this rank."""
    return [event["pid"] for event in events(directory) if event["event"] == "started" and event["rank"] == rank][-1]


def steps(directory, rank):
    """Of a worker, as recorded last."""
    return max(
        (event["step"] for event in events(directory) if event["event"] == "worker" and event["rank"] == rank),
        default=0,
    )


def result_of(directory):
    return json.loads((directory / "result.json").read_text())


@pytest.mark.parametrize(
    "algorithm",
    [
        "easgd --eta 0.1 --beta 0.9",
        "eamsgd --eta 0.05 --beta 0.9 --delta 0.9",
        "adownpour --eta 0.02",
        "admm --eta 0.1 --rho 1",
        "diloco --eta 0.05 --nu 0.7 --mu 0.5",
        "mdownpour --eta 0.005 --delta 0.9",
    ],
)
def test_a_run_is_done_again_in_one_process_from_its_order(start, algorithm, tmp_path):  # noqa: F811
    tau = 1 if algorithm.startswith(("admm", "mdownpour")) else 3
    line = f"{RUN} --algorithm {algorithm} --tau {tau} --workers 2 --steps 60"
    done(start(f"{line} -o {tmp_path / 'run'}"))
    again = easgd(f"{line} -o {tmp_path / 'again'} --transport in-process --order {tmp_path / 'run' / 'order.csv'}")
    assert again.exit_code == 0, again.stderr
    run, replayed = (load_file(tmp_path / name / "center.safetensors") for name in ("run", "again"))
    for name in run:
        torch.testing.assert_close(replayed[name], run[name], rtol=1e-3, atol=1e-4)
    first, second = result_of(tmp_path / "run"), result_of(tmp_path / "again")
    assert (first["steps"], first["lost_workers"], first["restarts"]) == (60, [], 0)
    assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-3)
    roles = {event["rank"]: event["role"] for event in events(tmp_path / "run") if event["event"] == "started"}
    assert roles == {0: "worker", 1: "worker", 2: "center"}
    order = np.loadtxt(tmp_path / "run" / "order.csv", delimiter=",", skiprows=1)
    assert (len(order), order[:, 1].sum()) == (2 * 60 // tau, 0)
    measured = [event for event in events(tmp_path / "run") if event["event"] == "center"]
    assert [event["step"] for event in measured] == sorted({event["step"] for event in measured})  # each step once
    assert all(0 <= event["staleness"] <= event["largest_staleness"] for event in measured if "staleness" in event)


def test_a_killed_worker_costs_its_own_steps_only(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 400 -o {tmp_path}")
    until(lambda: steps(tmp_path, 1) >= 40, process)
    os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
    done(process)
    result = result_of(tmp_path)
    assert (result["verdict"], result["lost_workers"], result["restarts"]) == ("stable", [1], 0)
    assert steps(tmp_path, 0) == steps(tmp_path, 2) == 400
    assert steps(tmp_path, 1) < 400
    order = np.loadtxt(tmp_path / "order.csv", delimiter=",", skiprows=1)
    assert [(order[:, 0] == worker).sum() for worker in (0, 2)] == [200, 200]
    assert any(event["event"] == "lost" and event["worker"] == 1 for event in events(tmp_path))


def test_a_replacement_begins_at_the_center_and_contributes(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 400 --replace -o {tmp_path}")
    until(lambda: steps(tmp_path, 1) >= 40, process)
    killed = pid_of(tmp_path, 1)
    os.kill(killed, signal.SIGKILL)
    done(process)
    assert pid_of(tmp_path, 1) != killed
    assert [steps(tmp_path, rank) for rank in range(3)] == [400] * 3
    order = np.loadtxt(tmp_path / "order.csv", delimiter=",", skiprows=1)
    begins = order[(order[:, 1] == 1)]
    assert len(begins) == 1
    assert begins[0, 0] == 1
    after = order[(order[:, 0] == 1) & (order[:, 1] == 0) & (order[:, 2] >= begins[0, 2])]
    assert len(after) == (400 - begins[0, 2]) // 2
    assert result_of(tmp_path)["lost_workers"] == [1]


def test_a_killed_center_is_started_again_and_the_workers_come_back(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 600 --checkpoint-every 40 -o {tmp_path}")
    until(lambda: kept(tmp_path) >= 80, process)
    killed = pid_of(tmp_path, 3)
    os.kill(killed, signal.SIGKILL)
    _, said = done(process)
    assert "a process was lost; going on from step" in said
    result = result_of(tmp_path)
    assert (result["verdict"], result["lost_workers"], result["restarts"]) == ("stable", [], 1)
    assert pid_of(tmp_path, 3) != killed
    assert [steps(tmp_path, rank) for rank in range(3)] == [600] * 3


MEASURED_AFTERWARDS = """
import sys
from pathlib import Path
from easgd_theory import EASGD, Asynchronous
from gpu_trainer import Job, Keep, Processes, train
if __name__ == "__main__":
    job = Job(algorithm=EASGD(0.1, 0.15), schedule=Asynchronous(p=3, tau=2), steps=600, model="tiny", batch_size=32)
    every = {"evaluate_every": 60, "checkpoint_every": 40}
    train(job, keep=Keep(directory=Path(sys.argv[1]), measure_afterwards=True, **every), processes=Processes())
"""


def test_a_killed_center_has_kept_what_is_to_be_measured(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MEASURED_AFTERWARDS)
    with subprocess.Popen([sys.executable, script, tmp_path / "run"], env=ENVIRONMENT) as process:
        until(lambda: kept(tmp_path / "run") >= 240, process)
        os.kill(pid_of(tmp_path / "run", 3), signal.SIGKILL)
        assert process.wait(timeout=150) == 0
    measured = [event["step"] for event in events(tmp_path / "run") if event["event"] == "center"]
    result = result_of(tmp_path / "run")
    assert [step // 60 for step in measured[:9]] == list(range(1, 10))
    assert measured[9:] == [result["steps"]]
    assert result["restarts"] == 1
    last = tmp_path / "run" / "checkpoints" / f"step_{result['steps']}" / "state.json"
    assert json.loads(last.read_text())["state"]["moments"] == []


def test_a_worker_that_hangs_does_not_hold_the_others(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 200 --silence 4 -o {tmp_path}")
    until(lambda: steps(tmp_path, 2) >= 20, process)
    os.kill(pid_of(tmp_path, 2), signal.SIGSTOP)
    done(process)
    assert steps(tmp_path, 0) == steps(tmp_path, 1) == 200
    assert result_of(tmp_path)["lost_workers"] == [2]


def test_a_run_goes_on_from_its_checkpoint(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 600 --checkpoint-every 40 -o {tmp_path}")
    until(lambda: kept(tmp_path) >= 80, process)
    process.send_signal(signal.SIGINT)
    _, said = done(process, 130)
    assert "--resume goes on from the last one" in said
    done(start(f"{ELASTIC} --steps 600 --checkpoint-every 40 -o {tmp_path} --resume"))
    assert [steps(tmp_path, rank) for rank in range(3)] == [600] * 3
    assert result_of(tmp_path)["verdict"] == "stable"


def test_what_diverges_is_stopped(start, tmp_path):  # noqa: F811
    line = f"{RUN} --algorithm easgd --eta 0.1 --alpha 2.5 --workers 2 --steps 4000 -o {tmp_path}"
    done(start(line))
    result = result_of(tmp_path)
    assert result["verdict"] == "diverged"
    assert 0 < result["diverged_at"] < 4000
    assert math.isfinite(result["seconds"])


def test_bad_arguments(start, tmp_path):  # noqa: F811
    one = easgd(f"{ELASTIC} --steps 20 --transport in-process -o {tmp_path / 'a'}")
    assert (one.exit_code, "order must be given" in one.stderr) == (2, True)
    other = easgd(f"{ELASTIC} --steps 20 --transport in-process --order /dev/null -o {tmp_path / 'b'}")
    assert (other.exit_code, "order must be the order.csv" in other.stderr) == (2, True)
    _, said = done(start(f"{ELASTIC} --steps 20 -o {tmp_path / 'c'}".replace("tiny", "train_models:normalised")), 2)
    assert "model must have no buffers in an asynchronous run" in said


def test_a_run_whose_workers_are_all_lost_has_failed(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 100000 -o {tmp_path}")
    until(lambda: min(steps(tmp_path, rank) for rank in range(3)) >= 10, process)
    for rank in range(3):
        os.kill(pid_of(tmp_path, rank), signal.SIGKILL)
    _, said = done(process, 1)
    assert "every worker was lost" in said
    assert not (tmp_path / "result.json").exists()


def test_a_run_may_be_made_longer(start, tmp_path):  # noqa: F811
    done(start(f"{ELASTIC} --steps 20 -o {tmp_path}"))
    done(start(f"{ELASTIC} --steps 60 -o {tmp_path} --resume"))
    assert [steps(tmp_path, rank) for rank in range(3)] == [60] * 3
    before = result_of(tmp_path)
    assert before["steps"] == 60
    assert before["time"]["compute"] > 0.0
    done(start(f"{ELASTIC} --steps 60 -o {tmp_path} --resume"))  # nothing is left to do, and nothing is forgotten
    assert result_of(tmp_path)["time"] == pytest.approx(before["time"])


def test_a_worker_that_had_finished_does_again_what_the_center_forgot(start, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 40 --delays 0,0,0.2 --checkpoint-every 500 -o {tmp_path}")
    until(lambda: {0, 1} <= {event["rank"] for event in events(tmp_path) if event["event"] == "ended"}, process)
    os.kill(pid_of(tmp_path, 3), signal.SIGKILL)
    done(process)
    result = result_of(tmp_path)
    assert (result["lost_workers"], result["restarts"]) == ([], 1)
    assert len([event for event in events(tmp_path) if event["event"] == "started" and event["rank"] == 0]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_outlives_the_process_that_started_them(start, number, tmp_path):  # noqa: F811
    process = start(f"{ELASTIC} --steps 100000 -o {tmp_path}")
    until(lambda: min(steps(tmp_path, rank) for rank in range(3)) >= 10, process)
    process.send_signal(number)
    process.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid_of(tmp_path, rank)}/exe").exists() for rank in range(4)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_fails_by_itself_is_not_replaced(start, tmp_path):  # noqa: F811
    _, said = done(start(f"{ELASTIC} --replace --steps 20 -o {tmp_path}".replace("tiny", "train_models:Failing")), 1)
    assert said.strip() == "easgd: error: the disk is on fire"
