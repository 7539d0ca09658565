"""Telling systemd that the server answers, so that "active" is true. See sd_notify(3)."""

import os
import socket
import threading
import time

PAUSE = 0.05  # seconds between two looks whether it does


def tell_systemd_when_ready() -> None:
    """For each worker, which listens only after its app is made."""
    told, address = os.environ.get("NOTIFY_SOCKET"), os.environ.get("SERVED_AT")
    if told and address:
        host, _, port = address.rpartition(":")
        threading.Thread(target=wait_and_tell, args=(told, (host, int(port))), daemon=True).start()


def wait_and_tell(told: str, address: tuple[str, int]) -> None:
    while not answers(address):
        time.sleep(PAUSE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.connect(told.replace("@", "\0", 1) if told.startswith("@") else told)
        systemd.sendall(b"READY=1")


def answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True
