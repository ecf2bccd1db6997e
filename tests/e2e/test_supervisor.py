"""Nothing that a stack started outlives its owner, however that one ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.processes.supervisor import (
    REPOSITORY,
    Command,
    DeadlineError,
    ProcessError,
    Supervisor,
    free_port,
    wait_until,
)

IGNORES_TERM = "trap '' TERM; echo deaf; while true; do sleep 0.05; done"
OWNER = """
import sys, time
from e2e.processes.supervisor import Command, Supervisor
with Supervisor() as supervisor:
    child = supervisor.spawn(Command("child", ["sh", "-c", sys.argv[2]]))
    if sys.argv[1] == "detach":
        supervisor.detach()
    print(supervisor.warden_pid, child.pid, supervisor.data, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
"""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as running:
        yield running


def group_exists(group: int) -> bool:
    """Whether a process of the group runs; one that only waits to be reaped does not."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = file.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False


MANY = "sleep 301 & sleep 300"


def owner(how: str, child: str = MANY) -> tuple[subprocess.Popen[str], int, int, Path]:
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", OWNER, how, child], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        warden, child, data = process.stdout.readline().split()
    return process, int(warden), int(child), Path(data)


def test_an_ended_stack_leaves_no_process_and_no_file() -> None:
    with Supervisor() as supervisor:
        child = supervisor.spawn(Command("child", ["sh", "-c", "sleep 301 & sleep 300"]))
        assert child.running()
    assert not group_exists(child.pid)
    assert not supervisor.data.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_whatever_ends_the_owner_ends_all(how: signal.Signals) -> None:
    process, _, child, data = owner("wait")
    process.send_signal(how)
    process.wait()
    wait_until(lambda: not group_exists(child) and not data.exists(), "the end of all", 10)


def test_the_end_of_the_warden_ends_its_children() -> None:
    process, warden, child, data = owner("wait", "exec sleep 300")
    os.kill(warden, signal.SIGKILL)
    wait_until(lambda: not group_exists(child), "the end of the child", 10)
    process.kill()
    process.wait()
    for file in sorted(data.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    data.rmdir()


def test_a_detached_stack_goes_on_until_the_warden_is_told() -> None:
    process, warden, child, data = owner("detach")
    process.wait()
    assert group_exists(child)
    os.kill(warden, signal.SIGTERM)
    wait_until(lambda: not group_exists(child) and not data.exists(), "the end of all", 10)


def test_a_process_that_ignores_term_is_killed_after_its_grace(supervisor: Supervisor) -> None:
    child = supervisor.spawn(Command("stubborn", ["sh", "-c", IGNORES_TERM], grace=0.2))
    wait_until(lambda: child.log_tail() == "deaf", "its start", 10)
    assert child.stop() == -signal.SIGKILL


def test_children_do_not_see_the_users_kubeconfig(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "of the user")
    child = supervisor.spawn(Command("child", ["sh", "-c", 'echo "config=$KUBECONFIG home=$HOME"']))
    wait_until(lambda: not child.running(), "its end", 10)
    assert child.log_tail() == f"config= home={supervisor.home}"


def test_a_program_that_is_not_there_is_an_error_that_names_it(supervisor: Supervisor) -> None:
    with pytest.raises(ProcessError, match="nowhere"):
        supervisor.spawn(Command("nowhere", ["nowhere-at-all"]))


def test_two_processes_may_not_share_a_name(supervisor: Supervisor) -> None:
    supervisor.spawn(Command("one", ["sleep", "60"], grace=0))
    with pytest.raises(ProcessError, match="running already"):
        supervisor.spawn(Command("one", ["sleep", "60"], grace=0))


def test_waiting_ends_at_once_when_the_process_it_needs_has_ended(supervisor: Supervisor) -> None:
    child = supervisor.spawn(Command("broken", ["sh", "-c", "echo because; exit 3"]))
    with pytest.raises(ProcessError, match="because"):
        wait_until(lambda: False, "what never comes", 60, alive=child)


def test_waiting_has_a_deadline() -> None:
    with pytest.raises(DeadlineError, match="what never comes"):
        wait_until(lambda: False, "what never comes", 0.05)


def test_a_free_port_is_no_ephemeral_one() -> None:
    assert 20000 <= free_port() < 32000


def test_a_free_port_is_handed_out_once_while_nobody_listens_yet() -> None:
    ask = "from e2e.processes.supervisor import free_port; print(*(free_port() for _ in range(200)))"
    command = [sys.executable, "-c", ask]
    askers = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
        for _ in range(2)
    ]
    given = " ".join(asker.communicate()[0] for asker in askers).split()
    assert len(given) == len(set(given)) == 400
