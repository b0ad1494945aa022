"""The documentation's reference tables, made from the code: `python -m tests.docs.blocks` writes them."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import re
import runpy
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter import events
from liverouter.config.params import PARAMS
from liverouter.config.settings import NAMED_MODEL, SETTINGS
from liverouter.errors import CODES
from liverouter.options import OPTIONS, Option
from liverouter.providers import azure, claude, gemini, openai, snowflake
from liverouter.providers.parameters import KINDS
from tests.kit.pages import ROOT, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from liverouter.config.kinds import Setting
    from liverouter.providers.parameters import Takes

_BLOCK: Final = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(\n<!-- end generated -->)", re.DOTALL)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Return every settings row and secret, the rows of named models behind the other models'."""
    rows = [*SETTINGS.values()]
    rows.insert(next(i for i, s in enumerate(rows) if not s.name.startswith("llm_")), NAMED_MODEL)
    return table(("name", "value", "default", "what it does"), [_setting(s) for s in rows])


def params() -> str:
    """Return every parameter that rows may have sent, and what it takes."""
    return table(("member", "value"), [(f"`{p.name}`", p.wanted) for p in PARAMS.values()])


def _setting(setting: Setting) -> tuple[str, ...]:
    kind: str = setting.kind
    if setting.low is not None and setting.high is not None:
        least = f"above {setting.low:g}" if setting.above_low else f"{setting.low:g}"
        kind += f", {least} to {setting.high:,g}" if setting.high < 1e6 else f", from {least}"
    default = "" if setting.default is None else f"`{_json(setting.default)}`"
    return f"`{setting.name}`", kind, default, setting.doc


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def options() -> str:
    """Return every process option."""
    return table(("variable", "argument", "default", "what it does"), [_option(o) for o in OPTIONS.values()])


def _option(option: Option) -> tuple[str, ...]:
    default = f"`{_json(option.default)}`" if option.kind in ("number", "boolean") else ""
    bounds = f" ({option.low:g} to {option.high:g})" if option.low is not None and option.high is not None else ""
    return f"`{option.variable}`", f"`{option.name}`", default, option.doc + bounds


def event_names() -> str:
    """Return every event with its level and meaning."""
    kinds = [
        k for k in vars(events).values() if inspect.isclass(k) and issubclass(k, events.Event) and k is not events.Event
    ]
    rows = [
        (f"`{k.name}`", _level(k), ", ".join(f"`{f.name}`" for f in dataclasses.fields(k)), _first_line(k))
        for k in kinds
    ]
    return table(("event", "level", "facts", "meaning"), rows)


def _level(kind: type[events.Event]) -> str:
    level: object = kind.level
    return level if isinstance(level, str) else "varies"  # a property: the docstring says by what


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0].rstrip(".")


def errors() -> str:
    """Return every error code."""
    return table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in CODES.items()])


def parameters() -> str:
    """Return every parameter of a call, and what each API calls it."""
    apis = {
        "OpenAI": openai.PARAMETERS,
        "Azure": azure.SPEC.parameters(""),
        "Claude": claude.PARAMETERS,
        "Gemini": gemini.PARAMETERS,
        "Snowflake": snowflake.SPEC.parameters(""),
    }
    rows = [(f"`{name}`", *(_taken(name, api.takes.get(name)) for api in apis.values())) for name in KINDS]
    return table(("parameter", *apis), rows)


def _taken(name: str, takes: Takes | None) -> str:
    if takes is None:
        return ""
    shown = "yes" if takes.word == name else takes.word if " " in takes.word else f"`{takes.word}`"
    bounds = [f"{end} {value:g}" for end, value in (("from", takes.low), ("to", takes.high)) if value is not None]
    more = [" ".join(bounds)] if bounds else []
    more += [f"{takes.most} at most"] if takes.most else []
    return ", ".join((shown, *more, *takes.only))


def cli() -> str:
    """Return every command with its summary."""
    return table(
        ("command", "does"),
        [(f"`{name}`", command.get_short_help_str(200)) for name, command in _commands(_cli(), "liverouter")],
    )


def cli_options() -> str:
    """Return every option and its commands; what all have that talk to the database is left to the page."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, command in _commands(_cli(), ""):
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in ("database_url", "verbose", "as_json", "help"):
                default = f" Default: {option.default}." if option.show_default else ""
                told = f"{', '.join(option.opts)}{_takes(option)}", f"{option.help}{default}"
                found.setdefault(told, []).append(f"`{name.strip()}`")
    return table(("option", "of", "does"), [(f"`{o}`", ", ".join(names), does) for (o, does), names in found.items()])


def _cli() -> click.Group:
    """Return the group of all commands."""
    from liverouter.cli.app import cli as group

    return group


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield what one types for each command below *group*, and the command; groups themselves do nothing."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from _commands(found, f"{path} {name}")
        elif found:
            yield f"{path} {name}", found


def _takes(option: click.Option) -> str:
    """Return what stands behind an option on the command line."""
    if option.is_flag:
        return ""
    return f" {option.metavar or option.type.name.split()[0].upper()}"


def http() -> str:
    """Return every route of the API with its summary."""
    from fastapi import FastAPI

    from liverouter.daemon import api_config, api_fleet, api_process

    app = FastAPI()
    for routes in (api_config, api_fleet, api_process):
        app.include_router(routes.router)
    rows = [
        (f"`{method.upper()} {path}`", operation.get("description", "").partition("\n\n")[0].replace("\n", " "))
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    return table(("route", "does"), rows)


def faults() -> str:
    """Return every fault that is injected, what its test holds to, and the longest bound that the test waits for."""
    folder = ROOT / "tests" / "faults"
    bounds = runpy.run_path(str(folder / "bounds.py"))
    rows = []
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                said = " ".join((ast.get_docstring(node) or "").split())
                rows.append((node.name.removeprefix("test_").replace("_", " "), said, _bound(node, bounds)))
    return table(("fault", "what users see", "bound"), rows)


def _bound(test: ast.AST, bounds: Mapping[str, Any]) -> str:
    waits = [
        bounds[node.value.id]
        for node in ast.walk(test)
        if isinstance(node, ast.Attribute) and node.attr == "limit" and isinstance(node.value, ast.Name)
    ]
    words: str = max(waits, key=lambda bound: bound.limit).words
    return words


def sql(dsn: str) -> str:
    """Return every view, table and function of the schema with its comment, as the database at *dsn* holds it."""
    return asyncio.run(_sql(dsn))


async def _sql(dsn: str) -> str:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        views = await connection.fetch(
            """
            SELECT c.relname AS name, obj_description(c.oid) AS comment,
                   string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relnamespace = 'liverouter'::regnamespace AND (c.relkind = 'v' OR c.relname = 'settings')
            GROUP BY c.oid, c.relname ORDER BY c.relkind, c.relname
            """
        )
        functions = await connection.fetch(
            """
            SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS name,
                   obj_description(p.oid) AS comment
            FROM pg_proc p WHERE p.pronamespace = 'liverouter'::regnamespace
              AND obj_description(p.oid) NOT LIKE 'Not for people%' AND p.proname <> 'serves'
            ORDER BY 1
            """
        )
    finally:
        await connection.close()
    first = table(
        ("object", "answers", "columns"), [(f"`{v['name']}`", v["comment"] or "", v["columns"]) for v in views]
    )
    second = table(("function", "does"), [(f"`{f['name']}`", f["comment"] or "") for f in functions])
    return f"{first}\n\n{second}"


PURE: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings,
    "options": options,
    "events": event_names,
    "errors": errors,
    "params": params,
    "parameters": parameters,
    "cli": cli,
    "cli-options": cli_options,
    "http": http,
    "faults": faults,
}


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Return *text* with the named blocks replaced; blocks not given stay as they are."""

    def fill(match: re.Match[str]) -> str:
        block = blocks.get(match["name"])
        return match[0] if block is None else f"{match[1]}{block}{match[3]}"

    return _BLOCK.sub(fill, text)


def names(text: str) -> set[str]:
    """Return the names of the blocks that *text* holds."""
    return {match["name"] for match in _BLOCK.finditer(text)}


def main() -> None:
    """Write every block into its page."""
    from liverouter.embedded.server import EmbeddedPostgres
    from liverouter.postgres.migrate import upgrade

    with EmbeddedPostgres() as server:
        upgrade(server.dsn("postgres"), echo=lambda _: None)
        blocks = {name: make() for name, make in PURE.items()} | {"sql": sql(server.dsn("postgres"))}
    rewrite(lambda page: filled(page, blocks))
    sys.stdout.write(f"wrote {', '.join(sorted(blocks))}\n")


if __name__ == "__main__":
    main()
