"""Options of the contract suite, the shops it asks, and the table of what it found."""

from __future__ import annotations

import pytest

from contract.shops import SANDBOXES, AskedShop
from toolkit.notebook.settings import load_settings
from toolkit.sandbox import Sandbox
from toolkit.sandbox.people import generate_people

FINDINGS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser):
    group = parser.getgroup("contract", "the contract suite against a real shop (-m live)")
    group.addoption(
        "--contract-url", metavar="URL", help="default: POSTSCRIPT_BASE_URL, or Postscript itself"
    )
    group.addoption(
        "--contract-person", metavar="ID", help="subscriber that may be written to; none by default"
    )


def pytest_configure(config):
    config.stash[FINDINGS] = {}


def pytest_generate_tests(metafunc):
    if "shop" in metafunc.fixturenames:
        shops = [*SANDBOXES, pytest.param("live", marks=pytest.mark.live)]
        metafunc.parametrize("shop", shops, indirect=True, scope="module")


@pytest.fixture(scope="module")
def shop(request):
    """The shop that is asked: a sandbox under some knobs, or the real one."""
    if request.param == "live":
        request.config.option.tbstyle = "short"  # the long style shows arguments: real people's rows
        settings = load_settings()
        url = request.config.getoption("--contract-url", None) or settings.base_url
        # Well below the limit: the official integration may be using the same budget.
        yield AskedShop(url, settings.get_secret_key(), pause_seconds=0.2)
        return
    people = generate_people(160, seed=4)
    with Sandbox(people, knobs=SANDBOXES[request.param], rate=10_000) as sandbox:
        yield AskedShop(sandbox.base_url, "sk_sandbox", knobs=sandbox.knobs)


@pytest.fixture
def person(request, shop):
    """The id of the one person who may be written to."""
    if shop.knobs is not None:
        return shop.rows[1]["id"]
    chosen = request.config.getoption("--contract-person", None)
    return chosen or pytest.skip("no subscriber may be written to; name a test person with --contract-person")


@pytest.fixture
def settle(request, shop):
    """A function that notes the answer to a question, and holds a sandbox to its own knobs."""

    def note(question, found, expected):
        if shop.knobs is None:
            request.config.stash[FINDINGS][question] = str(found)
        else:
            assert found == expected(shop.knobs), question

    return note


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(FINDINGS, {})
    if found:
        terminalreporter.section("what this shop does")
        width = max(map(len, found))
        for question, answer in found.items():
            terminalreporter.line(f"{question:<{width}}  {answer}")
