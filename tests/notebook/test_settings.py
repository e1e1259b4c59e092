import pytest

from toolkit.errors import InputError, SettingsError
from toolkit.notebook.settings import DEFAULT_BASE_URL, Settings, load_settings

FULL = {
    "POSTSCRIPT_SECRET_KEY": "sk_secret",
    "POSTSCRIPT_SHOP_TOKEN": "sk_shop",
    "POSTSCRIPT_BASE_URL": "https://api.example.test",
    "TOOLKIT_LEDGER_URL": "postgresql://me:hunter2@db.example.test/ledger",
    "TOOLKIT_ALERT_URL": "https://hooks.example.test/secret",
}


def test_full_environment():
    """Each of the five names fills its setting."""
    found = load_settings(FULL)
    assert found == Settings(
        secret_key="sk_secret",
        shop_token="sk_shop",
        base_url="https://api.example.test",
        ledger_url="postgresql://me:hunter2@db.example.test/ledger",
        alert_url="https://hooks.example.test/secret",
    )
    assert found.get_secret_key() == "sk_secret"


@pytest.mark.parametrize(
    "environment", [{}, dict.fromkeys(FULL, ""), dict.fromkeys(FULL, "  ")], ids=["absent", "empty", "blank"]
)
def test_empty_environment(environment):
    """What is absent or blank takes its default; Postscript is at its published address."""
    assert load_settings(environment) == Settings()
    assert Settings().base_url == DEFAULT_BASE_URL == "https://api.postscript.io"


def test_space_around_values():
    """A line end that came with a copied key is not part of it."""
    found = load_settings({name: f" {value}\n" for name, value in FULL.items()})
    assert found == load_settings(FULL)


def test_only_our_names_are_read():
    """Names that merely look alike set nothing."""
    assert load_settings({"postscript_secret_key": "x", "SECRET_KEY": "y"}) == Settings()


def test_environment_of_the_process(monkeypatch):
    """Without an argument the environment of this process is read, when asked and not at import."""
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == load_settings(FULL)
    monkeypatch.delenv("POSTSCRIPT_SECRET_KEY")
    assert load_settings().secret_key == ""


@pytest.mark.parametrize("show", [repr, str, "{}".format], ids=["repr", "str", "format"])
def test_secrets_do_not_show(show):
    """Neither key nor the ledger's password is in any text made of the settings."""
    shown = show(load_settings(FULL))
    assert not any(secret in shown for secret in ("sk_secret", "sk_shop", "hunter2"))
    assert "https://api.example.test" in shown


def test_missing_key():
    """Asking for a key that is not there names it and where to get one."""
    with pytest.raises(SettingsError, match="POSTSCRIPT_SECRET_KEY is not set") as caught:
        load_settings({}).get_secret_key()
    assert "Never write it into a notebook." in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_settings_are_a_value():
    """Settings cannot be changed after they were read."""
    with pytest.raises(AttributeError):
        load_settings(FULL).secret_key = "other"


def test_the_secrets_are_what_must_stay_in_no_file():
    """Key, token and the ledger's password; one that is the database's name too is found everywhere."""
    assert load_settings(FULL).secrets == ("sk_secret", "sk_shop", "hunter2")
    common = load_settings({"TOOLKIT_LEDGER_URL": "postgresql://postgres:postgres@127.0.0.1/postgres"})
    assert common.secrets == ("", "")
