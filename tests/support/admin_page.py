"""Uses the status page of a running daemon as an operator does, in a real Chromium, with Playwright.

What is there to be seen is given as JSON: {"url", "shards", "channel", "token" (or null), "parent", "zones": {zone: [doids]},
"looked_up", "value", "missing"}. Ends with status 0 if all of it was seen; says every step.
"""

import argparse
import json
import os
import re
import shutil
import sys

from playwright.sync_api import expect, sync_playwright

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("stage", type=json.loads)
parser.add_argument("--screenshots", metavar="FOLDER", help="also takes the pictures of the documentation")
options = parser.parse_args()
stage = options.stage
# A machine that is ten times slower is no fault of the page's.
PATIENCE_MS = 60_000
PHONE = {"width": 360, "height": 740}
VIEWS = ["executors", "links", "sessions", f"session/{stage['channel']}", "objects", f"object/{stage['parent']}"]


def step(text):
    print(text, flush=True)


def picture(page, name):
    if options.screenshots:
        os.makedirs(options.screenshots, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=os.path.join(options.screenshots, name + ".png"))


class Watch:
    """Collects what a page must not do: complain on the console, fail, ask elsewhere."""

    def __init__(self, page):
        self.complaints, self.asked, self.refused = [], [], []
        page.on("console", lambda message: message.type in ("error", "warning") and self.complain(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", lambda response: response.status >= 400 and self.refused.append((response.status, response.url)))

    def complain(self, text):
        # Chromium says this of every answer that is a refusal; those are counted by themselves.
        if not text.startswith("Failed to load resource: the server responded with a status of"):
            self.complaints.append(text)

    def check(self, refusals):
        assert not self.complaints, self.complaints
        elsewhere = [url for url in self.asked if not url.startswith(stage["url"])]
        assert self.asked and not elsewhere, elsewhere
        statuses = [status for status, _ in self.refused]
        assert statuses == refusals, self.refused


def opened(browser, **arguments):
    page = browser.new_page(**arguments)
    page.set_default_timeout(PATIENCE_MS)
    watch = Watch(page)
    page.goto(stage["url"])
    expect(page.locator("#executor-rows tr")).to_have_count(stage["shards"])
    return page, watch


def look_around(browser):
    page, watch = opened(browser, viewport={"width": 1000, "height": 560})
    step("the executors are shown, and go on being")
    expect(page.locator("#totals")).to_contain_text(re.compile("Clients\\s*1\\s*Links\\s*1"))
    before = page.locator("#identity").text_content()
    expect(page.locator("#identity")).not_to_have_text(before)
    picture(page, "executors")

    step("a search by channel finds the session, another finds none")
    page.click("nav >> text=Sessions")
    page.fill("#session-text", str(stage["channel"]))
    page.click("#session-search button")
    expect(page.locator("#session-rows tr")).to_have_count(1)
    page.fill("#session-text", "no such")
    page.click("#session-search button")
    expect(page.locator("#session-rows tr")).to_have_count(0)
    expect(page.locator("#session-count")).to_have_text("0 shown")
    page.fill("#session-text", "")
    page.click("#session-search button")

    step("the session shows its interests")
    page.click(f"#session-rows >> text={stage['channel']}")
    expect(page.locator("#session-details")).to_contain_text("established")
    zones = ", ".join(stage["zones"])
    expect(page.locator("#session-interests")).to_contain_text(f"in {stage['parent']} zones {zones}")
    picture(page, "session")

    step("a parent's zones can be browsed, down to an object and its values")
    page.click("nav >> text=Objects")
    page.click(f"#parents >> text={stage['parent']}")
    for zone, doids in stage["zones"].items():
        summary = page.locator("#object-children summary", has_text=f"Zone {zone}: {len(doids)} objects")
        summary.click()
        for doid in doids:
            expect(page.locator("#object-children details[open]").get_by_text(str(doid))).to_be_visible()
    picture(page, "objects")
    page.click(f"#object-children >> text={stage['looked_up']}")
    expect(page.locator("#object-title")).to_have_text(f"Object {stage['looked_up']}")
    expect(page.locator("#object-fields")).to_contain_text(stage["value"])
    # The page shows a name that looks like markup as text.
    assert page.locator("#object-fields b").count() == 0
    page.click("#object-details >> text=" + str(stage["parent"]))
    expect(page.locator("#object-title")).to_have_text(f"Object {stage['parent']}")

    step("a doid can be looked up; one that is not live is said to be none")
    for doid, said in ((stage["looked_up"], stage["value"]), (stage["missing"], "no live object has this doid")):
        page.click("nav >> text=Objects")
        page.fill("#object-doid", str(doid))
        page.click("#object-search button")
        expect(page.locator("#object-title")).to_have_text(f"Object {doid}")
        expect(page.locator("section[data-view=object]")).to_contain_text(said)

    step("links name the AI")
    page.click("nav >> text=Links")
    expect(page.locator("#link-rows")).to_contain_text("the AI of the test")
    watch.check([404])
    page.close()


def by_keyboard(browser):
    """From the top of the page to a session's interests with Tab and Enter alone."""
    page, watch = opened(browser, viewport={"width": 1000, "height": 560})
    focused = lambda: page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")  # noqa: E731

    def tab_to(what):
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(focused())
            if seen[-1] == what:
                # Whoever cannot see where the focus is cannot use it.
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline not in ("none", ""), what
                return
        raise AssertionError(f"Tab does not lead to {what}, but to {seen}")

    step("by keyboard: skip link, menu, search, session")
    tab_to("Skip to content")
    tab_to("Sessions")
    page.keyboard.press("Enter")
    expect(page.locator("#session-rows tr")).to_have_count(1)
    assert focused() == "main", focused()
    tab_to("session-text")
    # Another answer comes between: without a search the same one is shown, and its row would be replaced under the focus.
    for text, found in [("nobody", "0 shown"), (str(stage["channel"]), "1 shown")]:
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        expect(page.locator("#session-count")).to_have_text(found)
    tab_to(str(stage["channel"]))
    page.keyboard.press("Enter")
    expect(page.locator("#session-interests")).to_contain_text(str(stage["parent"]))

    step("by keyboard: from the interest to the parent, a zone opened, an object")
    tab_to(str(stage["parent"]))
    page.keyboard.press("Enter")
    zone, doids = next(iter(stage["zones"].items()))
    tab_to(f"Zone {zone}: {len(doids)} objects")
    page.keyboard.press("Enter")
    tab_to(str(doids[0]))
    page.keyboard.press("Enter")
    expect(page.locator("#object-title")).to_have_text(f"Object {doids[0]}")
    watch.check([])
    page.close()


def on_a_phone(browser):
    page, watch = opened(browser, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=1)
    step("on a phone nothing has to be scrolled sideways")
    for view in VIEWS:
        page.evaluate(f"location.hash = '#{view}'")
        section = page.locator(f"section[data-view={view.split('/')[0]}]")
        expect(section).to_be_visible()
        page.wait_for_load_state("networkidle")
        width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth, screen.width]")
        assert width[0] <= PHONE["width"] and width[1] <= PHONE["width"], (view, width)
        # What is tapped is as large as a finger needs: 24 CSS pixels at least (WCAG 2.5.8).
        small = page.evaluate(
            """view => [...document.querySelectorAll(`nav a, section[data-view=${view}] button, section[data-view=${view}] summary`)]
            .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.textContent)""",
            view.split("/")[0],
        )
        assert not small, (view, small)
    page.evaluate("location.hash = '#executors'")
    expect(page.locator("section[data-view=executors]")).to_be_visible()
    picture(page, "phone")
    watch.check([])
    page.close()


def eject(browser):
    page, watch = opened(browser, viewport={"width": 1000, "height": 560})
    page.goto(f"{stage['url']}#session/{stage['channel']}")
    expect(page.locator("#session-details")).to_contain_text("established")
    if stage["token"] is None:
        step("without a token in the configuration there is nothing to eject with")
        expect(page.locator("#eject")).to_be_hidden()
        watch.check([])
        return page.close()
    step("without the right token nobody is ejected")
    page.fill("#eject-text", "maintenance")
    page.click("#eject button")
    # An empty token is not even sent.
    assert page.evaluate("document.querySelector('#eject-token').matches(':invalid')")
    page.fill("#eject-token", stage["token"][:-1] + "?")
    page.click("#eject button")
    expect(page.locator("#eject-result")).to_have_text("Not ejected: the token is missing or wrong")
    step("with it the session ends")
    page.fill("#eject-token", stage["token"])
    page.click("#eject button")
    expect(page.locator("#eject-result")).to_have_text("The session has ended.")
    page.click("nav >> text=Sessions")
    expect(page.locator("#session-count")).to_have_text("0 shown")
    watch.check([401])
    page.close()


def main():
    expect.set_options(timeout=PATIENCE_MS)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("there is no Chromium")
    with sync_playwright() as playwright:
        # Its own sandbox needs privileges that a container's root lacks; the page is ours.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        look_around(browser)
        by_keyboard(browser)
        on_a_phone(browser)
        eject(browser)
        browser.close()


main()
