"""The report in a real browser without a network: it searches, filters, pages, and can be read by all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from browser import axe_source, open_browser, violations
from test_report import AUDITS, FULL, call_frame, change, change_frame, listed, totals, write

from toolkit.report.document import PAGE, render_report

ATTACK = '"><img src=x onerror="window.attacked = 1"><script>window.attacked = 1</script>'
LONG = "W" * 10_000
COUNT = 2 * PAGE + 50


def large_audit():
    """Return an audit of three pages: every tenth change was refused; names try everything."""
    names = {3: ATTACK, 4: LONG, 5: "\u202eright to left", 6: "</script><!--"}
    rows = [
        change(f"user:{n:03}", names.get(n, "vip"), operation="add", subscriber_id=f"s_{n}")
        if n % 10
        else change(f"user:{n:03}", "old", "rejected", "REJECTED_BY_POSTSCRIPT", status_message=ATTACK)
        for n in range(COUNT)
    ]
    calls = [write(f"s_{n}", listed("old", names.get(n, "a")), listed(names.get(n, "vip"))) for n in range(9)]
    return replace(
        FULL,
        record=replace(FULL.record, shop_name=ATTACK, error=LONG),
        changes=change_frame(*rows),
        calls=call_frame(*calls),
        totals=totals(*((("change", name, "added", "ENTERED", 1)) for name in names.values())),
    )


REPORTS = {**AUDITS, "large": large_audit()}


@cache
def document(name):
    """Return the report of one of REPORTS, rendered once."""
    return render_report(REPORTS[name])


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_report(browser, tmp_path):
    """A function that opens one of REPORTS; nothing may be asked of a network, nothing go wrong."""
    troubles, contexts = [], []

    def open_it(name, **options):
        path = tmp_path / "report.html"
        path.write_text(document(name), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        context.set_offline(offline=True)
        page = context.new_page()
        page.on("request", lambda asked: troubles.append(asked.url) if asked.url != path.as_uri() else None)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


def rows_shown(page):
    return page.locator("#row-body tr").count()


def found(page):
    return page.locator("#row-found").inner_text()


def test_rows_are_paged(open_report):
    """The first hundred rows are shown, those to look at first; the buttons lead on while there are rows."""
    page = open_report("large")
    assert found(page) == "Rows 1 to 100 of 250 found."
    assert rows_shown(page) == PAGE
    assert page.locator("#row-body th").first.inner_text() == "user:000"
    earlier, later = (page.get_by_role("button", name=name) for name in ("Earlier rows", "Later rows"))
    assert earlier.is_disabled()
    later.click()
    assert found(page) == "Rows 101 to 200 of 250 found."
    later.click()
    assert found(page) == "Rows 201 to 250 of 250 found."
    assert rows_shown(page) == 50
    assert later.is_disabled()
    earlier.click()
    assert found(page) == "Rows 101 to 200 of 250 found."


def test_rows_are_the_same_with_and_without_a_script(open_report):
    """The first page of the script shows what stands there without one; without it a note says so."""
    page = open_report("large")
    plain = open_report("large", java_script_enabled=False)
    texts = [shown.locator("#row-body").inner_text().split() for shown in (page, plain)]
    assert texts[0] == texts[1]
    assert plain.locator("noscript p").is_visible()
    assert "shows the first 100 rows; the rest is in changes.csv" in plain.locator("noscript p").inner_text()
    assert not plain.get_by_label("Search in all columns").is_visible()
    assert page.locator("noscript p").count() == 0


SEARCHES = {
    "user:007": 1,
    "USER:00": 10,
    "vip entered": COUNT - 25 - 4,  # several words, several columns
    "refused": 25,
    "onerror": 1 + 25,  # hostile names
    "no such row": 0,
}


def test_search(open_report):
    """What is typed is looked for in every column, and the number found is shown where it is read out."""
    page = open_report("large")
    assert page.locator("#row-found").get_attribute("aria-live") == "polite"
    for typed, count in SEARCHES.items():
        page.get_by_role("button", name="Later rows").click()
        page.get_by_label("Search in all columns").fill(typed)
        shown = min(count, PAGE)
        assert rows_shown(page) == shown
        assert found(page) == (f"Rows 1 to {shown} of {count} found." if count else "No row found.")
        assert page.get_by_role("button", name="Later rows").is_visible() is (count > PAGE)
        page.get_by_label("Search in all columns").fill("")
        assert found(page) == f"Rows 1 to {PAGE} of {COUNT} found."


def test_status_filter(open_report):
    """A status alone, and together with a search."""
    page = open_report("large")
    page.get_by_label("Status", exact=True).select_option("rejected")
    assert found(page) == "Rows 1 to 25 of 25 found."
    page.get_by_label("Search in all columns").fill("user:01")
    assert found(page) == "Rows 1 to 1 of 1 found."
    page.get_by_label("Status", exact=True).select_option("")
    assert found(page) == "Rows 1 to 10 of 10 found."


def test_hostile_names_are_text(open_report):
    """Markup in names, messages and lists is shown, not run: nothing is loaded, no element is made of it."""
    page = open_report("large")
    page.get_by_label("Search in all columns").fill("user:003")
    assert page.locator("#row-body td").first.inner_text() == ATTACK
    assert page.locator("img").count() == 0
    assert page.evaluate("window.attacked") is None


def test_only_our_script_may_run(open_report, tmp_path):
    """Should markup ever get through, the policy keeps it from running."""
    page = open_report("empty")
    html = page.content().replace("</main>", "<script>window.attacked = 1</script></main>")
    path = tmp_path / "attacked.html"
    path.write_text(html, encoding="utf-8")
    other = page.context.browser.new_page()
    other.goto(path.as_uri())
    assert other.evaluate("window.attacked") is None
    assert found(other) == "No row found."
    other.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REPORTS)
def test_everybody_can_read_it(open_report, name, scheme):
    """axe-core finds nothing serious, by day and by night."""
    axe = axe_source()
    page = open_report(name, color_scheme=scheme)
    assert violations(page, axe) == []


def test_axe_would_find_something(open_report):
    """The rules are at work: text that can not be seen, and a box without a name, are found."""
    axe = axe_source()
    page = open_report("live")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    page.evaluate("document.querySelector('label').remove()")
    assert [found.partition(":")[0] for found in violations(page, axe)] == ["color-contrast", "label"]


def test_nothing_stands_out(open_report):
    """However narrow the screen and long the names, the page is not wider: tables scroll by themselves."""
    page = open_report("large")
    for width in (360, 768, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_keyboard_alone_is_enough(open_report):
    """The first key leads to the skip link, which can be seen then and leads to the report."""
    page = open_report("live")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the report")
    assert skip.evaluate("element => element === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("#main"))  # the browser says so a moment later


def test_print(open_report):
    """On paper there are no controls, and the whole page of the row table is there."""
    page = open_report("large")
    page.emulate_media(media="print")
    assert not page.get_by_label("Search in all columns").is_visible()
    hidden = "(box) => box.scrollHeight - box.clientHeight"
    assert page.locator("#row-table").evaluate(hidden) < 5
    assert page.pdf().startswith(b"%PDF")
