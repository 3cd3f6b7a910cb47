"""What the environment says about connections: the key, proxies and certificates, checked before the first request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from rollwise.engines.http.keys import api_key
from rollwise.errors import InputError

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


@contextmanager
def usable_environment() -> Iterator[None]:
    """A context in which HTTP clients are made. It turns what httpx raises for a variable into an InputError.

    Raises InputError if the key cannot be sent, if a variable names a SOCKS proxy and its package is missing, if it
    names another proxy that httpx cannot use, or if the certificates that a variable names cannot be read.
    """
    api_key()
    try:
        yield
    except ImportError:
        name = _proxy_variable("socks")
        raise InputError(
            f"{name} names a SOCKS proxy, which needs a package: pip install 'httpx[socks]', or unset {name}"
        ) from None
    except (ValueError, httpx.InvalidURL):
        name = _proxy_variable("")
        raise InputError(
            f"{name} names no proxy that rollwise can use: set it to http://host:port, or unset {name}"
        ) from None
    except OSError:
        raise InputError(
            "the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: name a file of certificates, or "
            "unset both"
        ) from None


def _proxy_variable(scheme: str) -> str:
    """The first environment variable that names a proxy whose address begins with `scheme`.

    Without a scheme, a variable whose address does not begin with http comes first.
    """
    named = [name for proxy in _PROXIES for name in (proxy, proxy.lower()) if os.environ.get(name)]
    if scheme:
        named = [name for name in named if os.environ[name].lower().startswith(scheme)]
    else:
        named.sort(key=lambda name: os.environ[name].lower().startswith(("http://", "https://")))
    return next(iter(named), "ALL_PROXY")
