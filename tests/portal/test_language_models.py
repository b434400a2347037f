"""Language models elsewhere: asked as the protocol says, and kept within bounds whatever comes back."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import pytest

from portal.language_models import LARGEST_ANSWER, LARGEST_QUESTION, ChatCompletions, language_models
from portal.settings import Settings, SettingsError
from portal.telemetry import Metrics
from tests.chat_completions import Answer, answering
from workflows.errors import Unavailable
from workflows.policy_enforcement.engines.remote import FAILURES

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def model_at(url: str, **given):
    model = ChatCompletions("judge", url, "some/model:7b", **given)
    try:
        yield model
    finally:
        await model.close()


async def test_a_model_is_asked_as_the_protocol_says():
    with answering("It is allowed.") as server:
        async with model_at(server.url, key="a key") as model:
            assert await model.complete("Be short.", "Is it allowed?") == "It is allowed."
    (asked,), (headers,) = server.asked, server.headers
    assert asked["model"] == "some/model:7b"
    assert asked["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Is it allowed?"},
    ]
    assert (asked["temperature"], asked["stream"]) == (0, False)
    assert headers["Authorization"] == "Bearer a key"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=500), "answered 500"),
        (Answer(status=429), "answered 429"),
        (Answer(status=401), "answered 401"),
        (Answer(status=302), "answered 302"),
        (Answer(body=b"<html>"), "no chat completion"),
        (Answer(body=b'{"choices": []}'), "no chat completion"),
        (Answer(body=b'{"choices": [{"message": {"content": null}}]}'), "no chat completion"),
        (Answer(body=b"\xff\xfe"), "no chat completion"),
        (Answer(body=b"[" * 100_000), "no chat completion"),
        (Answer(text="a" * LARGEST_ANSWER), "more than 500,000 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_said_to_be_none(answer: Answer, said: str):
    with answering(answer) as server:
        async with model_at(server.url) as model:
            with pytest.raises(Unavailable, match=rf"judge \(some/model:7b\) .*{said}"):
                await model.complete("", "")


@pytest.mark.parametrize("answer", [Answer("late", wait=1.5), Answer("drop by drop", drip=0.05)])
async def test_an_answer_has_its_time_in_whole_even_if_it_comes_byte_by_byte(answer: Answer):
    with answering(answer) as server:
        async with model_at(server.url) as model:
            began = time.monotonic()
            with pytest.raises(Unavailable, match=r"within 0\.3 seconds"):
                await model.complete("", "", seconds=0.3)
            assert time.monotonic() - began < 1.4


async def test_one_that_is_away_is_left_alone_for_a_while():
    with answering(Answer(status=503)) as server:
        async with model_at(server.url) as model:
            for _ in range(FAILURES + 3):
                with pytest.raises(Unavailable):
                    await model.complete("", "")
    assert len(server.asked) == FAILURES


async def test_what_is_wrong_with_a_question_does_not_keep_others_from_asking():
    with answering(*[Answer(status=400)] * (FAILURES + 1), "yes") as server:
        async with model_at(server.url) as model:
            for _ in range(FAILURES + 1):
                with pytest.raises(Unavailable):
                    await model.complete("", "")
            assert await model.complete("", "") == "yes"


async def test_nobody_there_is_said_so():
    async with model_at("http://127.0.0.1:9/v1") as model:
        with pytest.raises(Unavailable, match="does not answer"):
            await model.complete("", "")


async def test_a_question_too_large_is_not_sent():
    with answering("yes") as server:
        async with model_at(server.url) as model:
            with pytest.raises(Unavailable, match="200,000"):
                await model.complete("", "a" * (LARGEST_QUESTION + 1))
    assert server.asked == []


async def test_every_request_is_counted_with_how_it_ended():
    metrics = Metrics()
    with answering("yes", Answer(status=500)) as server:
        async with model_at(server.url, observe=metrics.observe_service) as model:
            await model.complete("", "")
            with pytest.raises(Unavailable):
                await model.complete("", "")

    def count(outcome: str) -> float | None:
        labels = {"service": "language_model:judge", "outcome": outcome}
        return metrics.registry.get_sample_value("governance_service_requests_total", labels)

    assert (count("answered"), count("failed")) == (1, 1)


async def test_the_settings_name_them():
    settings = Settings.from_environment(
        {
            "LANGUAGE_MODELS": "a=https://one.example/v1|org/model:7b, b-2=http://two.example:8000/v1|m",
            "LANGUAGE_MODEL_KEY": "hunter2",
        }
    )
    models = language_models(settings)
    assert [(item.name, item.model) for item in models] == [("a", "org/model:7b"), ("b-2", "m")]
    assert str(models[1].client.base_url) == "http://two.example:8000/v1/"
    assert "hunter2" not in repr(settings)
    assert Settings.from_environment(settings.to_environment()) == settings
    for model in models:
        await model.close()


@pytest.mark.parametrize(
    "value",
    [
        "https://one.example/v1",
        "a=ftp://x|m",
        "a=https://x/v1",
        "A=https://x|m",
        "a=https://x|m,a=https://y|m",
    ],
)
def test_a_name_that_leads_nowhere_is_refused(value: str):
    with pytest.raises(SettingsError, match=r"^LANGUAGE_MODELS must"):
        Settings.from_environment({"LANGUAGE_MODELS": value})
