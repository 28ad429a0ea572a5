#!/usr/bin/env python3
"""What sidecars cost that nobody asks anything: memory and processor time of 20 of them together.

Each has its own ledger and the same simulated OpenRouter, polls as set, and is asked for its health every 10 s by a process
of its own, as Docker does it (what Docker itself needs for that is not counted). Linux only; loopback only.

    bench/idle.py [--sidecars 20] [--seconds 180] [--program FILE]
"""

import argparse
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-or-v1-" + 64 * "5"

# As the HEALTHCHECK of the Dockerfile.
HEALTH_SECONDS = 10

# As the C library is told in the image.
TUNABLES = re.search(r"GLIBC_TUNABLES=(\S+)", (ROOT / "Dockerfile").read_text())[1]

# After the first poll and the first list of prices; no figure.
REST_SECONDS = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--program", type=Path, help="built as it is shipped where it is not given")
    return parser.parse_args()


def shipped():
    return Path(subprocess.run([ROOT / "scripts" / "shipped.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def simulator_program():
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "openrouter-sim"], cwd=ROOT, check=True)
    return ROOT / "target" / "debug" / "openrouter-sim"


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Sidecar:
    def __init__(self, program, folder, upstream):
        self.program = program
        self.environment = {
            "GLIBC_TUNABLES": TUNABLES,
            "OPENROUTER_HOST": upstream,
            "OPENROUTER_API_KEY": KEY,
            "ORGANIZATION_NAME": "Company_A",
            "DATABASE_PATH": str(folder / "usage.db"),
            "PROXY_LISTEN": free_address(),
            "USAGE_LISTEN": free_address(),
        }
        self.process = subprocess.Popen([program, "daemon"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_healthy(self):
        check = subprocess.run([self.program, "health"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return check.returncode == 0

    def cpu_seconds(self):
        """Of all threads that there are; to the nanosecond, which /proc/PID/stat is not."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def switches(self):
        """How often its threads went to sleep, that is how often they were woken."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text(), re.M)[1]) for thread in threads)

    def memory_kib(self, name):
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(rf"^{name}:\s+(\d+) kB", rollup, re.M)[1])


def cpu_of_checks():
    """Of every health check so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def idle(sidecars, seconds):
    """Asks each for its health in turn, evenly over the time; answers how often."""
    checks, began = 0, time.monotonic()
    pause = HEALTH_SECONDS / len(sidecars)
    while (due := began + checks * pause) < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        assert sidecars[checks % len(sidecars)].is_healthy(), "a sidecar is not healthy"
        checks += 1
    return checks


def measure(sidecars, seconds):
    time.sleep(REST_SECONDS)
    began = time.monotonic()
    cpu, switches, checks_cpu = sum(map(Sidecar.cpu_seconds, sidecars)), sum(map(Sidecar.switches, sidecars)), cpu_of_checks()
    checks = idle(sidecars, seconds)
    took = time.monotonic() - began
    cpu, checks_cpu = sum(map(Sidecar.cpu_seconds, sidecars)) - cpu, cpu_of_checks() - checks_cpu
    resident = [sidecar.memory_kib("Rss") for sidecar in sidecars]
    return {
        "sidecars": len(sidecars),
        "seconds": round(took, 1),
        "cpu_percent_of_a_core": round(100 * (cpu + checks_cpu) / took, 3),
        "of_it_sidecars": round(100 * cpu / took, 3),
        "of_it_health_checks": round(100 * checks_cpu / took, 3),
        "ms_a_health_check": round(1000 * checks_cpu / checks, 2),
        "wake_ups_a_second_each": round((sum(map(Sidecar.switches, sidecars)) - switches) / took / len(sidecars), 1),
        "resident_mib_together": round(sum(resident) / 1024, 1),
        "resident_mib_largest": round(max(resident) / 1024, 1),
        # What they share, the program's own pages, counted once.
        "proportional_mib_together": round(sum(sidecar.memory_kib("Pss") for sidecar in sidecars) / 1024, 1),
    }


def main():
    asked = arguments()
    program = (asked.program or shipped()).resolve()
    simulator = subprocess.Popen([simulator_program()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    sidecars = []
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        try:
            upstream = json.loads(simulator.stdout.readline())["base_url"]
            for number in range(asked.sidecars):
                own = Path(folder, str(number))
                own.mkdir()
                sidecars.append(Sidecar(program, own, upstream))
            deadline = time.monotonic() + 60
            for sidecar in sidecars:
                while not sidecar.is_healthy():
                    assert time.monotonic() < deadline, "a sidecar does not become healthy"
                    time.sleep(0.1)
            print(json.dumps(measure(sidecars, asked.seconds), indent=2))
        finally:
            for process in [sidecar.process for sidecar in sidecars] + [simulator]:
                os.kill(process.pid, signal.SIGTERM)
            for process in [sidecar.process for sidecar in sidecars] + [simulator]:
                process.wait()


if __name__ == "__main__":
    main()
