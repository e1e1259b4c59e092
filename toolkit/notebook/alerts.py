"""Alert when a scheduled run needs attention, or is well again: decided from figures, then sent."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import tenacity
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from toolkit.files import write_whole
from toolkit.statuses import RunStatus, in_words, list_counts

TIMEOUT_SECONDS = 10
TRIES = 4
_SENT = (
    *("notebook", "status", "exit_code", "run_id", "mode", "shop", "stopped_by", "error", "executed"),
    *("received", "event_statuses", "change_statuses"),
)
"""The fields of an alert: ids, statuses and figures, nothing of a person."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the next run is compared with."""

    status: str
    members: Mapping[str, int] = field(default_factory=dict)
    """Audience → members, as last known; empty where the notebook does not count them."""

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Return what a run left there; None when there is nothing that can be read."""
        try:
            found = json.loads(path.read_text("utf-8"))
            return cls(status=str(found["status"]), members={k: int(n) for k, n in found["members"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        """Leave it for the next run."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def members_of(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return audience → members as a notebook's summary has them; empty when it has none.

    >>> members_of({"audiences": [{"audience_key": "vip", "members": 3}]})
    {'vip': 3}
    """
    if "members" in summary:
        return dict(summary["members"])
    return {row["audience_key"]: row["members"] for row in summary.get("audiences", [])}


def reasons_for_alert(before: Baseline | None, now: Baseline, *, size_change: float) -> list[str]:
    """Return the reasons to send an alert, a sentence each; empty when none is needed.

    *size_change* is the share of its members by which an audience may grow or shrink unnoticed.

    >>> reasons_for_alert(Baseline(status="failed"), Baseline(status="completed"), size_change=0.2)
    ['recovered: the run before ended as failed']
    """
    reasons = []
    if now.status in {RunStatus.FAILED, RunStatus.COMPLETED_WITH_ERRORS}:
        reasons.append(f"ended as {now.status}")
    if before is None:
        return reasons
    if now.status == RunStatus.COMPLETED != before.status:
        reasons.append(f"recovered: the run before ended as {before.status}")
    for key, members in sorted(now.members.items()):
        if key in before.members and abs(members - before.members[key]) > size_change * before.members[key]:
            reasons.append(f"audience {key} went from {before.members[key]} to {members} members")
    return reasons


def alert_body(facts: Mapping[str, Any], reasons: Sequence[str]) -> str:
    """Return the alert as JSON; its ``text`` says all of it to people, as Slack's webhooks require."""
    sent = {name: facts[name] for name in _SENT if name in facts}
    text = alert_text(sent, reasons)
    return json.dumps({"text": text, **sent, "reasons": [*reasons]}, default=str)


def alert_text(facts: Mapping[str, Any], reasons: Sequence[str]) -> str:
    """Return an alert as sentences: what, where, why, the figures, and where to look.

    >>> alert_text({"notebook": "3_sync_audiences", "change_statuses": {"failed": 2}}, ["ended as failed"])
    '3_sync_audiences ended as failed. 2 failed.'
    """
    shop = (facts.get("shop") or {}).get("name", "")
    about = ", ".join(filter(None, [in_words(facts.get("mode", "")), shop]))
    sentences = [
        f"{facts.get('notebook', 'A run')}{f' ({about})' if about else ''} {'; '.join(reasons)}",
        facts.get("error", ""),
        list_counts(facts.get("change_statuses") or {}),
        f"See {facts['executed']}" if facts.get("executed") else "",
    ]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence)


def send_alert(body: bytes, *, url: str, command: str) -> Iterator[str]:
    """Send an alert to a URL and to a command, where there are such; yield a sentence for each failure."""
    send = post_alert if url.startswith(("http://", "https://")) else notify
    if url and (problem := send(url, body)):
        yield f"No alert was sent to {problem}."
    if command and (problem := run_alert_command(command, body)):
        yield f"No alert was sent by {problem}."


def post_alert(url: str, body: bytes, *, pause_seconds: float = 1) -> str:
    """Post an alert; return why it could not be, empty when it was.

    The URL may hold a token: only its scheme and host are ever shown.
    """

    def own_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        own = get_auth_from_url(url)
        return HTTPBasicAuth(*own)(request) if any(own) else request

    def post() -> int:
        with requests.post(
            url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,  # elsewhere is not where it was meant for
            auth=own_auth,  # the URL's own or none: no .netrc entry is added
            stream=True,  # the body is never read
        ) as answer:
            return answer.status_code

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_exponential(multiplier=pause_seconds),
        retry=tenacity.retry_if_exception_type((requests.ConnectionError, requests.Timeout))
        | tenacity.retry_if_result(lambda code: code >= 500 or code == 429),
        # After the last try the answer stands, or the error is raised.
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else 0,
    )
    try:
        code = retrying(post)
    except (requests.RequestException, ValueError) as error:
        return f"{shown_url(url)}: {type(error).__name__}"  # its message would show the whole URL
    return "" if code < 300 else f"{shown_url(url)} answered {code}"


def notify(url: str, body: bytes) -> str:
    """Send the text of an alert by apprise, to ``slack://…``, ``msteams://…``, ``mailto://…`` and others.

    Returns why it could not be, empty when it was. Of the URL only the scheme is shown: its host may be a
    token.
    """
    scheme = url.partition(":")[0]
    if find_spec("apprise") is None:
        return f'{scheme}: pip install "audience-toolkit[alerts]" is needed for it'
    from apprise import Apprise

    target = Apprise()
    if not target.add(url):
        return f"{scheme}: apprise does not know this address"
    is_sent = target.notify(body=json.loads(body)["text"], title="Audience toolkit")
    return "" if is_sent else f"{scheme}: it did not take the message"


def shown_url(url: str) -> str:
    """Return the scheme and host of a URL.

    >>> shown_url("https://user:word@hooks.example.com/services/T0/secret?token=1")
    'https://hooks.example.com'
    """
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}"
    except ValueError:
        return "the alert URL"


def run_alert_command(command: str, body: bytes) -> str:
    """Run a command, without a shell, an alert on its stdin; return why it failed, empty when it did not."""
    try:
        words = shlex.split(command)
        done = subprocess.run(words, input=body, timeout=60, check=False)  # noqa: S603
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        return f"the alert command: {type(error).__name__}"
    return "" if done.returncode == 0 else f"the alert command ended with {done.returncode}"
