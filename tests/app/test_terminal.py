"""Warnings on the command line."""

import warnings

from lightning_flows import flows
from lightning_flows.app.terminal import print_short_warnings


def test_own_warnings_are_one_line_and_others_keep_their_place(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", lambda *args: f"{args[2]}:{args[3]}: {args[0]}\n")
    for _ in range(2):  # a second command in one process
        print_short_warnings()
    assert warnings.formatwarning("few\nsteps", UserWarning, flows.__file__, 3) == "warning: few steps\n"
    assert warnings.formatwarning("few\nsteps", UserWarning, "/own/layer.py", 3) == "/own/layer.py:3: few\nsteps\n"
    assert warnings.formatwarning.default("x", UserWarning, "a", 1) == "a:1: x\n"  # wrapped once
