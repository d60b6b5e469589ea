"""Shared by the tests of data modules."""

import urllib.error
import urllib.request

import pytest


@pytest.fixture
def offline(monkeypatch):
    """Refuse every download, as without a network."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
