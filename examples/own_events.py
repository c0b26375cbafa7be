"""Events of your own: append, read, expect a version, retry safely. Run it with any Python that has eventlog."""

from __future__ import annotations

import eventlog
from eventlog import errors
from eventlog.log import Tx


class AccountOpened(eventlog.Event, frozen=True, kw_only=True, tag="account.opened"):
    owner: str


class MoneyMoved(eventlog.Event, frozen=True, kw_only=True, tag="account.money_moved"):
    amount_cents: int


def balance(tx: Tx, account: str) -> int:
    """What is on an account, as the transaction sees it, in cents."""
    events = [record.event for record in tx.read_stream(account)]
    return sum(event.amount_cents for event in events if isinstance(event, MoneyMoved))


def main() -> None:
    with eventlog.open(events=[AccountOpened, MoneyMoved]) as log:
        log.append("account-ann", [AccountOpened(owner="Ann"), MoneyMoved(amount_cents=100)], expect=eventlog.NO_STREAM)
        log.append("account-bob", AccountOpened(owner="Bob"), expect=eventlog.NO_STREAM)

        def transfer(tx: Tx) -> bool:
            if balance(tx, "account-ann") < 60:
                return False
            tx.append("account-ann", MoneyMoved(amount_cents=-60))
            tx.append("account-bob", MoneyMoved(amount_cents=60))
            return True

        print("first transfer:", log.decide(transfer))
        print("second transfer:", log.decide(transfer))

        try:
            log.append("account-ann", MoneyMoved(amount_cents=5), expect=1)
        except errors.WrongExpectedVersion as error:
            print("refused:", error)

        once = log.append("account-bob", MoneyMoved(amount_cents=1), key="gift-2026")
        again = log.append("account-bob", MoneyMoved(amount_cents=1), key="gift-2026")
        print("retried:", once.first == again.first, again.duplicate)
        print("chain:", log.verify().ok)


if __name__ == "__main__":
    main()
