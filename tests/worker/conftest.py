import pytest
from django.conf import settings

if not settings.configured:
    settings.configure(SECRET_KEY="tests", ROOT_URLCONF="tests.worker.site", ALLOWED_HOSTS=["*"], DEBUG=False,
                       INSTALLED_APPS=["channels"], DATABASES={}, LOGGING_CONFIG=None)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "hub.sock")
