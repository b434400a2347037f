"""Signing in: who gets in, how long, and that an ended session is refused at once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import jwt
import sqlalchemy as sa
from litestar import Litestar

from portal.auth import middleware
from portal.auth.tokens import issue, session_of
from tests.conftest import arranged
from tests.portal.conftest import PASSWORD, SECRET, with_forms
from workflows.storage.tables import audit_entry, audit_subject, person, session

Visit = Callable[[], httpx.AsyncClient]
SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
TOKEN = "/api/v1/auth/token"
ME = "/api/v1/auth/me"


async def entries(app: Litestar) -> list[tuple[str, str, dict]]:
    async with app.state.services.engine.connect() as connection:
        ours = sa.select(audit_entry).where(audit_entry.c.type != "test.arranged")
        rows = await connection.execute(ours.order_by(audit_entry.c.number))
        return [(row.type, row.subject, json.loads(row.body)) for row in rows]


async def subject(app: Litestar, username: str) -> str:
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_subject.c.pseudonym).join(person).where(person.c.username == username)
        return f"person:{(await connection.execute(query)).scalar_one()}"


async def tokens(client: httpx.AsyncClient, username: str = "dana") -> dict:
    answer = await client.post(TOKEN, json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Pages


async def test_a_person_signs_in_and_out_with_a_form(client: httpx.AsyncClient, app: Litestar):
    with_forms(client)
    sent = {"username": " Dana ", "password": PASSWORD, "next": "/policies?q=x"}
    answer = await client.post("/login", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/policies?q=x")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("session="))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
    assert "Dana Whitlock" in (await client.get("/me")).text
    kept = client.cookies["session"]

    assert (await client.post("/logout")).status_code == 303
    client.cookies.set("session", kept)
    assert (await client.get("/me")).status_code == 303, "a copy of the cookie is of no use after signing out"
    dana = await subject(app, "dana")
    told = [(type, about, f"person:{body['actor']}") for type, about, body in await entries(app)]
    assert told == [("auth.signed_in", dana, dana), ("auth.signed_out", dana, dana)]


async def test_a_wrong_password_is_refused_and_recorded(client: httpx.AsyncClient, app: Litestar):
    with_forms(client)
    answer = await client.post("/login", data={"username": "dana", "password": "wrong"})
    assert answer.status_code == 422
    assert "do not go together" in answer.text and 'value="dana"' in answer.text
    assert "session" not in client.cookies
    [(type, about, body)] = await entries(app)
    told = (type, about, body["actor"], body["payload"]["why"])
    assert told == ("auth.refused", await subject(app, "dana"), "visitor", "wrong_password")


async def test_an_unknown_name_is_refused_in_the_same_words_and_is_not_kept(
    client: httpx.AsyncClient, app: Litestar
):
    with_forms(client)
    answer = await client.post("/login", data={"username": "hunter2", "password": "x"})
    assert "do not go together" in answer.text
    [(type, about, body)] = await entries(app)
    assert (type, about) == ("auth.refused", "person:unknown") and "hunter2" not in json.dumps(body)


async def test_somebody_without_password_or_no_longer_active_cannot_sign_in(
    client: httpx.AsyncClient, app: Litestar
):
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(person.update().where(person.c.username == "ada").values(password_hash=None))
        await connection.execute(person.update().where(person.c.username == "ben").values(active=False))
    for username in ("ada", "ben"):
        answer = await client.post(TOKEN, json={"username": username, "password": PASSWORD})
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")


async def test_whoever_is_deactivated_is_out_at_once(as_persona: SignIn, app: Litestar):
    browser = await as_persona("dana")
    assert (await browser.get("/me")).status_code == 200
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(person.update().where(person.c.username == "dana").values(active=False))
    assert (await browser.get("/me")).status_code == 303


async def test_a_page_for_members_sends_visitors_to_sign_in_and_back(client: httpx.AsyncClient):
    answer = await client.get("/me")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/me")
    assert 'name="next" value="/me"' in (await client.get("/login?next=/me")).text


async def test_sign_in_leads_to_no_other_site(client: httpx.AsyncClient):
    with_forms(client)
    for target in (
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
    ):
        sent = {"username": "dana", "password": PASSWORD, "next": target}
        assert (await client.post("/login", data=sent)).headers["location"] == "/"


# Programs


async def test_a_program_signs_in_with_a_bearer_token(client: httpx.AsyncClient):
    given = await tokens(client)
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 900)
    answer = await client.get(ME, headers=bearer(given["access_token"]))
    assert (answer.json()["username"], answer.json()["roles"]) == ("dana", ["member", "reviewer"])


async def test_a_cookie_alone_is_nobody_to_the_api(as_persona: SignIn):
    browser = await as_persona("dana")
    answer = await browser.get(ME)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="acgs"')
    as_header = await browser.get(ME, headers=bearer(browser.cookies[middleware.COOKIE]))
    assert as_header.status_code == 401, "nor is a token that was lifted from a cookie"


async def test_a_bearer_token_is_nobody_to_pages(client: httpx.AsyncClient):
    given = await tokens(client)
    client.cookies.set(middleware.COOKIE, given["access_token"])
    assert (await client.get("/me")).status_code == 303


async def test_refreshing_gives_new_tokens_and_the_old_one_ends_everything(
    client: httpx.AsyncClient, app: Litestar
):
    first = await tokens(client)
    second = (
        await client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    ).json()
    assert (await client.get(ME, headers=bearer(second["access_token"]))).status_code == 200

    stolen = await client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert (stolen.status_code, stolen.json()["code"]) == (401, "refresh_token")
    for held in (first, second):
        assert (await client.get(ME, headers=bearer(held["access_token"]))).status_code == 401
    again = await client.post("/api/v1/auth/refresh", json={"refresh_token": second["refresh_token"]})
    assert again.status_code == 401
    told = [(type, body["payload"].get("why")) for type, _, body in await entries(app)]
    assert told[-1] == ("auth.refused", "refresh_token_reused")
    assert {type for type, _ in told[:-1]} == {"auth.signed_in", "auth.refreshed"}


async def test_refresh_tokens_are_kept_only_as_hashes(client: httpx.AsyncClient, app: Litestar):
    given = await tokens(client)
    async with app.state.services.engine.connect() as connection:
        rows = (await connection.execute(sa.select(session))).mappings().all()
    assert given["refresh_token"] not in str(rows)


async def test_revoking_works_at_once(client: httpx.AsyncClient):
    given = await tokens(client)
    headers = bearer(given["access_token"])
    assert (await client.post("/api/v1/auth/revoke", headers=headers)).status_code == 204
    assert (await client.get(ME, headers=headers)).status_code == 401
    answer = await client.post("/api/v1/auth/refresh", json={"refresh_token": given["refresh_token"]})
    assert answer.status_code == 401


async def test_forged_tokens_are_nobody(client: httpx.AsyncClient, api: SignIn):
    good = (await api("dana")).headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(good, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, "another secret, also long enough to be one", algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode({**claims, "exp": 1}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "aud": "pages"}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "iss": "somebody"}, SECRET, algorithm="HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "exp"}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "jti": "1' OR 1=1"}, SECRET, algorithm="HS256"),
        good[:-2],
        "x",
        "",
    ]
    for token in forged:
        assert (await client.get(ME, headers=bearer(token))).status_code == 401, token


def test_a_token_holds_for_its_audience_only():
    from uuid import uuid4

    id = uuid4()
    token = issue(SECRET, id, uuid4(), "api", timedelta(minutes=1))
    assert session_of(SECRET, token, "api") == id
    assert session_of(SECRET, token, "pages") is None


# Personal tokens


async def test_a_personal_token_can_do_what_its_scopes_say(api: SignIn, client: httpx.AsyncClient):
    dana = await api("dana")
    asked = {"name": "export", "scopes": ["read"], "days": 30}
    made = (await dana.post("/api/v1/auth/tokens", json=asked)).json()
    headers = bearer(made["token"])
    assert (await client.get(ME, headers=headers)).json()["scopes"] == ["read"]
    assert [t["name"] for t in (await dana.get("/api/v1/auth/tokens")).json()["items"]] == ["export"]

    another = await client.post("/api/v1/auth/tokens", json=asked, headers=headers)
    assert (another.status_code, another.json()["code"]) == (403, "personal_token")

    assert (await dana.delete(f"/api/v1/auth/tokens/{made['id']}")).status_code == 204
    assert (await client.get(ME, headers=headers)).status_code == 401
    assert (await dana.delete(f"/api/v1/auth/tokens/{made['id']}")).status_code == 404


async def test_a_token_without_the_scope_read_reads_nothing_of_ones_own(
    api: SignIn, client: httpx.AsyncClient
):
    dana = await api("dana")
    made = await dana.post("/api/v1/auth/tokens", json={"name": "vote", "scopes": ["vote"], "days": 1})
    answer = await client.get(ME, headers=bearer(made.json()["token"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_faults_of_a_token_are_named_together(api: SignIn):
    answer = await (await api("dana")).post(
        "/api/v1/auth/tokens", json={"name": " ", "scopes": [], "days": 400}
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/name", "/scopes", "/days"]


async def test_nobody_ends_the_session_of_another(api: SignIn, as_persona: SignIn):
    emre = await api("emre")
    theirs = (await emre.get(ME)).json()["session"]["id"]
    assert (await (await api("dana")).delete(f"/api/v1/auth/tokens/{theirs}")).status_code == 404
    page = await (await as_persona("dana")).post(f"/me/sessions/{theirs}/revoke")
    assert page.status_code == 404
    assert (await emre.get(ME)).status_code == 200


async def test_tokens_are_made_and_revoked_on_ones_page(as_persona: SignIn, client: httpx.AsyncClient):
    browser = await as_persona("dana")
    empty = await browser.post("/me/tokens", data={"name": "", "days": "30"})
    assert empty.status_code == 422 and "Give it a name" in empty.text
    sent = {"name": "laptop", "days": "30", "scopes": ["read", "draft"]}
    made = await browser.post("/me/tokens", data=sent)
    token = made.text.split('<code class="token" tabindex="0">')[1].split("<")[0]
    assert (await client.get(ME, headers=bearer(token))).json()["scopes"] == ["draft", "read"]
    page = await browser.get("/me")
    assert "laptop" in page.text and token not in page.text
    id = (await client.get(ME, headers=bearer(token))).json()["session"]["id"]
    assert (await browser.post(f"/me/sessions/{id}/revoke")).status_code == 303
    assert (await client.get(ME, headers=bearer(token))).status_code == 401


# The demonstration


async def test_the_banner_switches_personas(as_persona: SignIn):
    browser = await as_persona("dana")
    answer = await browser.post("/demo/persona", data={"username": "emre", "next": "/me"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/me")
    assert "Emre Aksoy" in (await browser.get("/me")).text


async def test_only_personas_can_be_acted(as_persona: SignIn, app: Litestar):
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(person.update().where(person.c.username == "kim").values(persona=None))
    browser = await as_persona("dana")
    for username in ("kim", "nobody", ""):
        assert (await browser.post("/demo/persona", data={"username": username})).status_code == 404
