import json
import random
import string

import pytest
from tables import every

from toolkit.errors import ServerError
from toolkit.postscript.api import (
    MAX_IN,
    MAX_PROPERTIES,
    REFUSED_UNREAD,
    TRANSIENT,
    Answer,
    Request,
    Shop,
    Subscriber,
    ask_shop,
    find_by_contact,
    format_time,
    parse_page,
    parse_shop,
    parse_subscriber,
    parse_time,
    parse_written,
    post_transition,
    read_audiences,
    read_refusal,
    write_properties,
)

RECORD = {
    "id": "s_1",
    "ps_id": 918273,
    "phone_number": "+12025550143",
    "email": "ana@mail.test",
    "created_at": "2024-02-03T04:05:06Z",
    "updated_at": "2025-06-07T08:09:10Z",
    "data": {},
    "properties": {"points": 420, "Segment Audiences": ["vip"]},
    "subscriptions": {"promotional": {"can_send": True}, "transactional": {"can_send": False}},
    "tags": ["VIP"],
}


def page(rows, **info):
    return Answer(status_code=200, json={"page_info": info, "subscribers": rows})


# --- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(ask_shop(), Request(method="GET", path="/api/v2/me", max_tries=3), id="shop"),
        pytest.param(
            find_by_contact(["12025550143", "12025550144"]),
            Request(
                method="GET",
                path="/api/v2/subscribers",
                query=(
                    ("phone_number__in", "12025550143"),
                    ("phone_number__in", "12025550144"),
                    ("sort", "created_at__asc"),
                    ("page", "1"),
                ),
            ),
            id="phones, repeated",
        ),
        pytest.param(
            find_by_contact(["a+b@mail.test", "ana@mail.test"], page=3),
            Request(
                method="GET",
                path="/api/v2/subscribers",
                query=(
                    ("email__in", "a+b@mail.test"),
                    ("email__in", "ana@mail.test"),
                    ("sort", "created_at__asc"),
                    ("page", "3"),
                ),
            ),
            id="emails, a later page",
        ),
        pytest.param(
            write_properties("s_1", {"Segment Audiences": ("vip", "churn"), "orders": 3}),
            Request(
                method="PATCH",
                path="/api/v2/subscribers/s_1",
                body={"properties": {"Segment Audiences": ["vip", "churn"], "orders": 3}},
            ),
            id="write",
        ),
        pytest.param(
            write_properties("s_1", {"Segment Audiences": ()}),
            Request(
                method="PATCH",
                path="/api/v2/subscribers/s_1",
                body={"properties": {"Segment Audiences": []}},
            ),
            id="write nothing: an empty list, never null",
        ),
        pytest.param(
            post_transition("s_1", entered=True, audience_key="vip", audience_id="aud_1", external_id="x1"),
            Request(
                method="POST",
                path="/api/v2/events",
                body={
                    "type": "Segment_Audience_Entered",
                    "subscriber_id": "s_1",
                    "external_id": "x1",
                    "properties": {"Segment Audience ID": "aud_1", "Segment Audience Key": "vip"},
                },
                repeatable=False,
            ),
            id="entered",
        ),
        pytest.param(
            post_transition("s_1", entered=False, audience_key="vip", audience_id=None, external_id="x2"),
            Request(
                method="POST",
                path="/api/v2/events",
                body={
                    "type": "Segment_Audience_Exited",
                    "subscriber_id": "s_1",
                    "external_id": "x2",
                    "properties": {"Segment Audience Key": "vip"},
                },
                repeatable=False,
            ),
            id="exited, no audience id",
        ),
    ],
)
def test_requests(request_, expected):
    """Each request is exactly what the API's page says, and only a custom event must not be sent twice."""
    assert request_ == expected
    json.dumps(request_.body)


@pytest.mark.parametrize(
    ("subscriber_id", "segment"),
    [
        ("s_7f3kq29vd1", "s_7f3kq29vd1"),
        ("42", "42"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("../me", "..%2Fme"),
        ("a b%2F", "a%20b%252F"),
        ("é", "%C3%A9"),
    ],
)
def test_odd_ids_stay_in_their_segment(subscriber_id, segment):
    """Whatever an id holds, it is one segment of the path, and the route is counted as any other."""
    request = write_properties(subscriber_id, {"Segment Audiences": ()})
    assert request.path == f"/api/v2/subscribers/{segment}"
    assert request.route == "PATCH /subscribers/{id}"


@pytest.mark.parametrize(
    ("request_", "route"),
    [
        (ask_shop(), "GET /me"),
        (find_by_contact(["12025550143"], page=2), "GET /subscribers"),
        (write_properties("s_1", {"Segment Audiences": ()}), "PATCH /subscribers/{id}"),
        (
            post_transition("s", entered=True, audience_key="k", audience_id=None, external_id="x"),
            "POST /events",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_routes(request_, route):
    """A route is the method and path without ids or query."""
    assert request_.route == route


def test_limits():
    """A full lookup of long emails stays in a usual URL limit, and what may be repeated is Segment's list."""
    url = "&".join("=".join(pair) for pair in find_by_contact(["x" * 40 + "@mail.test"] * MAX_IN).query)
    assert len(url) < 8000
    assert MAX_PROPERTIES == 50
    assert {408, 423, 429, 500, 502, 503, 504, 599} <= TRANSIENT
    assert not TRANSIENT & {200, 400, 401, 403, 404, 409, 422, 501}
    assert REFUSED_UNREAD <= TRANSIENT
    assert not any(code >= 500 for code in REFUSED_UNREAD)


# --- answers -----------------------------------------------------------------------------------------------


def test_shop():
    """The answer to the first call names the shop; the name may be absent."""
    data = {"resource_id": "shop_1", "resource_name": "Acme Socks", "resource_type": "shop"}
    assert parse_shop(Answer(status_code=200, json=data)) == Shop(shop_id="shop_1", name="Acme Socks")
    assert parse_shop(Answer(status_code=200, json={"resource_id": 7})) == Shop(shop_id="7", name="")


@pytest.mark.parametrize("data", [None, [], "ok", {}, {"resource_id": ""}, {"resource_id": None}], ids=repr)
def test_no_shop(data):
    """An answer that names no shop is not taken for one."""
    with pytest.raises(ServerError, match="names no shop") as caught:
        parse_shop(Answer(status_code=202, json=data))
    assert caught.value.status_code == 202


def test_page():
    """A page gives its subscribers and the number of pages."""
    found, pages = parse_page(page([RECORD, {"id": 42}], page=1, total_pages=4))
    assert [s.subscriber_id for s in found] == ["s_1", "42"]
    assert pages == 4


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        ({"subscribers": [], "page_info": {"page": 1, "total_pages": 0}}, 0),
        ({"subscribers": [], "page_info": {"page": 1, "total_pages": 1}}, 1),
        ({"subscribers": []}, None),
        ({"subscribers": [], "page_info": None}, None),
        ({"subscribers": [], "page_info": {"total_pages": None}}, None),
    ],
)
def test_empty_page(data, pages):
    """An empty list means no one, whatever the paging says or leaves out."""
    assert parse_page(Answer(status_code=200, json=data)) == ([], pages)


@pytest.mark.parametrize(
    "data",
    [
        None,
        "",
        [],
        [RECORD],
        {},
        {"subscribers": None},
        {"subscribers": {}},
        {"subscribers": {"s_1": RECORD}},
        {"subscribers": "s_1"},
        {"data": [RECORD]},
        {"error": "no"},
        {"subscribers": [None]},
        {"subscribers": ["s_1"]},
        {"subscribers": [{"phone_number": "+12025550143"}]},
        {"subscribers": [RECORD, {**RECORD, "id": None}]},
    ],
    ids=lambda data: json.dumps(data)[:40],
)
def test_page_that_is_none(data):
    """A body that is not a list of subscribers is an error, and never passes for "none found"."""
    with pytest.raises(ServerError, match="no list of subscribers") as caught:
        parse_page(Answer(status_code=200, json=data))
    assert caught.value.status_code == 200


def test_subscriber():
    """A whole record is read into the part that a sync looks at."""
    assert parse_subscriber(RECORD) == Subscriber(
        subscriber_id="s_1",
        phone="+12025550143",
        email="ana@mail.test",
        properties={"points": 420, "Segment Audiences": ["vip"]},
        can_send=True,
        updated_at="2025-06-07T08:09:10Z",
    )


@pytest.mark.parametrize("empty", [None, [], "x", 0], ids=repr)
@pytest.mark.parametrize("name", ["properties", "subscriptions"])
def test_subscriber_with_odd_parts(name, empty):
    """A part that is absent or no object is read as empty; consent that is not stated is not guessed."""
    found = parse_subscriber({**RECORD, name: empty})
    assert found.properties == ({} if name == "properties" else RECORD["properties"])
    assert found.can_send is (None if name == "subscriptions" else True)


def test_subscriber_with_only_an_id():
    """An id alone is a subscriber without contacts."""
    found = parse_subscriber({"id": 42, "email": None})
    assert (found.subscriber_id, found.phone, found.email) == ("42", "", "")
    assert (found.properties, found.can_send, found.updated_at) == ({}, None, "")


@pytest.mark.parametrize(
    ("subscriptions", "can_send"),
    [
        ({"promotional": {"can_send": False}}, False),
        ({"promotional": {"can_send": "false"}}, None),
        ({"promotional": {"can_send": 1}}, None),
        ({"promotional": None}, None),
        ({"transactional": {"can_send": True}}, None),
    ],
)
def test_consent(subscriptions, can_send):
    """Only a JSON boolean under promotional says whether a person may be texted."""
    assert parse_subscriber({**RECORD, "subscriptions": subscriptions}).can_send is can_send


@pytest.mark.parametrize(
    ("properties", "audiences"),
    [
        ({}, ()),
        ({"Segment Audiences": None}, ()),
        ({"Segment Audiences": []}, ()),
        ({"Segment Audiences": ["b", "a", "b"]}, ("b", "a", "b")),
        ({"segment audiences": ["a"]}, ()),
        ({"Segment Audiences": "vip"}, None),
        ({"Segment Audiences": ""}, None),
        ({"Segment Audiences": 0}, None),
        ({"Segment Audiences": False}, None),
        ({"Segment Audiences": {"vip": True}}, None),
        ({"Segment Audiences": ["vip", None]}, None),
        ({"Segment Audiences": [["vip"]]}, None),
    ],
)
def test_audiences(properties, audiences):
    """Missing, null and an empty list are no audiences; what is not a list of texts is reported apart."""
    assert read_audiences(properties) == audiences


@pytest.mark.parametrize(
    ("data", "properties"),
    [
        ({"id": "s_9", "properties": {"a": 1}}, {"a": 1}),
        ({"properties": {}}, {}),
        ({"properties": None}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_answer_to_a_write(data, properties):
    """An answer that shows the properties is a record of who was written; any other says nothing."""
    found = parse_written("s_1", Answer(status_code=200, json=data))
    assert (found and (found.subscriber_id, found.properties)) == (
        None if properties is None else ("s_1", properties)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-03-04T05:06:07Z", 1741064767),
        ("2025-03-04T05:06:07.500000", 1741064767.5),
        ("2025-03-04T06:06:07+01:00", 1741064767),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(text, seconds):
    """Both of Postscript's styles are read, naive ones as UTC; what is neither is nothing."""
    found = parse_time(text)
    assert (found and found.timestamp()) == seconds
    assert seconds is None or format_time(found) == "2025-03-04T05:06:07Z"


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Missing Authorization header", ("Missing Authorization header", None), id="E0"),
        pytest.param(
            '{"error_code":3002,"error_message":"Rate limit exceeded","success":false}',
            ("Rate limit exceeded", 3002),
            id="E1",
        ),
        pytest.param("{}", ("{}", None), id="E2"),
        pytest.param(
            '{"error":"You do not have permission to do that."}',
            ("You do not have permission to do that.", None),
            id="E3",
        ),
        pytest.param(
            '{"errors":[{"loc":[],"msg":"Access denied","type":"v2.access_denied"}]}',
            ("Access denied", None),
            id="E4",
        ),
        pytest.param(
            '{"errors":[{"ctx":{},"msg":"a is bad","log":1},{"msg":"b is bad"},{"loc":["c"]},7]}',
            ("a is bad; b is bad", None),
            id="E4, several, without loc",
        ),
        pytest.param(
            '{"error":{"type":"t","message":"Bad input","code":"c","details":{}}}',
            ("Bad input", None),
            id="E5",
        ),
        pytest.param(
            " <html><body>Bad gateway</body></html>\n",
            ("Bad gateway", None),
            id="E6, HTML",
        ),
        pytest.param("", ("", None), id="E6, empty"),
        pytest.param('{"message":"OK, but no"}', ("OK, but no", None), id="message"),
        pytest.param(
            '{"message":"d","error":"c","errors":[{"msg":"b"}],"error_message":"a"}', ("a", None), id="order"
        ),
        pytest.param('{"message":"d","error":"c","errors":[{"msg":"b"}]}', ("b", None), id="order, 2"),
        pytest.param('{"message":"d","error":"c","errors":[]}', ("c", None), id="order, 3"),
        pytest.param('{"message":"d","error":{"message":""}}', ("d", None), id="order, 4"),
        pytest.param('{"error_message":null,"error_code":9}', ('{"error_message":null,"error_code":9}', 9)),
        pytest.param('{"error_message":"a","error_code":"3002"}', ("a", None), id="code as text"),
        pytest.param('{"error_message":"a","error_code":true}', ("a", None), id="code as boolean"),
        pytest.param('["a"]', ('["a"]', None), id="a list"),
        pytest.param('"a"', ('"a"', None), id="a text"),
        pytest.param("null", ("null", None), id="null"),
        pytest.param('{"error_message":"a', ('{"error_message":"a', None), id="torn"),
    ],
)
def test_error_message(text, expected):
    """The sentence and the number are found in every shape an error is known to have."""
    assert read_refusal(text)[:2] == expected


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("no ana@mail.test here", "no •••@••• here"),
        ("'Ana.Lee+x@mail.test': bad", "'•••@•••': bad"),
        ("email__in=ana%40mail.test", "•••@•••"),
        ("of <ana@mail.test>", "of <•••@•••>"),
        ("to +12025550143.", "to •••."),
        ("to 12025550143", "to •••"),
        ("to (202) 555-0143 or 202.555.0144", "to (••• or •••"),
        ("to %2B12025550143", "to %2B•••"),
        ("page 12 of 3456", "page 12 of 3456"),
    ],
)
@pytest.mark.parametrize("shape", ["{}", '{{"error_message":"{}"}}', '{{"errors":[{{"msg":"{}"}}]}}'])
def test_contacts_in_an_error_are_hidden(stated, shown, shape):
    """An email or phone that the server quotes back is not repeated, whatever the shape."""
    assert read_refusal(shape.format(stated))[:2] == (shown, None)


def test_a_long_error_is_cut():
    """At most 200 characters of a server's page are kept."""
    message, *_ = read_refusal("<p>" + "sorry " * 1000)
    assert len(message) == 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 100_000,
        '{"error_code":' + "9" * 5000 + "}",
        '{"errors":{"msg":"a"}}',
        '{"errors":"a"}',
        '{"error":[1]}',
        '{"error":{"message":{"a":1}}}',
        '{"message":["a"]}',
        "\ud800\x00\ufeff",
        "NaN",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_error_message_never_raises(text):
    """Reading an error is never an error itself."""
    message, code, _ = read_refusal(text)
    assert len(message) <= 200
    assert code is None


@every("seed", range(100))
def test_no_contact_in_any_error(seed):
    """However a server wraps a person's email and phone, neither comes out, and nothing is raised."""
    chance = random.Random(seed)
    local = "".join(chance.choices(string.ascii_lowercase + "._+-", k=chance.randrange(3, 12)))
    email = f"{local}@{chance.choice(['mail.test', 'shop.example'])}"
    phone = chance.choice(["+1202555{}", "1202555{}", "+1 (202) 555-{}", "202-555-{}", "202.555.{}"])
    phone = phone.format(f"01{chance.randrange(100):02}")
    words = [email, phone, *"".join(chance.choices(string.ascii_letters + ' {}[]":,<>', k=12)).split()]
    chance.shuffle(words)
    text = " ".join(words)
    shape = chance.choice(
        [
            lambda t: t,
            lambda t: json.dumps({"error_message": t, "error_code": 1}),
            lambda t: json.dumps({"error": {"message": t}}),
            lambda t: json.dumps({"errors": [{"msg": t}, {"msg": t}]}),
            lambda t: json.dumps({"unheard": {"of": t}}),
            lambda t: f"<html>{t}</html>",
        ]
    )
    message, *_ = read_refusal(shape(text))
    assert email not in message
    assert phone not in message
