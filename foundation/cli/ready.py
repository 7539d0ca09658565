"""Telling systemd that the server answers, so that "active" is true. See sd_notify(3)."""

import os
import socket


def tell_systemd() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        told.sendall(b"READY=1")
