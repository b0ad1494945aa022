"""Where alerts go: the row `llm_alert_webhook`, or the secret of that name. Who knows such a URL may write there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.config.settings import ALERT_WEBHOOK, SETTINGS
from liverouter.errors import SecretError
from liverouter.secrecy.sealing import Secret, open as unseal

if TYPE_CHECKING:
    from liverouter.config.values import Values


def read_webhook(values: Values, row: str | None) -> Secret | None:
    """Return the URL that alerts go to, None for none; the stored secret wins over *row*.

    One that cannot be used is a warning: no config waits for where its alerts go.
    """
    if ALERT_WEBHOOK not in values.raw.secrets:
        return None if row is None else Secret(row)
    where = f"secrets.{ALERT_WEBHOOK}"
    try:
        url = unseal(ALERT_WEBHOOK, values.raw.secrets[ALERT_WEBHOOK].sealed, values.keyring).reveal()
    except SecretError as exc:
        values.report(exc.code, f"no alerts are sent: {exc.message}", where, exc.hint, "warning")
        return None
    found = values.checked(SETTINGS[ALERT_WEBHOOK], url, where)
    return None if found is None else Secret(found)
