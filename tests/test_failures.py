import errno
import re

import pytest
import torch

from lightning_flows.errors import UsageError
from lightning_flows.failures import explain


def wrapped(error: BaseException) -> BaseException:
    try:
        try:
            raise error
        except type(error) as inner:
            raise RuntimeError("around it") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("expected this; got that"), "expected this; got that"),
        (OSError(errno.ENOSPC, "No space left on device"), r"could not write its files \(No space left on device\)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "too little memory: use a smaller data.batch_size"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            r"data ended .*worker \(pid 7\)",
        ),
        (RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1"), "another process of this run ended"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "No such file.*x"),
    ],
)
def test_what_a_person_can_act_on(error: BaseException, message: str) -> None:
    for one in (error, wrapped(error)):
        found = explain(one)
        assert found is not None
        assert re.search(message, found)


def test_bugs_keep_their_traceback() -> None:
    assert explain(KeyError("x")) is None
    assert explain(RuntimeError("shapes cannot be multiplied")) is None
