"""What Tab offers beside commands and options, which click offers: the names of settings. It asks no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from liverouter.config.settings import SETTINGS

if TYPE_CHECKING:
    import click


def assignments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return ``KEY=`` of each setting that *incomplete* begins."""
    del ctx, param
    return [_item(name, "=") for name, s in SETTINGS.items() if s.kind != "secret" and name.startswith(incomplete)]


def secrets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the secrets that *incomplete* begins."""
    del ctx, param
    return [_item(name) for name, s in SETTINGS.items() if s.kind == "secret" and name.startswith(incomplete)]


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the settings and secrets that *incomplete* begins."""
    del ctx, param
    return [_item(name) for name in SETTINGS if name.startswith(incomplete)]


def _item(name: str, end: str = "") -> CompletionItem:
    return CompletionItem(name + end, help=SETTINGS[name].doc)
