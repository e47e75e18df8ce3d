"""The console as people use it: in a real Chromium, by mouse and by keyboard alone, looked over by axe.

The console runs in a process of its own, on a store of its own.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.web.conftest import Console, Watch, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright keeps a loop in this thread

SIZES = (1440, 1024, 390)
PAGES = (
    "/",
    "/?due=overdue",
    "/cases/{main}",
    "/cases/{hostile}",
    "/cases/{decided}",
    "/cases/{main}/elsewhere",
    "/accounts/marsh.example/a-gray_harbor",
    "/find?q=nothing",
    "/campaigns",
    "/campaigns?looks=innocent&state=closed",
    "/campaigns/{campaign}",
    "/banks",
    "/banks/marsh-pictures",
    "/banks/marsh-pictures/change",
    "/banks/marsh-pictures/import",
    "/banks/marsh-pictures/imports/{import_waits}",
    "/banks/marsh-pictures/imports/{import_taken}",
    "/banks/marsh-pictures/imports/{import_broken}",
    "/banks/marsh-pictures/entries/{entry}",
    "/bank/new",
    "/bank/search",
    "/exchanges",
    "/exchange/new?kind=taxii",
    "/exchanges/river-list",
    "/share/new",
    "/shares/circle",
    "/rules",
    "/rules/iron-wolf-calls",
    "/rules/iron-wolf-calls/versions/2",
    "/rules/iron-wolf-links/versions/1",
    "/rules/iron-wolf-names/edit",
    "/rule/library?q=text",
    "/backtests",
    "/backtests/{job}",
    "/held/{breaker}",
    "/search",
    "/search?q=len(post.text)+%3E+2&range=all",
    "/search?q=contians(post.text)+and+account.labels",
    "/events/marsh.example/e-3",
    "/audit",
    "/system",
    "/connectors",
    "/people",
    "/keys",
    "/session/password",
    "/nowhere",
)


def settle(page: Any) -> None:
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page_at_any_width(chromium: Any, console: Console, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 900})
    watched, axe, found = Watch(context.new_page()), Axe(), []
    page = watched.page

    def look(where: str) -> None:
        settle(page)
        for width in SIZES:
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{where} scrolls sideways at {width}")
            if width == 1440 or (width == 390 and scheme == "light"):
                violations = axe.run(page).response["violations"]
                found.extend(f"{where} at {width}: {one['id']} {one['nodes'][0]['target']}" for one in violations)
        page.set_viewport_size({"width": 720, "height": 450})  # 1440 at 200 %
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{where} scrolls sideways at 200 %")

    page.goto(console.url + "/session/sign-in")
    look("/session/sign-in")
    sign_in(page, console, "ada")
    for where in PAGES:
        page.goto(console.url + where.format(**console.ids))
        look(where)
    context.close()
    assert found == []
    assert watched.complaints == []


def test_from_signing_in_to_undo_by_mouse(watch: Watch, console: Console) -> None:
    page = watch.page
    page.goto(console.url)
    assert "/session/sign-in" in page.url
    sign_in(page, console)
    page.click(f"#case-{console.ids['main']}")
    page.click("label:has(input[value='remove:subject'])")
    page.click("label:has(input[value='label:account'])")
    page.fill("#label", "violent context")
    page.fill("#reason", "It recruits for an armed group.")
    page.wait_for_selector("#told:has-text('It recruits for an armed group.')")
    page.click("button:has-text('Submit'):not(:has-text('next'))")
    page.wait_for_selector("text=2 action(s) requested")
    assert page.locator("#actions .badge:has-text('requested')").count() == 2
    assert page.locator("#actions .badge.green").count() == 0
    page.fill("#undo-reason", "I took the wrong post.")
    page.click("text=Undo the decision")
    page.wait_for_selector("text=The decision is undone")
    settle(page)
    assert page.locator("#actions .badge:has-text('canceled')").count() == 2
    assert page.locator(".history :text('I took the wrong post.')").count() >= 1


def test_a_search_that_takes_long_is_stopped_by_a_key_and_its_form_stays(watch: Watch, console: Console) -> None:
    page = watch.page
    page.goto(console.url)
    sign_in(page, console, "lee")
    page.goto(console.url + "/search")
    condition = 'contains(post.text, "a") and len(post.links) > 0'
    page.fill("#q", condition)
    # As where the answer never comes: the page that asked stays.
    page.evaluate("addEventListener('submit', (event) => event.target.matches('.asking') && event.preventDefault())")
    assert not page.is_visible("#searching")
    page.click("form.asking button.primary")
    page.wait_for_selector("#searching:visible")
    page.keyboard.press("o")
    page.wait_for_selector("text=The search was stopped")
    assert page.input_value("#q") == condition
    page.click("form.asking button.primary")
    page.wait_for_selector("text=Events, the newest first")
    assert not page.is_visible("#searching")


def test_from_signing_in_to_undo_by_keyboard_alone(watch: Watch, console: Console) -> None:
    page, keys = watch.page, watch.page.keyboard
    page.goto(console.url)
    page.wait_for_selector("#id_login:focus")  # given by the first painting, which may follow loading
    keys.type("lee")
    keys.press("Tab")
    from tests.web.seed import PASSWORD

    keys.type(PASSWORD)
    keys.press("Enter")
    page.wait_for_selector("text=End session")
    settle(page)
    held = page.locator("#cases a[data-stop]")
    for _ in range(held.count()):  # j walks down to the case that we are after
        keys.press("j")
        if page.evaluate("document.activeElement.id") == f"case-{console.ids['order']}":
            break
    assert page.evaluate("getComputedStyle(document.activeElement.closest('tr')).outlineStyle") == "solid"
    keys.press("Enter")
    page.wait_for_url(f"**/cases/{console.ids['order']}")
    settle(page)
    keys.press("2")
    assert page.locator("[name=policy]:checked").evaluate("one => one.dataset.key") == "2"
    keys.press("a")
    keys.press("s")
    assert page.locator("input[value='suspend:subject']").is_checked()
    keys.press("w")
    keys.type("The court ordered it; 1 a r n s z are but letters here.")
    assert page.locator("[name=policy]:checked").evaluate("one => one.dataset.key") == "2"
    assert page.locator("#told").is_visible()
    keys.press("Escape")
    keys.press("s")
    page.wait_for_selector("text=1 action(s) requested")
    assert page.locator("#actions .badge:has-text('requested')").count() == 1
    keys.press("z")
    page.wait_for_selector("text=The decision is undone")
    keys.press("g")
    keys.press("q")
    page.wait_for_selector("h1:has-text('Queue')")
    keys.press("x")
    page.wait_for_selector("#id_login")


def test_submit_and_next_is_the_default_and_opens_the_next(watch: Watch, console: Console) -> None:
    page = watch.page
    sign_in(page, console, "ada")
    page.goto(f"{console.url}/cases/{console.ids['more-8']}")
    settle(page)
    page.keyboard.press("0")
    assert page.locator("[data-acts]").evaluate("one => one.disabled")
    page.keyboard.press("n")
    page.wait_for_selector("text=is decided: no violation")
    assert re.search(r"/cases/\d+$", page.url)
    assert not page.url.endswith(f"/{console.ids['more-8']}")
    assert page.locator(".badge:has-text('you hold it')").count() == 1
    page.keyboard.press("u")
    page.wait_for_selector("text=is back in the queue")


def test_a_picture_is_seen_only_while_it_is_held(watch: Watch, console: Console) -> None:
    page = watch.page
    sign_in(page, console)
    page.goto(f"{console.url}/cases/{console.ids['main']}")
    veil = page.locator(".veil.big").first
    veil.wait_for()
    settle(page)
    page.mouse.move(0, 0)

    def seen() -> bool:
        return bool(
            veil.evaluate(
                "v => { const c = v.querySelector('.clear'); return !!c && getComputedStyle(c).visibility === 'visible'; }"
            )
        )

    def filtered() -> str:
        return str(veil.evaluate("v => getComputedStyle(v.querySelector('.under')).filter"))

    assert "blur" in filtered()
    assert "grayscale(1)" in filtered()
    assert not seen()
    veil.hover()
    assert not seen()
    page.mouse.down()
    assert seen()
    assert (
        veil.evaluate("v => v.querySelector('.clear').decode().then(() => v.querySelector('.clear').naturalWidth)")
        > 100
    )
    page.mouse.up()
    assert not seen()
    veil.click()
    assert not seen()
    page.mouse.move(0, 0)
    for key in ("r", " "):
        veil.focus()
        page.keyboard.down(key)
        assert seen()
        page.keyboard.up(key)
        assert not seen()
    page.keyboard.down("r")
    page.evaluate("dispatchEvent(new Event('blur'))")
    assert not seen()
    page.keyboard.up("r")
    veil.hover()
    page.mouse.down()
    page.mouse.move(2, 2)
    assert not seen()
    page.mouse.up()
    settle(page)
    page.reload()
    assert page.locator("[data-exposure]").inner_text().split()[0].isdecimal()


def test_keys_do_nothing_while_somebody_types(watch: Watch, console: Console) -> None:
    page = watch.page
    sign_in(page, console)
    page.goto(f"{console.url}/cases/{console.ids['hostile']}")
    settle(page)
    before = page.locator("[name=policy]:checked").get_attribute("value")
    page.keyboard.press("c")
    assert page.evaluate("document.activeElement.id") == "comment"
    page.keyboard.type("x 1 z n s ? g q /")
    assert page.locator("#comment").input_value() == "x 1 z n s ? g q /"
    assert page.locator("[name=policy]:checked").get_attribute("value") == before
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("dialog#keys[open]").count() == 1
    page.keyboard.press("x")  # a dialog is open: the page behind it takes no keys
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.locator("html.exact").count() == 1
    page.keyboard.press("Control+k")
    page.keyboard.type(f"C-{console.ids['main']}")
    page.wait_for_selector("#palette-found a")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/cases/{console.ids['main']}")


def test_focus_is_kept_when_the_queue_is_swapped(watch: Watch, console: Console) -> None:
    page = watch.page
    sign_in(page, console)
    settle(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    before = page.evaluate("document.activeElement.id")
    assert before.startswith("case-")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        page.evaluate("htmx.ajax('GET', location.pathname, {target: '#cases', select: '#cases', swap: 'outerHTML'})")
    settle(page)
    assert page.evaluate("document.activeElement.id") == before


def test_what_a_stranger_wrote_neither_runs_nor_loads_nor_breaks_the_page(watch: Watch, console: Console) -> None:
    page = watch.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append("dialog"))
    sign_in(page, console)
    page.goto(f"{console.url}/cases/{console.ids['hostile']}")
    settle(page)
    assert all(url.startswith(console.url) for url in asked)
    assert page.locator(".words script, .words img").count() == 0
    assert "U+202E" in page.locator(".words").first.inner_text()
    box = page.locator(".words").first.bounding_box()
    assert box["width"] < 800
    assert box["height"] < 500


def test_a_case_is_decided_without_scripts(chromium: Any, console: Console) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    sign_in(page, console)
    page.goto(f"{console.url}/cases/{console.ids['more-20']}")
    page.check("[name=outcome][value=no_violation]")
    page.click("button:has-text('Submit'):not(:has-text('next'))")
    page.wait_for_selector("text=is decided: no violation")
    page.click("text=Undo the decision")
    page.wait_for_selector("text=The decision is undone")
    context.close()


def test_the_scheme_is_switched_and_kept(watch: Watch, console: Console) -> None:
    page = watch.page
    sign_in(page, console)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click(".menu > summary")
    page.click("button[value=dark]")
    settle(page)
    assert page.evaluate(paper) != light
    page.goto(console.url + "/banks")
    assert page.evaluate(paper) != light
