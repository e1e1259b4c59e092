"""What a plan costs, beside what the official action would have spent on the same events."""

import random
import re

import pandas as pd
import pytest
from tables import every

from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.postscript.api import Subscriber
from toolkit.postscript.subscribers import subscribers_table
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.sync.cost import estimate_cost, planned_calls
from toolkit.sync.plan import Plan, plan

PHONE, EMAIL = "+14155550100", "ana@mail.test"


def event(number, *, key="vip", member=True, email=None, phone=None, status=None, second=None, reason=None):
    at = pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(seconds=number if second is None else second)
    return {
        "message_id": f"m{number:03}",
        "person": f"user:{email or phone}",
        "audience_key": key,
        "membership": member,
        "email": email,
        "phone": phone,
        "timestamp": at,
        "received_at": at,
        "status": status,
        "reason_code": reason,
    }


def folded_events(events):
    frame = pd.DataFrame(events, columns=[*PAYLOAD_COLUMNS])
    return fold(frame.astype(PAYLOAD_COLUMNS))


def subscriber(number=1, *, phone="", email="", held=None):
    return Subscriber(
        subscriber_id=f"s_{number}",
        phone=phone,
        email=email,
        properties={} if held is None else {"Segment Audiences": held},
        can_send=True,
        updated_at="",
    )


def make_price(events, subscribers, *, reads=0, requests_per_second=10.0, **options):
    folded = folded_events(events)
    contacts = check_contacts(folded.state.people)
    found = plan(folded.state, contacts, subscribers_table(subscribers), **options)
    return estimate_cost(found, folded, requests_per_second=requests_per_second, reads=reads)


def official(events, subscribers, **options):
    return tuple(make_price(events, subscribers, **options).official.values())


ANA = subscriber(phone=PHONE, email=EMAIL)


@pytest.mark.parametrize(
    ("events", "subscribers", "calls"),
    [
        pytest.param([event(0, phone=PHONE)], [ANA], (1, 1, 1), id="by phone, changed"),
        pytest.param(
            [event(0, phone=PHONE, member=False)], [ANA], (1, 0, 1), id="posts an event without a change"
        ),
        pytest.param(
            [event(0, phone="+14155550199", email=EMAIL)],
            [ANA],
            (2, 1, 1),
            id="the phone misses, the email hits",
        ),
        pytest.param([event(0, email=EMAIL.upper())], [ANA], (1, 1, 1), id="by email alone"),
        pytest.param([event(0, phone=PHONE, email=EMAIL)], [], (2, 0, 0), id="both find no one"),
        pytest.param([event(0, phone=PHONE)], [], (1, 0, 0), id="one finds no one"),
        pytest.param([event(0)], [ANA], (0, 0, 0), id="no contact is refused"),
        pytest.param([event(0, phone="n/a")], [ANA], (0, 0, 0), id="no digits are no phone"),
        pytest.param(
            [event(0, phone="(415) 555-0100", email=EMAIL)],
            [ANA],
            (2, 1, 1),
            id="digits without country code",
        ),
        pytest.param(
            [event(0, phone=PHONE), event(1, phone=PHONE, member=None)],
            [ANA],
            (2, 1, 2),
            id="no boolean still posts an event",
        ),
        pytest.param(
            [event(0, phone=PHONE), event(1, phone=PHONE), event(2, phone=PHONE, member=False)],
            [ANA],
            (3, 2, 3),
            id="one after the other",
        ),
        pytest.param(
            [event(0, phone=PHONE, member=False, second=9), event(1, phone=PHONE, second=3)],
            [ANA],
            (2, 2, 2),
            id="in the order of their times",
        ),
        pytest.param(
            [event(0, phone=PHONE), event(1, phone=PHONE, key="new")],
            [subscriber(phone=PHONE, held=["vip"])],
            (2, 1, 2),
            id="two audiences",
        ),
        pytest.param(
            [event(0, phone=PHONE)], [subscriber(phone=PHONE, held="vip")], (1, 0, 0), id="no list stops it"
        ),
        pytest.param(
            [event(0, phone=PHONE), event(1, phone=PHONE, status="duplicate")],
            [ANA],
            (1, 1, 1),
            id="a repeated event does not arrive",
        ),
        pytest.param(
            [event(0, phone=PHONE), event(1, phone=PHONE, status="invalid_payload", key=None, member=None)],
            [ANA],
            (1, 1, 1),
            id="an invalid payload is refused",
        ),
    ],
)
def test_the_official_action(events, subscribers, calls):
    """Each event is looked up with its own contacts, written when its list changes, and always posted."""
    assert official(events, subscribers) == calls


def test_only_the_chosen_audiences():
    """Audiences that the plan leaves out are left out on both sides."""
    events = [event(0, phone=PHONE), event(1, phone=PHONE, key="other")]
    found = make_price(events, [ANA], audience_keys=["vip"])
    assert found.calls == {"reads": 0, "reads_again": 1, "writes": 1, "custom_events": 1}
    assert found.official == {"reads": 1, "writes": 1, "custom_events": 1}


def test_a_plan_without_events():
    """A plan that comes from no events has a price, and nothing to be compared with."""
    found = make_price([], [], reads=3)
    assert found.official is found.official_minutes is None
    assert found.calls == {"reads": 3, "reads_again": 0, "writes": 0, "custom_events": 0}


def test_minutes():
    """Both sides take their calls' time at the pace that is given."""
    events = [event(0, phone=PHONE), event(1, phone=PHONE, member=False), event(2, phone=PHONE)]
    found = make_price(events, [ANA], reads=2, requests_per_second=0.5)
    assert found.minutes == pytest.approx((2 + 1 + 1 + 1) / 0.5 / 60)
    assert found.official_minutes == pytest.approx(9 / 0.5 / 60)


@pytest.mark.parametrize(
    ("others", "canary", "again"),
    [
        ([1, 0, 0], 1, 1),
        ([0, 1, 0], 1, 2),
        ([0, 0, 0], 1, 1),
        ([0, 0, 0], 0, 0),
        ([1, 1, 1], 0, 1),
        ([1, 1, 1], 2, 2),
        ([1, 1, 1], 9, 3),
    ],
)
def test_reads_before_writes(others, canary, again):
    """The canary is read again, and whoever comes first until a write is known to keep other properties."""
    writes = pd.DataFrame(
        {
            "property_count": others,
            "has_property": [False] * 3,
            "has_removal": [True, False, False],
        }
    )
    found = Plan(
        changes=pd.DataFrame({"operation": []}),
        writes=writes,
        subscribers=pd.DataFrame(),
        custom_events="none",
        max_removal_share=1.0,
    )
    assert planned_calls(found, reads=0, canary=canary)["reads_again"] == again
    assert planned_calls(found, reads=0, read_again=True)["reads_again"] == 3


@pytest.mark.parametrize("pace", [0, -1.0, float("nan")])
def test_no_pace(pace):
    """A pace that no call could be made at is refused."""
    with pytest.raises(ParameterError, match="requests_per_second"):
        make_price([], [], requests_per_second=pace)


def plain_official(events, subscribers):
    """Do what the official action does, event by event, and count its calls."""
    lists = {s.subscriber_id: [*s.properties.get("Segment Audiences", [])] for s in subscribers}
    reads = writes = posts = 0
    for one in sorted(events, key=lambda one: (one["timestamp"], one["message_id"])):
        digits, who = re.sub("[^0-9]", "", one["phone"] or ""), None
        if digits:
            reads += 1
            who = next((s for s in subscribers if s.phone.lstrip("+") == digits), None)
        if who is None and one["email"]:
            reads += 1
            who = next((s for s in subscribers if s.email == one["email"].lower()), None)
        if who is None:
            continue
        held = lists[who.subscriber_id]
        if one["membership"] is not None and (one["audience_key"] in held) != one["membership"]:
            writes += 1
            (held.append if one["membership"] else held.remove)(one["audience_key"])
        posts += 1
    return reads, writes, posts


@every("seed", range(100), quick=25)
def test_the_official_action_step_by_step(seed):
    """Counting by the column gives what doing it event by event gives."""
    chance = random.Random(seed)
    phones, emails = [f"+1415555010{n}" for n in range(6)], [f"ana{n}@Mail.test" for n in range(6)]
    events = [
        event(
            number,
            key=chance.choice(["a", "b", 'quo"te']),
            member=chance.choice([True, False, None]),
            phone=chance.choice([None, "+14155550199", *phones]),
            email=chance.choice([None, "stranger@mail.test", *emails]),
            second=chance.randrange(20),
        )
        for number in range(chance.randrange(1, 60))
    ]
    subscribers = [
        subscriber(n, phone=phones[n], email=emails[n].lower(), held=chance.sample(["a", "b", "x"], k=2))
        for n in range(6)
    ]
    folded = folded_events(events)
    found = plan(folded.state, check_contacts(folded.state.people), subscribers_table(subscribers))
    reached = set(found.subscribers["subscriber_id"])
    known = [s for s in subscribers if s.subscriber_id in reached]
    priced = estimate_cost(found, folded, requests_per_second=14)
    assert tuple(priced.official.values()) == plain_official(events, known)
