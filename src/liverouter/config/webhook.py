"""Where alerts go: the row `llm_alert_webhook`, or the secret of that name. Who knows such a URL may write there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from liverouter.config.kinds import url_fault
from liverouter.config.settings import ALERT_WEBHOOK
from liverouter.errors import SecretError
from liverouter.secrecy.origins import is_loopback, origin_of
from liverouter.secrecy.sealing import Secret, open as unseal

if TYPE_CHECKING:
    from liverouter.config.values import Values

_HINT: Final = "Write a URL that begins with https://; http:// is for this machine alone"


def read_webhook(values: Values, row: str | None) -> Secret | None:
    """Return the URL that alerts go to, None for none; the stored secret wins over *row*.

    One that cannot be used is a warning: no config waits for where its alerts go.
    """
    url, where = row, values.origin(ALERT_WEBHOOK)
    if ALERT_WEBHOOK in values.raw.secrets:
        where = f"secrets.{ALERT_WEBHOOK}"
        try:
            url = unseal(ALERT_WEBHOOK, values.raw.secrets[ALERT_WEBHOOK].sealed, values.keyring).reveal().strip()
        except SecretError as exc:
            values.report(exc.code, f"no alerts are sent: {exc.message}", where, exc.hint, "warning")
            return None
    if url is None:
        return None
    fault = url_fault(url)
    if not fault and not url.startswith("https://") and not is_loopback(origin_of(url)):
        fault = "the URL is not encrypted"
    if fault:
        values.report("LR105", f"no alerts are sent: {fault}", where, _HINT, "warning")
        return None
    return Secret(url)
