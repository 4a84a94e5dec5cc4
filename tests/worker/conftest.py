import django
import pytest
from django.conf import settings

if not settings.configured:
    settings.configure(SECRET_KEY="tests", ROOT_URLCONF="tests.worker.site", ALLOWED_HOSTS=["*"], DEBUG=False,
                       INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "channels"], DATABASES={},
                       LOGGING_CONFIG=None)
    django.setup()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "hub.sock")
