from tests.reporting.tables.conftest import write_run  # noqa: F401 - a fixture
