"""One live sync of an archive, as a process that can be killed.

``one_round.py BASE_URL LEDGER_URL ARCHIVE [AUDIENCE_KEY ...]`` prints ``writing`` when the plan is made, a
line for each call that went well, and the run's status.
"""

from __future__ import annotations

import sys
import time

import toolkit


def main(base_url: str, ledger_url: str, archive: str, *audience_keys: str) -> None:
    """Do what the sync notebook does, without patience and at a pace that no shop would allow."""
    connection = toolkit.PostscriptClient(
        base_url,
        "sk_sandbox",
        requests_per_second=3000,
        timeout_seconds=(2.0, 0.5),
        sleep=lambda seconds: time.sleep(min(seconds, 0.02)),
    )
    with connection as postscript, toolkit.Ledger(ledger_url) as ledger:
        shop = toolkit.connect_shop(postscript)
        ledger.lock_shop(shop.shop_id)
        remembered = ledger.load_state(shop.shop_id)
        folded = toolkit.fold(toolkit.read_events(archive).payloads(), remembered=remembered)
        contacts = toolkit.check_contacts(folded.state.choose().people)
        fetched = toolkit.read_subscribers(contacts, postscript, cache=ledger.load_cache(shop.shop_id))
        ledger.save_cache(shop.shop_id, fetched)
        plan = toolkit.plan(
            folded.state, contacts, fetched.subscribers, audience_keys=audience_keys, max_removal_share=1
        )
        print("writing", flush=True)
        run = toolkit.sync(
            plan,
            folded,
            shop=shop,
            postscript=postscript,
            ledger=ledger,
            dry_run=False,
            on_progress=lambda done, _of, _counts: print(done, flush=True),
        )
        print(run.record.status, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
