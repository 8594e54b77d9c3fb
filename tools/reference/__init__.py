"""The reference pages of the site: written from the code whenever it is built, so that they cannot be out of date."""

from collections.abc import Callable

from tools.reference import api, cli, events, metrics, settings, views

PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": cli.page,
    "reference/settings.md": settings.page,
    "reference/events.md": events.page,
    "reference/views.md": views.page,
    "reference/api.md": api.page,
    "reference/metrics.md": metrics.page,
}
"""Where each page is in the site, and what writes it as Markdown."""
