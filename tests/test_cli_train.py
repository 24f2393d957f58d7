"""`easgd train`: its contract, with real processes that are killed, interrupted, and started by torchrun."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_cli import easgd

EASGD = "train --algorithm easgd --eta 0.1 --alpha 0.2"
RUN = f"{EASGD} --workers 2 --tau 2 --steps 20 --batch-size 32 --model tiny --no-preflight"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
ENVIRONMENT = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("TORCHELASTIC", "PYTEST"))}

with_processes = pytest.mark.xdist_group("trainer_processes")


@pytest.fixture
def start():
    """`start(line, *launcher)`: the command in a process of its own, that the test does not outlive."""
    with ExitStack() as processes:

        def run(line, *launcher):
            command = [sys.executable, *launcher, "-m", "easgd_cli.main", *line.split()]
            process = processes.enter_context(
                subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            processes.callback(process.terminate)
            return process

        yield run


def done(process, code=0):
    """What it printed; it ended with this code."""
    printed, said = process.communicate(timeout=150)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return printed, said


def events(directory):
    path = directory / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition, process):
    """Wait for what a process does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kept(directory):
    """The step of the last checkpoint."""
    return max((int(path.name[5:]) for path in directory.glob("checkpoints/step_*")), default=0)


def centers_equal(one, other):
    return (one / "center.safetensors").read_bytes() == (other / "center.safetensors").read_bytes()


def test_the_contract_in_one_process(tmp_path):
    result = easgd(f"{RUN} --transport in-process -o {tmp_path} --json --beta 0.9".replace("--alpha 0.2 ", ""))
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record == json.loads((tmp_path / "result.json").read_text())
    assert set(record) == {
        *("verdict", "diverged_at", "test_error", "test_loss", "train_loss", "steps", "seconds", "samples_per_second"),
        *("time", "lost_workers", "restarts", "predicted", "config", "version", "schema_version"),
    }
    assert record["config"]["parameters"] == {"eta": 0.1, "alpha": 0.45}
    assert (record["steps"], record["predicted"]) == (20, None)
    assert (tmp_path / "center.safetensors").exists()
    assert events(tmp_path)[0].items() >= {"event": "started", "rank": 0, "role": "worker", "pid": os.getpid()}.items()


def test_beta_is_that_of_the_schedule(tmp_path):
    line = f"{RUN} --transport in-process --schedule round-robin -o {tmp_path} --json --beta 0.9".replace(
        "--alpha 0.2 ", ""
    )
    assert json.loads(easgd(line).stdout)["config"]["parameters"]["alpha"] == 0.225


def test_what_is_unstable_says_so_before_and_after(tmp_path):
    line = (
        f"train --algorithm easgd --eta 0.05 --alpha 0.55 --workers 4 --steps 200 --transport in-process -o {tmp_path}"
    )
    result = easgd(line)
    assert result.exit_code == 0
    assert "predicted: unstable" in result.stderr
    assert "stable would be alpha = " in result.stderr
    assert result.stdout.startswith("diverged at step ")


def test_epochs_are_those_of_a_worker(tmp_path):
    line = f"{RUN} --transport in-process -o {tmp_path} --json --epochs 1 --shard".replace("--steps 20 ", "")
    assert json.loads(easgd(line).stdout)["steps"] == 1437 // 2 // 32


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--algorithm easgd", ""), "--algorithm is missing"),
        (("easgd", "eagsd"), "did you mean easgd?"),
        (("easgd", "adownpour"), "DOWNPOUR has no parameter alpha"),
        (("--alpha 0.2", ""), "EASGD needs --alpha"),
        (("--alpha 0.2", "--alpha 0.2 --beta 0.9"), "--beta takes the place of --alpha, got both"),
        (("--workers 2", ""), "EASGD needs --workers"),
        (("--workers 2", "--workers 0"), "--workers must be a whole number of at least 1"),
        (("--steps 20", ""), "one of --steps and --epochs must be given, got neither"),
        (("--steps 20", "--steps 20 --epochs 1"), "got both"),
        (("--steps 20", "--steps 20 --average-weight 0.1"), "--average-weight is that of mvasgd and mvadownpour"),
        (("--steps 20", "--steps 20 --decay -1"), "gamma must be a number of at least 0"),
        (("--batch-size 32", "--batch-size 5000"), "batch size must be from 1 to 1437"),
        (("--model tiny", "--model resnet"), "resnet"),
        (("--model tiny", "--data mnits"), "mnits"),
        (("easgd", "msgd --delta 0.9"), "MSGD is defined for p=1 only"),
        (("--steps 20", "--steps 20 --silence 0"), "silence must be a positive number of seconds"),
    ],
)
def test_bad_arguments(change, sentence, tmp_path):
    result = easgd(f"{RUN.replace(*change)} --transport in-process -o {tmp_path / 'out'}")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_an_order_is_not_ignored(tmp_path):
    result = easgd(f"{RUN} --schedule asynchronous --order order.csv -o {tmp_path / 'out'}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--order needs --transport in-process" in result.stderr


def test_any_memory_format_can_be_kept(tmp_path):
    line = f"{RUN} --transport in-process -o {tmp_path}".replace("tiny", "train_models:channels_last")
    assert easgd(line).exit_code == 0
    assert kept(tmp_path)


def test_a_directory_that_holds_a_run_is_not_overwritten(tmp_path):
    line = f"{RUN} --transport in-process -o {tmp_path}"
    assert easgd(line).exit_code == 0
    before = (tmp_path / "result.json").read_bytes()
    result = easgd(line)
    assert result.exit_code == 2
    assert "holds a run already" in result.stderr
    assert (tmp_path / "result.json").read_bytes() == before
    assert easgd(f"{line} --resume").exit_code == 0


@with_processes
def test_processes_make_epochs(start, tmp_path, monkeypatch):
    """The threads that counted them do not live on in a fork."""
    monkeypatch.setitem(ENVIRONMENT, "OMP_NUM_THREADS", "2")
    done(start(f"train --algorithm sgd --eta 0.01 --model tiny --no-preflight --epochs 1 -o {tmp_path}"))
    assert (tmp_path / "result.json").exists()


@with_processes
def test_processes_give_the_numbers_of_one_process(start, tmp_path):
    """With dropout, batch normalisation and a decaying rate; and everything listens on loopback only."""
    line = RUN.replace("easgd", "eamsgd --delta 0.9").replace("tiny", "train_models:normalised") + (
        " --average-buffers --decay 0.01 --workers 3 --schedule round-robin"
    )
    process = start(f"{line} -o {tmp_path / 'many'} --steps 200")
    until(lambda: [event for event in events(tmp_path / "many") if event["event"] == "worker"], process)
    pids = [event["pid"] for event in events(tmp_path / "many") if event["event"] == "started"]
    assert len(set(pids)) == 3
    listening = [address for pid in (process.pid, *pids) for address in listening_addresses(pid)]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}
    done(process)
    assert easgd(f"{line} -o {tmp_path / 'one'} --steps 200 --transport in-process").exit_code == 0
    many, one = (load_file(tmp_path / name / "center.safetensors") for name in ("many", "one"))
    for name in one:
        torch.testing.assert_close(many[name], one[name], rtol=1e-3, atol=1e-4)
    a, b = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("many", "one"))
    assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)
    assert a["config"] == b["config"]


def listening_addresses(pid):
    """The addresses on which a process listens, from /proc."""
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    own = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for kind, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                words = fields[1].partition(":")[0]
                packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
                found.append(socket.inet_ntop(family, packed))
    return found


@with_processes
def test_a_killed_worker_is_started_again_to_the_same_bits(start, tmp_path):
    line = f"{RUN} --workers 4 --steps 160 --checkpoint-every 20"
    done(start(f"{line} -o {tmp_path / 'whole'}"))
    process = start(f"{line} -o {tmp_path / 'killed'}")
    until(lambda: kept(tmp_path / "killed") >= 40, process)
    victim = next(
        event["pid"] for event in events(tmp_path / "killed") if event["event"] == "started" and event["rank"] == 2
    )
    os.kill(victim, signal.SIGKILL)
    _, said = done(process)
    assert "a process was lost; going on from step" in said
    assert centers_equal(tmp_path / "whole", tmp_path / "killed")
    result = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert (result["restarts"], result["lost_workers"], result["steps"]) == (1, [], 160)


@with_processes
def test_an_interrupted_run_says_how_to_go_on_and_does(start, tmp_path):
    line = f"{RUN} --steps 300 --checkpoint-every 20"
    process = start(f"{line} -o {tmp_path / 'parts'}")
    until(lambda: kept(tmp_path / "parts") >= 40, process)
    process.send_signal(signal.SIGINT)
    _, said = done(process, 130)
    assert "--resume goes on from the last one" in said
    done(start(f"{line} -o {tmp_path / 'parts'} --resume"))
    done(start(f"{line} -o {tmp_path / 'whole'}"))
    assert centers_equal(tmp_path / "whole", tmp_path / "parts")


@with_processes
def test_what_cannot_be_done_is_said_once(start, tmp_path):
    _, said = done(start(f"{RUN.replace('tiny', 'train_models:Failing')} -o {tmp_path}"), 1)
    assert said.strip() == "easgd: error: the disk is on fire"
    _, said = done(start(f"{RUN.replace('tiny', 'resnet')} -o {tmp_path / 'other'}"), 2)
    assert "got 'resnet'" in said


@with_processes
def test_a_run_that_is_killed_too_often_fails(start, tmp_path):
    process = start(f"{RUN} --steps 2000 --max-restarts 0 -o {tmp_path}")
    until(lambda: len([event for event in events(tmp_path) if event["event"] == "worker"]) > 1, process)
    os.kill(next(event["pid"] for event in events(tmp_path) if event["event"] == "started"), signal.SIGKILL)
    _, said = done(process, 1)
    assert "was ended by SIGKILL after 0 restarts" in said


@with_processes
def test_torchrun_starts_the_same_program(start, tmp_path):
    line = f"{RUN} -o {tmp_path / 'torchrun'} --json"
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    printed, _ = done(start(line, *launcher, "--master-port", str(free_port())))
    done(start(f"{RUN} -o {tmp_path / 'own'}"))
    assert centers_equal(tmp_path / "torchrun", tmp_path / "own")
    assert json.loads(printed)["steps"] == 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@with_processes
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_numbers_of_the_cpu(start, tmp_path):
    """NCCL where each worker has a GPU, gloo where they share one."""
    for device in ("cpu", "cuda"):
        done(start(f"{RUN} --device {device} -o {tmp_path / device}"))
    cpu, cuda = (load_file(tmp_path / name / "center.safetensors") for name in ("cpu", "cuda"))
    for name in cpu:
        torch.testing.assert_close(cuda[name], cpu[name], rtol=1e-3, atol=1e-4)
