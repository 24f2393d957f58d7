"""What an exchange costs on a real network: the paper's 7-layer network, four processes, tau = 10.

    python benchmarks/exchange.py [--data fashion-mnist] [--steps 100] [--batch-size 128]

Runs `easgd train` and reads its records: the time of an exchange after the processes have met (copy, transfer,
arithmetic) beside that of tau median steps; waiting for stragglers apart.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

TAU, WORKERS = 10, 4


def main():
    """Run, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line = (
            f"train --algorithm easgd --eta 0.01 --beta 0.9 --workers {WORKERS} --tau {TAU} --model cifar7 "
            f"--no-preflight --data {asked.data} --steps {asked.steps} --batch-size {asked.batch_size} -o {folder}/run "
            f"--evaluate-every {asked.steps} --checkpoint-every {asked.steps}"
        )
        subprocess.run([sys.executable, "-m", "easgd_cli.main", *line.split()], check=True)
        events = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    steps, exchanges, waits = [], [], []
    for rank in range(WORKERS):
        looks = [event["time"] for event in events if event["event"] == "worker" and event["rank"] == rank]
        for before, after in pairwise(looks):  # one exchange and tau steps
            spent = {kind: after[kind] - before[kind] for kind in after}
            steps.append((spent["compute"] + spent["data"]) / TAU)
            exchanges.append(spent["communicate"])
            waits.append(spent["wait"])
    step, exchange, wait = map(statistics.median, (steps, exchanges, waits))
    print(f"median step {1e3 * step:.1f} ms, median exchange {1e3 * exchange:.2f} ms, median wait {1e3 * wait:.1f} ms")
    share, waiting = (each / (TAU * step) for each in (exchange, wait))
    print(f"an exchange costs {share:.2%} of tau = {TAU} median steps; waiting {waiting:.1%}")


if __name__ == "__main__":
    main()
