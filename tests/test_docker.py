"""Files in docker/: the Slurm job, with fakes for Slurm's commands, the health check, the lock file, permissions."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def job(tmp_path: Path):
    """Start the job with a fake srun; the arguments of srun and scontrol are written to files."""
    script(tmp_path / "scontrol", f'echo "$@" > {tmp_path}/scontrol.txt')

    def start(srun: str) -> subprocess.Popen[bytes]:
        script(tmp_path / "srun", f'echo "$@" > {tmp_path}/srun.txt\n{srun}')
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
        process = subprocess.Popen(["bash", DOCKER / "csf.sbatch", "--trainer.max_epochs=3"], env=environment)
        while not (tmp_path / "srun.txt").exists():
            time.sleep(0.02)
        time.sleep(0.3)
        return process

    return start


@pytest.mark.parametrize(("status", "requeued"), [(0, True), (1, False)])
def test_job_requeues_itself_at_its_time_limit(job, tmp_path: Path, status: int, requeued: bool) -> None:
    process = job(f"trap 'sleep 0.3; exit {status}' USR1; for i in $(seq 100); do sleep 0.1; done")
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait(timeout=10) == status
    assert (tmp_path / "scontrol.txt").exists() is requeued
    if requeued:
        assert (tmp_path / "scontrol.txt").read_text() == "requeue 17\n"
    assert "-m lightning_flows fit --config csf.yaml --config multinode.yaml" in (tmp_path / "srun.txt").read_text()
    assert (tmp_path / "srun.txt").read_text().endswith("--trainer.max_epochs=3\n")


def test_a_job_that_cannot_be_requeued_fails(job, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script(tmp_path / "scontrol", "exit 1")
    process = job("trap 'exit 0' USR1; for i in $(seq 100); do sleep 0.1; done")
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait(timeout=10) == 1
    assert "the job was not requeued: training is not finished" in capfd.readouterr().err


@pytest.mark.parametrize("end", ["signal", "failure", "failure of the second"])
def test_two_hosts_leave_no_namespace_and_no_process(end: str, tmp_path: Path) -> None:
    """With a fake ip, whose agents write their number when they end."""
    both = f"until [ -s {tmp_path}/agent0 ] && [ -s {tmp_path}/agent1 ]; do sleep 0.02; done"
    agent = {
        "signal": "exec sleep 30",
        "failure": "[ $rank = 0 ] && exit 3; exec sleep 30",
        "failure of the second": "[ $rank = 1 ] && exit 3; exit 0",
    }[end]
    lines = [
        'if [ "$1 $2" = "netns exec" ]; then rank=$(echo "$@" | grep -o "node-rank=." | tail -c 2)',
        f"echo $$ > {tmp_path}/agent$rank; {both}; {agent}; fi",
        f'echo "$@" >> {tmp_path}/ip.txt',
    ]
    script(tmp_path / "ip", "\n".join(lines))
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(["sh", DOCKER / "two-hosts.sh", "fit"], env=environment)
    agents = [tmp_path / "agent0", tmp_path / "agent1"]
    while not all(path.exists() and path.read_text() for path in agents):
        time.sleep(0.02)
    if end == "signal":
        process.terminate()
    assert process.wait(timeout=20) == (143 if end == "signal" else 3)
    assert (tmp_path / "ip.txt").read_text().count("netns del") == 2
    for path in agents:
        assert not Path("/proc", path.read_text().strip()).exists()


@pytest.mark.parametrize("status", [0, 3])
def test_finished_job_is_not_requeued(job, tmp_path: Path, status: int) -> None:
    assert job(f"exit {status}").wait(timeout=10) == status
    assert not (tmp_path / "scontrol.txt").exists()


def test_run_is_healthy_while_it_writes(tmp_path: Path) -> None:
    def healthy() -> bool:
        return subprocess.run([DOCKER / "healthcheck.sh", tmp_path, "60"], check=False).returncode == 0

    assert not healthy()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/events").touch()
    assert healthy()
    os.utime(tmp_path / "run/events", (time.time() - 3700,) * 2)
    assert not healthy()


def test_lock_file_contains_every_dependency() -> None:
    lock = (DOCKER / "requirements.lock").read_text()
    locked = {
        name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==\S+ --hash=sha256:\w{64}$", lock, re.M)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.match(r"[\w-]+", dependency)[0].lower() for dependency in project["dependencies"]}
    assert required <= locked
    assert len(locked) == len(lock.splitlines()) - 1


def test_containers_can_only_write_to_their_volume() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"train", "tensorboard"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "1000:1000"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 1000:1000$", dockerfile, re.M)
    assert "--require-hashes" in dockerfile


def test_the_lock_is_not_written_for_another_platform(tmp_path: Path) -> None:
    copy = tmp_path / "docker/lock.py"
    copy.parent.mkdir()
    copy.write_text((DOCKER / "lock.py").read_text().replace('IMAGE = "Python 3.11 on', 'IMAGE = "Python 2.7 on'))
    done = subprocess.run([sys.executable, copy], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("the image has Python 2.7 on Linux x86_64, and this is Python 3.")
    assert not (tmp_path / "docker/requirements.lock").exists()
