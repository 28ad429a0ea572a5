"""The official `openrouter` client, unchanged: only server URL and key are told to it.

It checks every answer against OpenRouter's schema and throws where a member is missing, so it also shows that the
sidecar passes answers on as they are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from openrouter import OpenRouter
from openrouter.errors import OpenRouterError

from roads import Road, through_sidecar

TEXT = "Zażółć gęślą jaźń, 李雷: a few words that need more than one byte each."
CHAT_MODEL = "deepseek/deepseek-chat-v3.1"
IMAGE_MODEL = "google/gemini-2.5-flash-image"
TRANSCRIPTION_MODEL = "openai/whisper-1"
SOUND = b"RIFF" * 64
MESSAGES: Any = [{"role": "user", "content": "What is a sidecar?"}]
GENERATION_ID = "gen-1790000000-abcdefghijklmnopqrst"


@pytest.fixture
def client(road: Road) -> Iterator[OpenRouter]:
    """The client as its users make it. It may not retry: each call here is one call on the bill."""
    with OpenRouter(api_key=road.api_key, server_url=road.base_url, retry_config=None, timeout_ms=60_000) as client:
        yield client


@pytest.fixture(autouse=True)
def answer(road: Road) -> Iterator[None]:
    """Lets the model say `TEXT`."""
    with road.simulator.knobs(content=TEXT):
        yield


def test_chat(road: Road, client: OpenRouter) -> None:
    with road.billed("chat/completions") as costs:
        result = client.chat.send(model=CHAT_MODEL, messages=MESSAGES)
    assert result.choices[0].message.content == TEXT
    assert result.usage and [Decimal(repr(result.usage.cost))] == costs


def test_streamed_chat(road: Road, client: OpenRouter) -> None:
    with road.billed("chat/completions") as costs:
        with client.chat.send(model=CHAT_MODEL, messages=MESSAGES, stream=True) as stream:
            chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    assert [Decimal(repr(chunk.usage.cost)) for chunk in chunks if chunk.usage] == costs


def test_response(road: Road, client: OpenRouter) -> None:
    with road.billed("responses") as costs:
        result = client.responses.send(model=CHAT_MODEL, input="What is a sidecar?")
    assert TEXT in result.model_dump_json()
    assert result.usage and [Decimal(repr(result.usage.cost))] == costs


def test_streamed_response(road: Road, client: OpenRouter) -> None:
    with road.billed("responses") as costs:
        with client.responses.send(model=CHAT_MODEL, input="What is a sidecar?", stream=True) as stream:
            events = list(stream)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    completed = [event.response.usage for event in events if event.type == "response.completed"]
    assert [Decimal(repr(usage.cost)) for usage in completed if usage] == costs


def test_embedding(road: Road, client: OpenRouter) -> None:
    with road.billed("embeddings"):
        result = client.embeddings.generate(model="openai/text-embedding-3-small", input=["one", "two"])
    assert not isinstance(result, str) and len(result.data) == 2


def test_rerank(road: Road, client: OpenRouter) -> None:
    with road.billed("rerank"):
        result = client.rerank.rerank(model="cohere/rerank-v3.5", query="sidecar", documents=["a sidecar", "a boat"])
    assert not isinstance(result, str) and len(result.results) == 2


def test_image(road: Road, client: OpenRouter) -> None:
    with road.billed("images"):
        result = client.images.generate(model=IMAGE_MODEL, prompt="A sidecar")
    assert result.data[0].b64_json


def test_streamed_image(road: Road, client: OpenRouter) -> None:
    with road.billed("images") as costs:
        with client.images.generate(model=IMAGE_MODEL, prompt="A sidecar", stream=True) as stream:
            events = list(stream)
    completed = [event for event in events if event.type == "image_generation.completed"]
    assert [Decimal(repr(image.usage.cost)) for image in completed if image.usage] == costs


def test_speech(road: Road, client: OpenRouter) -> None:
    """Sound carries no usage: the cost is known only from `GET /generation`."""
    with road.billed("audio/speech"):
        result = client.tts.create_speech(model="openai/gpt-4o-mini-tts", input="A sidecar.", voice="alloy")
        assert result.read()


def test_transcription(road: Road, client: OpenRouter) -> None:
    with road.billed("audio/transcriptions"):
        sound: Any = {"data": base64.b64encode(SOUND).decode(), "format": "wav"}
        result = client.stt.create_transcription(model=TRANSCRIPTION_MODEL, input_audio=sound)
    assert result.text


def test_transcription_of_a_file(road: Road, client: OpenRouter) -> None:
    """The other form of the same call: a multipart upload."""
    with road.billed("audio/transcriptions"):
        sound: Any = {"file_name": "a.wav", "content": SOUND, "content_type": "audio/wav"}
        result = client.stt.create_transcription_multipart(model=TRANSCRIPTION_MODEL, file=sound)
    assert result.text


def test_models(road: Road, client: OpenRouter) -> None:
    before = len(road.simulator.truth())
    page = client.models.list()
    assert page and CHAT_MODEL in [model.id for model in page.result.data]
    assert len(road.simulator.truth()) == before


MANAGEMENT: dict[str, Callable[[OpenRouter], Any]] = {
    "this key": lambda client: client.api_keys.get_current_key_metadata(),
    "keys": lambda client: client.api_keys.list(),
    "new key": lambda client: client.api_keys.create(name="mine"),
    "one key": lambda client: client.api_keys.get(hash="0" * 64),
    "change key": lambda client: client.api_keys.update(hash="0" * 64, disabled=True),
    "delete key": lambda client: client.api_keys.delete(hash="0" * 64),
    "credits": lambda client: client.credits.get_credits(),
    "generation": lambda client: client.generations.get_generation(id=GENERATION_ID),
    "generation content": lambda client: client.generations.list_generation_content(id=GENERATION_ID),
    "activity": lambda client: client.analytics.get_user_activity(),
    "analytics meta": lambda client: client.analytics.get_analytics_meta(),
    "analytics": lambda client: client.analytics.query_analytics(metrics=["total_usage"]),
    "external users": lambda client: client.external_users.list(),
    "guardrails": lambda client: client.guardrails.list(),
    "workspaces": lambda client: client.workspaces.list(),
    "members": lambda client: client.organization.list_members(),
}


@through_sidecar
def test_management_is_out_of_reach(road: Road, client: OpenRouter) -> None:
    """The organisation's key stands behind the sidecar: nobody who can chat may read or change the account with it."""
    with road.unseen():
        answers = {name: _refusal(client, ask) for name, ask in MANAGEMENT.items()}
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(MANAGEMENT, 404)
    for _, body in answers.values():
        error = json.loads(body)["error"]
        assert error["message"] and "type" in error, "OpenAI's shape of an error"


def _refusal(client: OpenRouter, ask: Callable[[OpenRouter], Any]) -> tuple[int, str]:
    """Status and body of a call that must fail."""
    with pytest.raises(OpenRouterError) as refused:
        ask(client)
    return refused.value.status_code, refused.value.body
