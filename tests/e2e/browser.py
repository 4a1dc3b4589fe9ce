"""Watches a cfgsync server with the EventSource of a headless Chromium.

usage: browser.py CFGSYNC CHROMIUM DIRECTORY

The browser is controlled by its debugging protocol over two pipes, so that no other program is needed.
"""

import json
import os
import subprocess
import sys
import time

CFGSYNC, CHROMIUM, DIRECTORY = sys.argv[1:]
WAIT_SECONDS = 40

WATCH = """
window.seen = [];
window.opened = 0;
window.source = new EventSource('/v1/watch?since=oldest');
window.source.onopen = () => { window.opened += 1; };
for (const name of ['node_registered', 'generation_sealed', 'set', 'delete', 'reset']) {
    window.source.addEventListener(name, (event) => {
        window.seen.push({ name, id: event.lastEventId, data: JSON.parse(event.data) });
    });
}
"""


class Browser:
    """A browser with one page."""

    def __init__(self, url):
        # Chromium reads commands from descriptor 3, and writes responses to descriptor 4.
        command_read, self.commands = os.pipe()
        self.responses, response_write = os.pipe()

        def move_pipes():
            # Duplicates first, because one of the pipes may have the number of the other's place.
            read, write = os.dup(command_read), os.dup(response_write)
            os.dup2(read, 3)
            os.dup2(write, 4)

        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [CHROMIUM, *arguments, f"--user-data-dir={DIRECTORY}/profile", "about:blank"],
            preexec_fn=move_pipes,
            pass_fds=(3, 4, command_read, response_write),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(response_write)
        self.next_id = 0
        self.read = b""
        self.session = None
        page = self.call("Target.createTarget", url=url)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]

    def call(self, method, **parameters):
        """Returns the result of a command."""
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.read:
                piece = os.read(self.responses, 1 << 16)
                assert piece, "the browser has ended"
                self.read += piece
            text, self.read = self.read.split(b"\0", 1)
            response = json.loads(text)
            if response.get("id") == self.next_id:
                assert "error" not in response, response
                return response["result"]

    def evaluate(self, expression):
        """Returns the value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def close(self):
        """Ends the browser."""
        self.session = None
        self.call("Browser.close")
        self.process.wait(WAIT_SECONDS)


class Server:
    """A server with a state directory."""

    def __init__(self, address):
        port_file = f"{DIRECTORY}/port"
        if os.path.exists(port_file):
            os.remove(port_file)
        self.process = subprocess.Popen(
            [CFGSYNC, "serve", "cluster.yaml", "--listen", address, "--port-file", "port", "--state-dir", "state"],
            cwd=DIRECTORY,
        )
        until("the server listens", lambda: os.path.exists(port_file))
        with open(port_file, encoding="ascii") as file:
            self.address = f"127.0.0.1:{file.read().strip()}"

    def run(self, *arguments):
        """Runs a command of this server."""
        subprocess.run([CFGSYNC, *arguments, "--server", f"http://{self.address}"], check=True, cwd=DIRECTORY)

    def stop(self):
        """Ends the server."""
        self.process.terminate()
        assert self.process.wait(WAIT_SECONDS) == 0


def until(what, condition):
    """Waits until a condition holds."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(0.05)


def main():
    server = Server("127.0.0.1:0")
    browser = Browser(f"http://{server.address}/livez")
    try:
        loaded = "location.pathname == '/livez' && document.readyState == 'complete'"
        until("the page is loaded", lambda: browser.evaluate(loaded))
        browser.evaluate(WATCH)
        # Line breaks and control characters in a value must not break the frames.
        contents = ["1", "a\r\n\nevent: reset\ndata: x\n\n", "\u2028b\u0001"]
        for content in contents:
            server.run("values", "set", "prod/k", content, "--codec", "bytes")

        def seen():
            return browser.evaluate("window.seen")

        until("three values arrive", lambda: len(seen()) == 3)
        server.stop()
        server = Server(server.address)
        for content in contents:
            server.run("values", "set", "prod/k", content, "--codec", "bytes")
        until("three more values arrive", lambda: len(seen()) >= 6)
        events = seen()
        found = [(event["name"], event["data"]["version"]) for event in events]
        assert found == [("set", version) for version in range(1, 7)], found
        instance = events[0]["id"].split("-")[0]
        assert [event["id"] for event in events] == [f"{instance}-{at}" for at in range(1, 7)], events
        assert browser.evaluate("window.opened") == 2
        print(f"{len(events)} events over 2 connections")
    finally:
        browser.close()
        server.process.terminate()


main()
