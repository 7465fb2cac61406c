"""Opens Swagger UI in Chromium, presses what a person would press, and watches what the page says and asks for.

Usage: browser.py OPERATOR_TOKEN BASE_URL..., with SCREENSHOTS naming a folder where a person wants to see the page.
"""

import json
import os
import sys
import tempfile
import urllib.parse

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# For one step, on a machine that has much else to do.
PATIENCE_SECONDS = 120
CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"


def open_browser(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--window-size=1280,1800",
        "--homepage=about:blank",
        f"--user-data-dir={profile}",
        # Whatever Chromium itself would look up or fetch.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium's sandbox refuses root.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # With the driver's path nothing is looked for on the internet.
    return webdriver.Chrome(options=options, service=Service(DRIVER))


class Page:
    """Swagger UI as a person uses it."""

    def __init__(self, browser, folder):
        self.browser = browser
        self.folder = folder
        self.requests = {}

    def until(self, what, holds):
        return WebDriverWait(self.browser, PATIENCE_SECONDS).until(lambda _: holds(), f"never came: {what}")

    def find(self, css, within=None):
        def there():
            found = (within or self.browser).find_elements(By.CSS_SELECTOR, css)
            return found[0] if found and found[0].is_displayed() else None

        return self.until(css, there)

    def press(self, css, within=None):
        button = self.find(css, within)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        self.until(f"{css} can be pressed", button.is_enabled)
        button.click()

    def picture(self, name):
        if self.folder:
            self.browser.save_screenshot(os.path.join(self.folder, f"{name}.png"))

    def execute(self, tag, operation):
        """Try it out, Execute, and what came back: status and body."""
        block = self.find(f"#operations-{tag}-{operation}")
        self.press(".opblock-summary-control", block)
        self.press(".try-out__btn", block)
        self.picture(f"{operation}-filled")
        self.press(".execute", block)
        status = self.find(".live-responses-table .response .response-col_status", block).text.split()[0]
        body = self.find(".live-responses-table .response .highlight-code", block).text
        self.picture(f"{operation}-answered")
        return status, body

    def authorize(self, token):
        self.press(".btn.authorize")
        field = self.find(".auth-container input")
        field.send_keys(token)
        self.picture("authorize")
        self.press(".auth-btn-wrapper .authorize")
        self.until("the token is taken", lambda: "Logout" in self.find(".auth-btn-wrapper").text)
        self.press(".auth-btn-wrapper .btn-done")

    def open_the_rest(self):
        """What nobody has looked at yet may hold what the policy refuses."""
        closed = ".opblock:not(.is-open)"
        while self.browser.find_elements(By.CSS_SELECTOR, closed):
            self.press(f"{closed} .opblock-summary-control")
        for operation in self.browser.find_elements(By.CSS_SELECTOR, ".opblock.is-open"):
            self.until("the operation is drawn", lambda: operation.find_elements(By.CSS_SELECTOR, ".responses-table"))
        self.press(".models .models-control")
        self.find(".models .json-schema-2020-12")
        self.picture("schemas")

    def hosts(self):
        """Every host that the page asked for something, from Chromium's own record."""
        for entry in self.browser.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                self.requests[event["params"]["requestId"]] = url
        urls = map(urllib.parse.urlsplit, self.requests.values())
        return {url.netloc for url in urls if url.scheme in ("http", "https", "ws", "wss")}


def check(page, base, token):
    page.browser.get(f"{base}/docs")
    page.find("#operations-registry-publishManifest")
    assert page.browser.title == "ark-lattice API", page.browser.title
    page.picture("page")
    for tag, operation, expected in (
        ("registry", "publishManifest", '"status": "registered"'),
        ("registry", "discoverPeers", '"node_id": "ark-example"'),
        ("registry", "getManifest", '"node_id": "ark-example"'),
        ("nodes", "syncNodes", '"node-1"'),
    ):
        status, body = page.execute(tag, operation)
        assert status == "200" and expected in body, f"{operation}: {status}\n{body}"
    page.authorize(token)
    for operation, expected in (("putNode", "201"), ("deleteNode", "200")):
        status, body = page.execute("nodes", operation)
        assert status == expected and '"my-first-node"' in body, f"{operation}: {status}\n{body}"


def said(browser):
    """What the console says, the policy's refusals included."""
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def main():
    token, bases = sys.argv[1], [base.rstrip("/") for base in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            page = Page(browser, os.environ.get("SCREENSHOTS"))
            for base in bases:
                check(page, base, token)
            page.open_the_rest()
            complaints = said(browser)
            assert not complaints, f"the console is not empty: {complaints}"
            hosts = page.hosts()
            assert hosts == {urllib.parse.urlsplit(base).netloc for base in bases}, f"the page asked elsewhere: {hosts}"
            print(f"{len(page.requests)} requests, all to the service")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
