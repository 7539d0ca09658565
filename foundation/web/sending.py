"""Sending a message to another program, in a process of its own.

Looking a name up can take minutes, an answer can drip or unpack without end, and no thread can be
stopped from outside. A process can: whatever the other side does, it ends with that.
"""

import json
import select
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, Self

import requests
import urllib3

SECONDS = 3.0  # for most messages, from the name to the status
PROGRAM = Path(__file__).parents[2]
START_SECONDS = 20.0  # for the process to begin, also on a slow machine


class Message(NamedTuple):
    address: str
    body: str
    headers: dict[str, str]
    seconds: float = SECONDS


class Sender:
    """For one receiver, which is told one message after the other."""

    process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Leaves `process` None if it doesn't begin."""
        with suppress(OSError):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "foundation.web.sending"],
                cwd=PROGRAM,  # whatever folder the server was started from
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self.read_line(START_SECONDS)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.communicate()
        self.process = None

    def send(self, message: Message) -> str:
        """The status, such as "HTTP 200", or what went wrong instead."""
        if self.process is None:
            self.start()
        if self.process is None:
            return "not started"
        try:
            print(json.dumps(message), file=self.process.stdin, flush=True)
        except OSError:
            self.stop()
            return "not sent"
        return self.read_line(message.seconds) or "no answer"

    def read_line(self, seconds: float) -> str:
        """Empty: it said nothing in time, and is stopped."""
        if self.process is None or self.process.stdout is None:
            return ""
        poll = select.poll()  # which takes any descriptor; select() none above 1023
        poll.register(self.process.stdout, select.POLLIN)
        ready = poll.poll(seconds * 1000)
        line = self.process.stdout.readline().strip() if ready else ""
        if not line:
            self.stop()
        return line


def post(message: Message) -> str:
    """By the adapter alone, which follows no redirect and leaves the body unread. `requests` itself
    reads, and unpacks, the whole body of a redirect that it doesn't follow."""
    session = requests.Session()
    request = requests.Request("POST", message.address, message.headers, data=message.body.encode())
    settings = session.merge_environment_settings(message.address, {}, True, None, None)
    verify, proxies = settings["verify"] or True, settings["proxies"]
    adapter = session.get_adapter(message.address)
    try:
        with closing(
            adapter.send(request.prepare(), True, message.seconds, verify, proxies=proxies)
        ) as response:
            return f"HTTP {response.status_code}"
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        return type(error).__name__


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        message = Message(*json.loads(line))
        signal.alarm(int(message.seconds) + 1)  # ends this process, should its parent be gone
        print(post(message), flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main()
