"""Shared by the tests of data modules."""

import urllib.error
import urllib.request

import pytest


@pytest.fixture
def offline(monkeypatch):
    """Refuse every download, as a machine without a network does."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
