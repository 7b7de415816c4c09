"""The sockets of a server, bound before any slow work."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from stagegate.errors import ConfigError

BACKLOG = 2048


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a socket for each address of the host, all on one port; port 0 means a free one.

    Connections are refused until the sockets listen. Raises ConfigError naming the wrong flag.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        msg = f"--host {host}: no such host: {error}"
        raise ConfigError(msg) from error
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    with ExitStack() as opened:
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            try:
                bound = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.bind((address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise _refusal(host, port, error) from error
                unavailable = error  # a machine without IPv6 has an address for localhost in it
                continue
            port = bound.getsockname()[1]
            sockets.append(bound)
        if not sockets:
            msg = f"--host {host}: not an address of this machine"
            raise ConfigError(msg) from unavailable
        opened.pop_all()
    return sockets


def listen(sockets: Sequence[socket.socket]) -> None:
    """Accept connections. Raises ConfigError if another process listens on the port by now."""
    for bound in sockets:
        try:
            bound.listen(BACKLOG)
        except OSError as error:
            host, port = bound.getsockname()[:2]
            raise _refusal(host, port, error) from error


def _refusal(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"--port {port}: another process listens at {host or 'this address'} on this port; "
            "choose another, or 0 for a free one"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"--port {port}: not permitted to this user; choose one above 1023")
    return ConfigError(f"--host {host} --port {port}: {error.strerror}")
