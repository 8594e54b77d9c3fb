"""Whether what is to be built finds room on the disk."""

import shutil
from ipaddress import ip_address
from typing import Any

import psycopg


def free_bytes(connection: psycopg.Connection[Any]) -> int | None:
    """Bytes free where Postgres keeps its data; None where that is another machine, or may not be seen."""
    if not _is_here(connection.info.host):
        return None
    try:
        (path,) = connection.execute("SELECT current_setting('data_directory')").fetchone() or ("",)
        return shutil.disk_usage(path).free
    except (psycopg.errors.InsufficientPrivilege, OSError):
        return None


def too_small(needed: int, free: int | None) -> str | None:
    """What to say where the disk has not the room; None where it has, or nobody knows."""
    if free is None or free > needed:
        return None
    return (
        f"the disk is too small: some {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free: "
        "make room, by --drop-old perhaps, or build fewer views at once"
    )


def _is_here(host: str) -> bool:
    """A socket's folder, or a loopback address."""
    if host.startswith("/") or host in ("", "localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
