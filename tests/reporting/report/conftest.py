from tests.tables.conftest import write_run  # noqa: F401 - a fixture
